package graph

import (
	"net/url"
	"strings"
	"testing"
	"time"
)

func mustURL(t testing.TB, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestRangeURL(t *testing.T) {
	day := time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC)
	east := time.FixedZone("", 2*3600)
	for _, tt := range []struct {
		name, root string
		from, to   time.Time
		want       string // "" = refused
	}{
		{"days", "https://graph.microsoft.com", day, day.AddDate(0, 0, 1), "https://graph.microsoft.com/beta/communications/callRecords/getPstnCalls(fromDateTime=2026-01-05,toDateTime=2026-01-06)"},
		{"slash", "http://127.0.0.1:8900/", day, day.AddDate(0, 0, 1), "http://127.0.0.1:8900/beta/communications/callRecords/getPstnCalls(fromDateTime=2026-01-05,toDateTime=2026-01-06)"},
		{"path", "https://h/gate", day, day.AddDate(0, 0, 1), "https://h/gate/beta/communications/callRecords/getPstnCalls(fromDateTime=2026-01-05,toDateTime=2026-01-06)"},
		{"times", "https://h", day, day.Add(6 * time.Hour), "https://h/beta/communications/callRecords/getPstnCalls(fromDateTime=2026-01-05T00:00:00Z,toDateTime=2026-01-05T06:00:00Z)"},
		{"zone", "https://h", day.In(east), day.AddDate(0, 0, 1).In(east), "https://h/beta/communications/callRecords/getPstnCalls(fromDateTime=2026-01-05,toDateTime=2026-01-06)"},
		{"midnight elsewhere", "https://h", day.Add(-2 * time.Hour).In(east), day.In(east), "https://h/beta/communications/callRecords/getPstnCalls(fromDateTime=2026-01-04T22:00:00Z,toDateTime=2026-01-05T00:00:00Z)"},
		{"fraction", "https://h", day, day.Add(1500 * time.Millisecond), "https://h/beta/communications/callRecords/getPstnCalls(fromDateTime=2026-01-05T00:00:00Z,toDateTime=2026-01-05T00:00:01.5Z)"},
		{"empty", "https://h", day, day, ""},
		{"backwards", "https://h", day, day.Add(-1), ""},
		{"year 10000", "https://h", day, time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			u, err := rangeURL(mustURL(t, tt.root), "beta", tt.from, tt.to)
			got := ""
			if err == nil {
				got = u.String()
			}
			if got != tt.want {
				t.Errorf("got  %s (%v)\nwant %s", got, err, tt.want)
			}
		})
	}
}

var linkCases = []struct{ root, link, want string }{ // want "" = refused
	{"https://g", "https://g/beta/x(from=2019-11-01,to=2019-12-01)?$skip=1000", "https://g/beta/x(from=2019-11-01,to=2019-12-01)?$skip=1000"},
	{"https://g", "https://g:443/x?$skip=1", "https://g:443/x?$skip=1"},
	{"https://g:443", "https://g/x?$skip=1", "https://g/x?$skip=1"},
	{"http://g", "http://g:80/x", "http://g:80/x"},
	{"https://g", "HTTPS://G/x", "https://G/x"},
	{"http://127.0.0.1:8900", "http://127.0.0.1:8900/x?$skiptoken=%2Fa%20b", "http://127.0.0.1:8900/x?$skiptoken=%2Fa%20b"},
	{"https://g", "?$skip=1000", "https://g/beta/f(a=1)?$skip=1000"},
	{"https://g", "/v/f(b=2)?$skip=1", "https://g/v/f(b=2)?$skip=1"},
	{"https://g", "//g/x", "https://g/x"},
	{"https://g", "https://g/x#frag", "https://g/x"},
	{"https://g", "//evil/x", ""},
	{"https://g", "http://g/x", ""},
	{"https://g", "https://g:8443/x", ""},
	{"https://g", "https://evil/x", ""},
	{"https://g", "https://g.evil/x", ""},
	{"https://g", "https://g./x", ""},
	{"https://g", "https://g@evil/x", ""},
	{"https://g", "https://user@g/x", ""},
	{"https://g", "https://user:pw@g/x", ""},
	{"https://g", "https:g/x", ""},
	{"https://g", "https:///x", ""},
	{"https://g", "file:///etc/passwd", ""},
	{"https://g", "javascript:alert(1)", ""},
	{"https://g", "https://g/\x00", ""},
	{"https://g", "https://g/%zz", ""},
	{"https://g", "https://g\\@evil/", ""},
	{"https://g", "/" + strings.Repeat("a", maxLink-1), "https://g/" + strings.Repeat("a", maxLink-1)},
	{"https://g", "/" + strings.Repeat("a", maxLink), ""},
}

func TestResolveLink(t *testing.T) {
	for _, tt := range linkCases {
		root := mustURL(t, tt.root)
		u, err := resolveLink(root, root.JoinPath("beta/f(a=1)"), tt.link)
		got := ""
		if err == nil {
			got = u.String()
		}
		if strings.ReplaceAll(strings.ReplaceAll(got, "%28", "("), "%29", ")") != tt.want {
			t.Errorf("%.60q from %s: got %.80q (%v), want %.80q", tt.link, tt.root, got, err, tt.want)
		}
	}
}

func FuzzNextLink(f *testing.F) {
	for _, c := range linkCases {
		f.Add(c.link)
	}
	root := mustURL(f, "https://graph.example")
	base := mustURL(f, "https://graph.example/beta/f(a=1)")
	f.Fuzz(func(t *testing.T, link string) {
		u, err := resolveLink(root, base, link)
		if err != nil {
			return
		}
		again, err := url.Parse(u.String()) // what a saved link is read back as
		if err != nil {
			t.Fatalf("%q gave %q, which is no URL", link, u)
		}
		for _, u := range []*url.URL{u, again} {
			if u.Scheme != "https" || !strings.EqualFold(u.Hostname(), "graph.example") || port(u) != "443" || u.User != nil {
				t.Fatalf("%q leads to %q", link, u)
			}
		}
		if _, err := resolveLink(root, base, u.String()); err != nil && len(u.String()) <= maxLink {
			t.Fatalf("%q was accepted, %q was not: %v", link, u, err)
		}
	})
}
