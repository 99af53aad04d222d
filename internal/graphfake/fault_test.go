package graphfake

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// Each kind does what it says once, proves that it did, and the next request is answered as if nothing had been.
func TestFaults(t *testing.T) {
	fails := func(r reply) bool { return r.err != nil }
	json200 := func(f func(reply) bool) func(reply) bool {
		return func(r reply) bool { return r.err == nil && r.status == http.StatusOK && f(r) }
	}
	for _, c := range []struct {
		spec string
		ok   func(reply) bool
	}{
		{"reset", fails},
		{"reset-body", fails},
		{"truncate", json200(func(r reply) bool { return r.Value == nil && strings.HasPrefix(r.body, `{"@odata`) })},
		{"html", json200(func(r reply) bool { return strings.HasPrefix(r.header.Get("Content-Type"), "text/html") })},
		{"no-value", json200(func(r reply) bool { return r.Count != nil && !strings.Contains(r.body, `"value"`) })},
		{"null-value", json200(func(r reply) bool { return strings.Contains(r.body, `"value":null`) })},
		{"object-value", json200(func(r reply) bool { return strings.Contains(r.body, `"value":{}`) })},
		{"error-200", json200(func(r reply) bool { return strings.HasPrefix(r.body, `{"error":{"code":`) })},
		{"lying-count", json200(func(r reply) bool { return *r.Count == len(r.Value)+1 })},
		{"duplicate-keys", json200(func(r reply) bool { return strings.Count(r.body, `"value":[`) == 2 })},
		{"invalid-utf8", json200(func(r reply) bool { return !utf8.ValidString(r.body) })},
		{"huge-header:bytes=100000", json200(func(r reply) bool { return len(r.header.Get("X-Filler")) == 100000 })},
		{"foreign-link", json200(func(r reply) bool {
			return strings.HasPrefix(r.Next, "https://graph.example.invalid/beta/communications/callRecords/getPstnCalls(from=") && len(r.Value) == 100
		})},
		{"foreign-link:url=http://127.0.0.1:1", json200(func(r reply) bool { return strings.HasPrefix(r.Next, "http://127.0.0.1:1/beta/") })},
		{"redirect:url=http://127.0.0.1:1", func(r reply) bool {
			return r.status == 302 && strings.HasPrefix(r.header.Get("Location"), "http://127.0.0.1:1/beta/communications/")
		}},
		{"empty-page", json200(func(r reply) bool { return len(r.Value) == 0 && *r.Count == 0 && r.Next != "" })},
		{"400", status(400, `"code":"BadRequest"`)},
		{"401", status(401, `"code":"InvalidAuthenticationToken"`)},
		{"403", status(403, `"code":"Forbidden"`, `"message":""`, `"innerError":{"client-request-id":`)},
		{"404", status(404, `"code":"NotFound"`, `"message":""`)},
		{"406", status(406)},
		{"410", status(410)},
		{"429", func(r reply) bool { return r.status == 429 && r.header.Get("Retry-After") == "" }},
		{"429:retry-after=315", func(r reply) bool { return r.status == 429 && r.header.Get("Retry-After") == "315" }},
		{"503:retry-after=Fri, 20 Nov 2026 00:01:00 GMT", nil},
		{"500:code=generalException,message=oops", status(500, `"code":"generalException"`, `"message":"oops"`)},
		{"502", status(502)},
		{"503", status(503)},
		{"504", status(504)},
		{"509", status(509)},
	} {
		t.Run(c.spec, func(t *testing.T) {
			w := newWorld(t, nil)
			f, err := ParseFault(c.spec)
			if c.ok == nil { // an HTTP date has a comma: only Fault can hold it
				f, err = Fault{Kind: Status, Status: 503, RetryAfter: "Fri, 20 Nov 2026 00:01:00 GMT"}, nil
				c.ok = func(r reply) bool { return r.header.Get("Retry-After") == "Fri, 20 Nov 2026 00:01:00 GMT" }
			}
			if err != nil {
				t.Fatal(err)
			}
			script := w.Script(f)
			path := rangePath("2026-11-02", "2026-11-07")
			if script.Fired() != 0 {
				t.Error("fired before any request")
			}
			if r := w.get(t, path); !c.ok(r) {
				t.Errorf("got %d %v %v %.300s", r.status, r.err, r.header, r.body)
			}
			if script.Fired() != 1 {
				t.Errorf("fired %d times", script.Fired())
			}
			if r := w.get(t, path); r.status != http.StatusOK || len(r.Value) != 100 || *r.Count != 100 {
				t.Errorf("the next request: %d %v %.300s", r.status, r.err, r.body)
			}
		})
	}
}

