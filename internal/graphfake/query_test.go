package graphfake

import (
	"errors"
	"net/url"
	"strings"
	"testing"
)

func TestParseQueryRefuses(t *testing.T) {
	const function = "/beta/communications/callRecords/getPstnCalls"
	for _, path := range []string{
		function, function + "()", function + "(fromDateTime=2026-11-01)", function + "(fromDateTime=2026-11-01,toDateTime=)",
		function + "(fromDateTime='2026-11-01',toDateTime='2026-11-02')",
		function + "(fromDateTime=2026-11-01,to=2026-11-02)",
		function + "(fromDateTime=2026-11-01,toDateTime=2026-11-02,x=2026-11-02)",
		function + "(fromDateTime=2026-11-01,fromDateTime=2026-11-01,toDateTime=2026-11-02)",
		function + "(fromDateTime=2026-02-30,toDateTime=2026-11-02)",
		function + "(fromDateTime=2026-11-01T00:00:00,toDateTime=2026-11-02)",
		function + "(fromDateTime=2026-11-01T0:00:00Z,toDateTime=2026-11-02)",
		function + "(fromDateTime=2026-11-01T00:00:00,5Z,toDateTime=2026-11-02)",
		function + "(fromDateTime=2026-11-01T00:00:00 02:00,toDateTime=2026-11-02)",
		"/v2.0/communications/callRecords/getPstnCalls(fromDateTime=2026-11-01,toDateTime=2026-11-02)",
		"/beta/communications/callRecords/getPstnCalls(fromDateTime=2026-11-01,toDateTime=2026-11-02)/x",
	} {
		if q, err := parseQuery(path, ""); err == nil {
			t.Errorf("%s: %+v, want an error", path, q)
		}
	}
}

// Whatever is accepted makes a link that is accepted, and means the same range.
func FuzzParseQuery(f *testing.F) {
	for _, args := range []string{"fromDateTime=2019-11-01,toDateTime=2019-12-01", "from=2019-11-01,to=2019-12-01",
		"toDateTime=2019-11-01T00:00:00.1234567Z,fromDateTime=2019-11-01T00:00:00+02:00", "fromDateTime=0001-01-01,toDateTime=9999-12-31"} {
		f.Add("/beta/communications/callRecords/getPstnCalls("+args+")", "$skip=1000")
		f.Add("/v1.0/communications/callRecords/microsoft.graph.callRecords.getPstnCalls("+args+")", "%24skip=7&$skiptoken=a%20b&$top=1")
	}
	s := New(Config{Tenants: []TenantConfig{{ID: "contoso", RowsPerDay: 1, From: day(1, 0), To: day(3, 0)}}})
	f.Fuzz(func(t *testing.T, path, rawQuery string) {
		q, err := parseQuery(path, rawQuery)
		if err != nil {
			if !errors.Is(err, errNotFound) && strings.Contains(err.Error(), "\n") {
				t.Errorf("error %q", err)
			}
			return
		}
		link, err := url.Parse(q.next("http://h:1", q.skip, q.token))
		if err != nil {
			t.Fatalf("link: %v", err)
		}
		again, err := parseQuery(link.Path, link.RawQuery)
		if err != nil {
			t.Fatalf("link %s: %v", link, err)
		}
		q.link, q.undeclared = true, ""
		if again != q {
			t.Errorf("link %s: got %+v, want %+v", link, again, q)
		}
		from, to := s.cfg.Reading.span(q.from, q.to)
		s.page(Request{Tenant: "contoso", From: from, To: to, Skip: q.skip}, q, "http://h:1")
	})
}
