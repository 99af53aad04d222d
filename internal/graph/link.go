package graph

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"
)

const maxLink = 16 << 10 // bytes; real ones have about 200

// linkSum stands for a link in the set of those followed: links may be long.
type linkSum [sha256.Size]byte

func sumLink(link string) linkSum { return sha256.Sum256([]byte(link)) }

// rangeURL returns the URL that asks for the calls of [from, to).
func rangeURL(root *url.URL, version string, from, to time.Time) (*url.URL, error) {
	if !from.Before(to) {
		return nil, errors.New("the range is empty")
	}
	if from.UTC().Year() < 1 || to.UTC().Year() > 9999 {
		return nil, errors.New("a year of the range has no four digits")
	}
	a, b := formatRange(from, to)
	// Parsed from text, because a URL built from a Path would have its parentheses escaped.
	u, err := url.Parse(fmt.Sprintf("%s/%s/communications/callRecords/getPstnCalls(fromDateTime=%s,toDateTime=%s)",
		strings.TrimRight(root.String(), "/"), version, a, b))
	if err != nil {
		return nil, fmt.Errorf("the URL of the range: %w", err)
	}
	return u, nil
}

// formatRange returns both ends as dates if both are UTC midnights (the form of Microsoft's examples), else as RFC 3339.
func formatRange(from, to time.Time) (string, string) {
	layout := time.DateOnly
	if !isMidnight(from) || !isMidnight(to) {
		layout = "2006-01-02T15:04:05.999999999Z"
	}
	return from.UTC().Format(layout), to.UTC().Format(layout)
}

func isMidnight(t time.Time) bool { return t.Equal(t.UTC().Truncate(24 * time.Hour)) }

// resolveLink returns link as an absolute URL, seen from the request base, if it stays at root's scheme, host and port:
// whatever it leads to is sent the tenant's token.
// Guard: host pin. Taken out: TestResolveLink, TestHostilePages.
func resolveLink(root, base *url.URL, link string) (*url.URL, error) {
	if len(link) > maxLink {
		return nil, fmt.Errorf("nextLink of %d bytes: more than %d are refused", len(link), maxLink)
	}
	u, err := base.Parse(link)
	if err != nil {
		return nil, errors.New("nextLink is no URL")
	}
	switch {
	case u.User != nil:
		return nil, errors.New("nextLink with a user or password is refused")
	case u.Opaque != "":
		return nil, errors.New("nextLink without a host is refused")
	case u.Scheme != root.Scheme || !strings.EqualFold(u.Hostname(), root.Hostname()) || port(u) != port(root):
		return nil, fmt.Errorf("nextLink leads to %s, away from %s: refused",
			clean(u.Scheme+"://"+u.Host, 100), root.Scheme+"://"+root.Host)
	}
	u.Fragment, u.RawFragment = "", ""
	return u, nil
}

// port returns u's port, the scheme's own if it names none.
func port(u *url.URL) string {
	switch p := u.Port(); {
	case p != "":
		return p
	case u.Scheme == "https":
		return "443"
	case u.Scheme == "http":
		return "80"
	}
	return ""
}