func status(code int, parts ...string) func(reply) bool {
	return func(r reply) bool {
		for _, p := range append(parts, `"error":{"code":"`, `"request-id":"`, `"date":"2026-11-20T00:00:00"`) {
			if !strings.Contains(r.body, p) {
				return false
			}
		}
		return r.status == code
	}
}

func TestTruncateGzip(t *testing.T) {
	w := newWorld(t, nil)
	script := w.Script(Fault{Kind: TruncateGzip})
	for i, broken := range []bool{true, false} {
		req := httptest.NewRequest(http.MethodGet, rangePath("2026-11-02", "2026-11-07"), nil)
		req.Header.Set("Authorization", "Bearer contoso")
		req.Header.Set("Accept-Encoding", "gzip")
		rec := httptest.NewRecorder()
		w.ServeHTTP(rec, req)
		z, err := gzip.NewReader(rec.Body)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(z)
		if got := errors.Is(err, io.ErrUnexpectedEOF); got != broken || !bytes.HasPrefix(b, []byte(`{"@odata.context"`)) {
			t.Errorf("request %d: %v after %d bytes", i, err, len(b))
		}
	}
	if script.Fired() != 1 {
		t.Errorf("fired %d times", script.Fired())
	}
}

// What only Go can say: further rows on a page, and an answer of one's own.
func TestRowsAndAnswer(t *testing.T) {
	w := newWorld(t, nil)
	path := rangePath("2026-11-02", "2026-11-07")
	w.Script(Fault{Kind: Rows, Rows: `{"id":"odd"},7`}, Fault{Kind: Answer, Answer: func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "odd") }})
	if r := w.get(t, path); len(r.Value) != 102 || string(r.Value[100]) != `{"id":"odd"}` || string(r.Value[101]) != "7" {
		t.Errorf("%d rows, %v: %.300s", len(r.Value), r.err, r.body)
	}
	if r := w.get(t, path); r.status != http.StatusOK || r.body != "odd" {
		t.Errorf("%d %v: %.300s", r.status, r.err, r.body)
	}
	for _, kind := range []string{"rows", "answer", "hook"} {
		if f, err := ParseFault(kind); err == nil {
			t.Errorf("%s on the command line: %+v", kind, f)
		}
	}
}

func TestEmptyPageThenData(t *testing.T) {
	w := newWorld(t, nil)
	path := rangePath("2026-11-02", "2026-11-07")
	want := w.scan(t, path)
	script := w.Script(Fault{Kind: EmptyPage, Page: 2, Count: 3})
	if diff := cmp.Diff(want, w.scan(t, path)); diff != "" || script.Fired() != 3 {
		t.Errorf("fired %d times, %.300s", script.Fired(), diff)
	}
}

func TestLinks(t *testing.T) {
	for _, c := range []struct {
		fault    Fault
		distinct int // links among the first 20
		rows     bool
	}{
		{Fault{Kind: EmptyPage, Count: -1}, 20, false},
		{Fault{Kind: LinkLoop, Count: -1}, 1, true},
		{Fault{Kind: LinkLoop, Count: -1, Loop: 3}, 3, true},
	} {
		w := newWorld(t, nil)
		w.Script(c.fault)
		links := map[string]bool{}
		next := rangePath("2026-11-02", "2026-11-07")
		for range 20 {
			r := w.get(t, next)
			if (len(r.Value) > 0) != c.rows {
				t.Errorf("%s: %d rows", c.fault.Kind, len(r.Value))
			}
			next = r.Next
			links[next] = true
		}
		if len(links) != c.distinct {
			t.Errorf("%s: %d links, want %d", c.fault.Kind, len(links), c.distinct)
		}
	}
}

func TestMatchers(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Tenants = append(c.Tenants, TenantConfig{ID: "other"}) })
	path := rangePath("2026-11-02", "2026-11-07")
	second := w.get(t, path).Next
	type step struct {
		tenant, link string
		hit          bool
	}
	for _, c := range []struct {
		name  string
		fault Fault
		steps []step
	}{
		{"count", Fault{Count: 2}, []step{{"contoso", path, true}, {"other", path, true}, {"contoso", path, false}}},
		{"always", Fault{Count: -1}, []step{{"contoso", path, true}, {"contoso", path, true}, {"contoso", path, true}}},
		{"after", Fault{After: 1}, []step{{"contoso", path, false}, {"contoso", path, true}, {"contoso", path, false}}},
		{"page", Fault{Page: 2}, []step{{"contoso", path, false}, {"contoso", second, true}}},
		{"tenant", Fault{Tenant: "other"}, []step{{"contoso", path, false}, {"other", path, true}}},
		{"day", Fault{Day: day(6, 0)}, []step{{"contoso", rangePath("2026-11-02", "2026-11-06"), false}, {"contoso", path, true}}},
		{"match", Fault{Match: func(r Request) bool { return r.Skip == 100 }}, []step{{"contoso", path, false}, {"contoso", second, true}}},
	} {
		c.fault.Kind, c.fault.Status = Status, 503
		script := w.Script(c.fault)
		for i, s := range c.steps {
			if got := w.do(t, http.MethodGet, s.link, s.tenant).status == 503; got != s.hit {
				t.Errorf("%s: step %d hit: %v, want %v", c.name, i, got, s.hit)
			}
		}
		script.Off()
		if r := w.get(t, path); r.status != http.StatusOK {
			t.Errorf("%s: still on after Off", c.name)
		}
	}
}

