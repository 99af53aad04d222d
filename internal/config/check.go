package config

import (
	"cmp"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"pstncalls/internal/config/env"
	"pstncalls/internal/row"
)

// within notes a mistake unless low <= v <= high; span names the two.
func within[T cmp.Ordered](c *check, name string, low, v, high T, span string) {
	if c.Sound(name) && (v < low || v > high) {
		c.Add(name, c.Show(c.Value(name))+" is out of range", "want "+span)
	}
}

// oneOf notes a mistake unless v is one of the choices.
func (c *check) oneOf(name, v string, choices ...string) {
	if !slices.Contains(choices, v) {
		last := len(choices) - 1
		c.Add(name, c.Show(v)+" is unknown", "want "+strings.Join(choices[:last], ", ")+" or "+choices[last])
	}
}

// file notes a mistake unless the file can be read and is not empty.
func (c *check) file(name, path, what string) {
	text, err := env.ReadFile(path)
	if err == nil && len(text) == 0 {
		err = errors.New("the file is empty")
	}
	if err != nil {
		c.Add(name, err.Error(), "want the path of "+what)
	}
}

// url notes a mistake unless u is an http or https URL of a host and nothing else but, where path is allowed, a path. It cuts the
// slash off the path's end. It reports whether u was fine. No mistake shows the URL: it may hold a password.
func (c *check) url(name string, u *url.URL, path bool) bool {
	right := "want a root URL such as https://host:port"
	if path {
		right = "want a URL such as https://host:port/path"
	}
	wrong := ""
	port, portErr := strconv.ParseUint(u.Port(), 10, 16)
	switch {
	case u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "":
		wrong = "not an absolute http or https URL"
	case u.Port() == "" && strings.HasSuffix(u.Host, ":"), u.Port() != "" && (portErr != nil || port == 0):
		wrong = "the port is not one of 1 to 65535"
	case u.User != nil:
		wrong = "holds a user name or password"
	case u.RawQuery != "", u.ForceQuery, u.Fragment != "":
		wrong = "holds a query or a fragment"
	case !path && u.Path != "" && u.Path != "/":
		wrong = "holds a path"
	default:
		u.Path, u.RawPath = strings.TrimRight(u.Path, "/"), strings.TrimRight(u.RawPath, "/")
		return true
	}
	c.Add(name, wrong, right)
	return false
}

// loopback reports whether the URL's host is this machine.
func loopback(u *url.URL) bool {
	addr, err := netip.ParseAddr(u.Hostname())
	return u.Hostname() == "localhost" || err == nil && addr.IsLoopback()
}

// hostPort says what is wrong with an address, "" for nothing.
func hostPort(addr string) string {
	h, p, err := net.SplitHostPort(addr)
	if err != nil {
		return "is not host:port"
	}
	if _, err := netip.ParseAddr(h); err != nil && !legalName(h, 253) {
		return "has no legal host"
	}
	if port, err := strconv.ParseUint(p, 10, 16); err != nil || port == 0 {
		return "has no port of 1 to 65535"
	}
	return ""
}

// legalName reports whether s has 1 to most of the characters A-Z a-z 0-9 . _ - and is neither . nor ..: Kafka's rule for topics.
func legalName(s string, most int) bool {
	if s == "" || len(s) > most || s == "." || s == ".." {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool {
		return !('A' <= r && r <= 'Z' || 'a' <= r && r <= 'z' || '0' <= r && r <= '9' || strings.ContainsRune("._-", r))
	})
}

func (c *check) checkPoll(p *Poll) {
	within(c, "POLL_INTERVAL", time.Second, p.Interval, 24*time.Hour, "1s to 24h")
	within(c, "POLL_LOOKBACK", time.Second, p.Lookback, 89*24*time.Hour, "1s to 2136h (89 days, as much as one request may ask for)")
	switch start := p.Start.instant(c.now); {
	case start.After(c.now):
		c.Add("POLL_START", c.Show(c.Value("POLL_START"))+" is in the future", "want a duration back from now such as 720h, or a time in the past")
	case c.now.Sub(start) > reach && !p.Start.fixed, c.now.Sub(start) > mistaken:
		c.Add("POLL_START", c.Show(c.Value("POLL_START"))+" is more than 366 days back", "want at most 8784h, for Graph keeps the calls of one year")
	}
}

func (c *check) checkRegistry(r *Registry) {
	if r.URL != nil {
		c.url("SCHEMA_REGISTRY_URL", r.URL, true)
	}
	username, password := c.Set("SCHEMA_REGISTRY_USERNAME"), c.Given("SCHEMA_REGISTRY_PASSWORD")
	switch {
	case username && !password:
		c.Add("SCHEMA_REGISTRY_PASSWORD", "not set although SCHEMA_REGISTRY_USERNAME is", "set both or neither")
	case password && !username:
		c.Add("SCHEMA_REGISTRY_USERNAME", "not set although SCHEMA_REGISTRY_PASSWORD is", "set both or neither")
	}
	if (username || password) && !c.Set("SCHEMA_REGISTRY_URL") {
		c.Add("SCHEMA_REGISTRY_URL", "not set although a user name or password for it is", "want the registry's URL")
	}
}

// checkPrivacy checks the rules, and that hash rules have a key.
func (c *check) checkPrivacy(p *Privacy) {
	key := p.HashKey.Reveal()
	hash := slices.ContainsFunc(strings.Split(p.Fields, ","), func(rule string) bool {
		_, action, _ := strings.Cut(rule, "=")
		return strings.TrimSpace(action) == "hash"
	})
	const right = "want 16 bytes or more, the same on every replica and for good"
	switch {
	case hash && !c.Given("PRIVACY_HASH_KEY"):
		c.Add("PRIVACY_HASH_KEY", "not set although PRIVACY_FIELDS has a hash rule", right)
	case key != "" && len(key) < 16:
		c.Add("PRIVACY_HASH_KEY", "too short", right)
	}
	const rules = "want rules such as callerNumber=mask,userPrincipalName=hash,clientPublicIpV4Address=drop"
	if c.HoldsSecret(p.Fields) {
		c.Add("PRIVACY_FIELDS", "holds the value of a secret", rules)
		return
	}
	// A missing key is reported above, once; the rules are checked as if there were one.
	if _, err := row.ParsePrivacy(p.Fields, []byte(cmp.Or(key, "no key"))); err != nil {
		c.AddEach("PRIVACY_FIELDS", err, rules)
	}
}

func (c *check) checkAdmin(a *Admin) {
	_, p, err := net.SplitHostPort(a.Addr)
	if err == nil {
		_, err = strconv.ParseUint(p, 10, 16)
	}
	if err != nil {
		c.Add("ADMIN_ADDR", c.Show(a.Addr)+" is not host:port", "want one such as 127.0.0.1:8080, or :8080 for all interfaces")
	}
}

func (c *check) checkLog(l *Log) {
	// slog would also take INFO+2.
	if !slices.Contains([]slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError}, l.Level) {
		c.Add("LOG_LEVEL", c.Show(c.Value("LOG_LEVEL"))+" is unknown", "want debug, info, warn or error")
	}
	c.oneOf("LOG_FORMAT", l.Format, "text", "json")
}
