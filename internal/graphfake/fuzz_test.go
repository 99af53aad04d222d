package graphfake

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"pstncalls/internal/window"
)

// spec is a fault as ParseFault reads it.
func (f *Fault) spec() string {
	s := fmt.Sprintf("%s:count=%d,after=%d,page=%d,loop=%d,bytes=%d,delay=%s,tenant=%s,code=%s,message=%s,retry-after=%s,url=%s",
		f.Kind, f.Count, f.After, f.Page, f.Loop, f.Bytes, f.Delay, f.Tenant, f.Code, f.Message, f.RetryAfter, f.URL)
	if f.Status != 0 {
		s += fmt.Sprintf(",status=%d", f.Status)
	}
	if !f.Day.IsZero() {
		s += ",day=" + window.Of(f.Day).String()
	}
	return s
}

// FuzzParseFault: a fault is read as it is written, and a simulator that has it answers, or cuts the connection; it never fails in
// another way. A refusal names the whole text.
func FuzzParseFault(f *testing.F) {
	for _, s := range []string{"429:count=3,retry-after=10", "status:status=403,code=a=b,message=", "truncate:page=2", "slow:delay=45s,count=-1,tenant=contoso", "link-loop:loop=3,after=2",
		"link-loop:loop=-9", "reset:day=2026-11-03", "foreign-link:url=http://127.0.0.1:1/x", "redirect:url=%", "huge-header:bytes=-1", "stall:delay=-1h", "token:status=500", "empty-page:count=-1", "200", "hook", "what", ":", "reset:count=99999999999999999999"} {
		f.Add(s)
	}
	for _, kind := range kinds() {
		f.Add(string(kind) + ":status=500,count=2")
	}
	f.Fuzz(func(t *testing.T, s string) {
		fault, err := ParseFault(s)
		if err != nil {
			if !strings.HasPrefix(err.Error(), fmt.Sprintf("fault %q: ", s)) {
				t.Fatalf("error %q", err)
			}
			return
		}
		again, err := ParseFault(fault.spec())
		if diff := cmp.Diff(fault, again, cmpopts.IgnoreFields(Fault{}, "Match", "Hook", "Answer")); err != nil || diff != "" {
			t.Fatalf("%q is written as %s: %v\n%s", s, fault.spec(), err, diff)
		}
		if fault.Bytes > 1<<20 || fault.Status < 200 && fault.Status != 0 {
			return // what the command line asks for it gets
		}
		server := New(Config{PageSize: 2, Now: func() time.Time { return day(4, 0) }, Wait: func(context.Context, time.Duration) error { return nil },
			Tenants: []TenantConfig{{ID: "contoso", RowsPerDay: 3, From: day(2, 0), To: day(4, 0)}}})
		fault.Tenant = ""
		server.Script(fault)
		for range 3 {
			req := httptest.NewRequest(http.MethodGet, rangePath("2026-11-02", "2026-11-03"), nil)
			req.Header.Set("Authorization", "Bearer contoso")
			rec := httptest.NewRecorder()
			func() {
				defer func() {
					if e := recover(); e != nil {
						if err, ok := e.(error); !ok || !errors.Is(err, http.ErrAbortHandler) {
							panic(e)
						}
					}
				}()
				server.ServeHTTP(rec, req)
			}()
			if rec.Code < 200 || rec.Code > 599 {
				t.Fatalf("%q answers %d", s, rec.Code)
			}
		}
	})
}

// FuzzParseReading: names of orders and readings are read in the one spelling that they are written in.
func FuzzParseReading(f *testing.F) {
	for _, s := range []string{"days-exclusive", "days-inclusive", "times-exclusive", "times-inclusive", "days", "start", "newest", "Start", "", "times-exclusive-inclusive"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if o, err := ParseOrder(s); err == nil && o.String() != s || err != nil && !strings.Contains(err.Error(), "want ") {
			t.Fatalf("%q is order %s, %v", s, o, err)
		}
		if r, err := ParseReading(s); err == nil && r.String() != s || err != nil && !strings.Contains(err.Error(), "want ") {
			t.Fatalf("%q is reading %v, %v", s, r, err)
		}
	})
}