func TestFaultsStack(t *testing.T) {
	w := newWorld(t, nil)
	var order []string
	hook := func(name string) Fault { return Fault{Kind: Hook, Hook: func(Request) { order = append(order, name) }} }
	w.Script(hook("a"), Fault{Kind: Status, Status: 500}, hook("b"))
	path := rangePath("2026-11-02", "2026-11-03")
	if r := w.get(t, path); r.status != 500 || strings.Join(order, " ") != "a" {
		t.Errorf("first: %d, hooks %v", r.status, order)
	}
	if r := w.get(t, path); r.status != 200 || strings.Join(order, " ") != "a b" {
		t.Errorf("second: %d, hooks %v", r.status, order)
	}
}

func TestSlowAndStallWaitForTheirTime(t *testing.T) {
	for _, kind := range []Kind{Slow, Stall} {
		synctest.Test(t, func(t *testing.T) {
			s := New(Config{Tenants: []TenantConfig{{ID: "contoso", RowsPerDay: 10, From: day(2, 0), To: day(3, 0)}}})
			script := s.Script(Fault{Kind: kind, Delay: 45 * time.Second, Count: -1})
			serve := func(ctx context.Context) (rec *httptest.ResponseRecorder, aborted any) {
				req := httptest.NewRequestWithContext(ctx, http.MethodGet, rangePath("2026-11-02", "2026-11-03"), nil)
				req.Header.Set("Authorization", "Bearer contoso")
				rec = httptest.NewRecorder()
				defer func() { aborted = recover() }()
				s.ServeHTTP(rec, req)
				return rec, nil
			}
			began := time.Now()
			if rec, aborted := serve(t.Context()); aborted != nil || rec.Code != 200 || !bytes.HasSuffix(rec.Body.Bytes(), []byte("}")) {
				t.Errorf("%s: %d %v", kind, rec.Code, aborted)
			}
			if took := time.Since(began); took != 45*time.Second {
				t.Errorf("%s took %v", kind, took)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			began = time.Now()
			if _, aborted := serve(ctx); aborted != http.ErrAbortHandler || time.Since(began) != 10*time.Second {
				t.Errorf("%s: a client that leaves after 10 s: %v after %v", kind, aborted, time.Since(began))
			}
			if script.Fired() != 2 {
				t.Errorf("%s fired %d times", kind, script.Fired())
			}
		})
	}
}

func TestParseFault(t *testing.T) {
	for spec, want := range map[string]Fault{
		"429:count=3,retry-after=10":            {Kind: Status, Status: 429, Count: 3, RetryAfter: "10"},
		"status:status=403":                     {Kind: Status, Status: 403},
		"truncate:page=2,count=1":               {Kind: Truncate, Page: 2, Count: 1},
		"slow:delay=45s,count=-1,tenant=c":      {Kind: Slow, Delay: 45 * time.Second, Count: -1, Tenant: "c"},
		"link-loop:loop=3,after=2":              {Kind: LinkLoop, Loop: 3, After: 2},
		"reset:day=2026-11-03":                  {Kind: Reset, Day: day(3, 0)},
		"foreign-link:url=http://127.0.0.1:1/x": {Kind: ForeignLink, URL: "http://127.0.0.1:1/x"},
	} {
		got, err := ParseFault(spec)
		if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(Fault{}, "Match", "Hook")); diff != "" || err != nil {
			t.Errorf("%s: %v %s", spec, err, diff)
		}
	}
	for _, spec := range []string{"", "what", "hook", "200", "999", "status", "status:status=200", "slow:delay=9", "reset:day=x", "reset:count=x", "reset:colour=red"} {
		if f, err := ParseFault(spec); err == nil {
			t.Errorf("%s: %+v, want an error", spec, f)
		}
	}
	for _, k := range kinds() {
		if _, err := ParseFault(string(k) + ":status=500"); (err == nil) != (k != Hook) {
			t.Errorf("%s: %v", k, err)
		}
	}
}
