package graph

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"pstncalls/internal/clock"
)

const testToken = "s3cr3t-t0ken-that-nobody-may-see"

// fixedTokens hands out testToken, with a number after each Refresh.
type fixedTokens struct{ refreshed atomic.Int32 }

func (f *fixedTokens) Token(context.Context) (string, error) {
	if n := f.refreshed.Load(); n > 0 {
		return fmt.Sprint(testToken, n), nil
	}
	return testToken, nil
}
func (f *fixedTokens) Refresh() { f.refreshed.Add(1) }

// rig is a client and the server it talks to.
type rig struct {
	*Client
	tokens *fixedTokens
	log    *bytes.Buffer
	seen   []Outcome
}

var testDay = Request{
	From: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC),
	To:   time.Date(2026, 11, 2, 0, 0, 0, 0, time.UTC),
}

func newRig(t *testing.T, h http.HandlerFunc) *rig {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	tr := NewTransport()
	t.Cleanup(tr.CloseIdleConnections)
	return newRigAt(t, s.URL, tr)
}

func newRigAt(t *testing.T, root string, tr http.RoundTripper) *rig {
	t.Helper()
	r := &rig{tokens: &fixedTokens{}, log: &bytes.Buffer{}}
	c, err := New(Config{
		Tenant: "contoso", Endpoint: mustURL(t, root), APIVersion: "beta", Tokens: r.tokens,
		Budget: NewBudget(clock.System, 100_000), Transport: tr, UserAgent: "test/1",
		Log:     slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Observe: func(o Outcome) { r.seen = append(r.seen, o) },
	})
	if err != nil {
		t.Fatal(err)
	}
	r.Client = c
	return r
}

// read returns the rows of all pages, and the error that ended them.
func (r *rig) read(ctx context.Context, req Request) (rows []string, err error) {
	for page, err := range r.Pages(ctx, req) {
		if err != nil {
			return rows, err
		}
		for _, row := range page.Rows {
			rows = append(rows, string(row))
		}
	}
	return rows, nil
}

func (r *rig) fails(t *testing.T, req Request) *Error {
	t.Helper()
	_, err := r.read(t.Context(), req)
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v, want an *Error", err)
	}
	if text := e.Error() + fmt.Sprintf("%+v", *e) + r.log.String(); strings.Contains(text, testToken) {
		t.Errorf("the token shows in %s", text)
	}
	return e
}

// roundTrip is a transport without a network, for bubbles.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func answer(status int, body string, header ...string) *http.Response {
	resp := &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body))}
	for i := 0; i < len(header); i += 2 {
		resp.Header.Set(header[i], header[i+1])
	}
	return resp
}

func TestPages(t *testing.T) {
	var asked []string
	r := newRig(t, func(w http.ResponseWriter, req *http.Request) {
		asked = append(asked, req.RequestURI)
		for k, want := range map[string]string{"Authorization": "Bearer " + testToken, "Accept": "application/json", "Accept-Encoding": "gzip", "User-Agent": "test/1"} {
			if got := req.Header.Get(k); got != want {
				t.Errorf("%s: %q, want %q", k, got, want)
			}
		}
		w.Header().Set("request-id", "r-"+req.URL.RawQuery)
		switch req.URL.RawQuery {
		case "":
			fmt.Fprintf(w, `{"@odata.count":1,"@odata.nextLink":"http://%s/beta/f(from=1,to=2)?$skip=1","value":[{"n":1}]}`, req.Host)
		case "$skip=1":
			io.WriteString(w, `{"@odata.count":5,"@odata.nextLink":"?$skip=2","value":[]}`)
		case "$skip=2":
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			io.WriteString(z, `{"value":[{"n":2}]}`)
			z.Close()
		}
	})
	it := r.Pages(t.Context(), testDay)
	if len(asked) != 0 {
		t.Fatal("a request was made before the range")
	}
	var pages []*Page
	for page, err := range it {
		if err != nil {
			t.Fatal(err)
		}
		pages = append(pages, page)
		if len(asked) != len(pages) {
			t.Errorf("%d requests for %d pages", len(asked), len(pages))
		}
	}
	if d := cmp.Diff([]string{"/beta/communications/callRecords/getPstnCalls(fromDateTime=2026-11-01,toDateTime=2026-11-02)", "/beta/f(from=1,to=2)?$skip=1", "/beta/f(from=1,to=2)?$skip=2"}, asked); d != "" {
		t.Error(d)
	}
	p := pages[0]
	if p.ServerDate.IsZero() || p.Asked.IsZero() || p.Received.Before(p.Asked) || p.RequestID != "r-" || len(p.ClientRequestID) != 36 || p.Count != 1 {
		t.Errorf("page: %+v", p)
	}
	if pages[0].ClientRequestID == pages[1].ClientRequestID {
		t.Error("two requests share a client-request-id")
	}
	if got := string(pages[2].Rows[0]); got != `{"n":2}` || pages[2].Link != "" || pages[2].Count != -1 || pages[2].Bytes != 19 {
		t.Errorf("last page: %+v", pages[2])
	}
	if n := strings.Count(r.log.String(), "not the number of rows"); n != 1 {
		t.Errorf("the wrong count was logged %d times", n)
	}
	if strings.Contains(r.log.String(), testToken) || !strings.Contains(r.log.String(), "r-$skip=2") {
		t.Errorf("log: %s", r.log)
	}

	asked = nil
	resume := testDay
	resume.Link = pages[1].Link
	rows, err := r.read(t.Context(), resume)
	if d := cmp.Diff([]string{`{"n":2}`}, rows); d != "" || err != nil || len(asked) != 1 {
		t.Errorf("resumed: %v %s (%d requests)", err, d, len(asked))
	}
	asked = nil
	for range r.Pages(t.Context(), testDay) {
		break
	}
	if len(asked) != 1 {
		t.Errorf("%d requests after a break at the first page", len(asked))
	}
}

func TestUnauthorized(t *testing.T) {
	for _, tt := range []struct {
		name     string
		accepts  string
		requests int32
		class    Class
	}{
		{"fresh token is accepted", testToken + "1", 2, OK},
		{"and refused", "none", 2, Human},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var n atomic.Int32
			r := newRig(t, func(w http.ResponseWriter, req *http.Request) {
				n.Add(1)
				if req.Header.Get("Authorization") != "Bearer "+tt.accepts {
					w.WriteHeader(401)
					return
				}
				io.WriteString(w, `{"value":[]}`)
			})
			_, err := r.read(t.Context(), testDay)
			class := OK
			if e := (*Error)(nil); errors.As(err, &e) {
				class = e.Class
			}
			if n.Load() != tt.requests || class != tt.class || r.budget.LastMinute() != int(tt.requests) || r.tokens.refreshed.Load() != 1 {
				t.Errorf("%d requests, %d of the budget, %d refreshes, %v; want %d, %v", n.Load(), r.budget.LastMinute(), r.tokens.refreshed.Load(), err, tt.requests, tt.class)
			}
			if r.seen[0].Class != NewToken {
				t.Errorf("observed %+v", r.seen)
			}
		})
	}
}

func TestRetryAfterHoldsTheTenant(t *testing.T) {
	now := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) // a bubble's first instant
	for _, tt := range []struct {
		name   string
		status int
		header []string
		class  Class
		after  time.Duration
	}{
		{"429", 429, []string{"Retry-After", "41"}, Wait, 41 * time.Second},
		{"503", 503, []string{"Retry-After", "315"}, Wait, 315 * time.Second},
		{"date by our clock", 429, []string{"Retry-After", now.Add(90 * time.Second).Format(http.TimeFormat)}, Wait, 90 * time.Second},
		{"date by the server's clock", 429, []string{"Retry-After", now.Add(time.Hour + 90*time.Second).Format(http.TimeFormat), "Date", now.Add(time.Hour).Format(http.TimeFormat)}, Wait, 90 * time.Second},
		{"none", 429, nil, Wait, 0},
		{"less than nothing", 503, []string{"Retry-After", "-1"}, Retry, 0},
		{"a date in the past", 429, []string{"Retry-After", now.Add(-time.Hour).Format(http.TimeFormat)}, Wait, 0},
		{"nonsense", 429, []string{"Retry-After", "when it suits"}, Wait, 0},
		{"endless", 429, []string{"Retry-After", "1000000000"}, Wait, 24 * time.Hour},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				first := true
				r := newRigAt(t, "http://graph.test", roundTrip(func(*http.Request) (*http.Response, error) {
					if first {
						first = false
						return answer(tt.status, "", tt.header...), nil
					}
					return answer(200, `{"value":[]}`), nil
				}))
				e := r.fails(t, testDay)
				if e.Class != tt.class || e.RetryAfter != tt.after {
					t.Errorf("%v after %v, want %v after %v", e.Class, e.RetryAfter, tt.class, tt.after)
				}
				start := time.Now()
				if _, err := r.read(t.Context(), testDay); err != nil {
					t.Fatal(err)
				}
				if d := time.Since(start); d != tt.after {
					t.Errorf("the next request went out after %v, want %v", d, tt.after)
				}
			})
		})
	}
}

func TestTimeouts(t *testing.T) {
	page := `{"value":[]}`
	for _, tt := range []struct {
		name          string
		headers, body time.Duration
		ends          time.Duration
		says          string
	}{
		{"in time", 29 * time.Second, 70 * time.Second, 99 * time.Second, ""},
		{"no headers", 31 * time.Second, 0, 30 * time.Second, "no answer from Graph within 30s"},
		{"slow page", time.Second, 100 * time.Second, 100 * time.Second, "more than 1m40s"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRigAt(t, "http://graph.test", roundTrip(func(req *http.Request) (*http.Response, error) {
					if err := clock.Sleep(req.Context(), clock.System, tt.headers); err != nil {
						return nil, err
					}
					resp := answer(200, page)
					resp.Body = io.NopCloser(readFunc(func(b []byte) (int, error) {
						if err := clock.Sleep(req.Context(), clock.System, tt.body); err != nil {
							return 0, err
						}
						return copy(b, page), io.EOF
					}))
					return resp, nil
				}))
				start := time.Now()
				_, err := r.read(t.Context(), testDay)
				if d := time.Since(start); d != tt.ends {
					t.Errorf("ended after %v, want %v", d, tt.ends)
				}
				var e *Error
				if errors.As(err, &e) != (tt.says != "") || tt.says != "" && (e.Class != Retry || !strings.Contains(e.Error(), tt.says)) {
					t.Errorf("got %v, want %q", err, tt.says)
				}
			})
		})
	}
}

type readFunc func([]byte) (int, error)

func (f readFunc) Read(b []byte) (int, error) { return f(b) }

// The end of the ctx is no failure of Graph's: it is returned as what it is, wherever it strikes.
func TestCancelled(t *testing.T) {
	why := errors.New("shut down")
	for _, where := range []string{"before", "budget", "headers", "body"} {
		t.Run(where, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				r := newRigAt(t, "http://graph.test", roundTrip(func(req *http.Request) (*http.Response, error) {
					hang := readFunc(func([]byte) (int, error) { <-req.Context().Done(); return 0, req.Context().Err() })
					if where == "headers" {
						_, err := hang(nil)
						return nil, err
					}
					resp := answer(200, "")
					resp.Body = io.NopCloser(hang)
					return resp, nil
				}))
				if where == "budget" {
					r.budget.Hold(time.Now().Add(time.Hour))
				}
				if where == "before" {
					cancel(why)
				}
				time.AfterFunc(time.Second, func() { cancel(why) })
				_, err := r.read(ctx, testDay)
				var e *Error
				if !errors.Is(err, why) || errors.As(err, &e) || len(r.seen) != 0 {
					t.Errorf("got %v, %+v", err, r.seen)
				}
			})
		})
	}
}

func TestEmptyPagesMayBeMany(t *testing.T) {
	n := 0
	r := newRigAt(t, "http://graph.test", roundTrip(func(*http.Request) (*http.Response, error) {
		if n++; n == 303 {
			return answer(200, `{"value":[]}`), nil
		}
		value := ""
		if n%100 == 0 {
			value = "1"
		}
		return answer(200, fmt.Sprintf(`{"value":[%s],"@odata.nextLink":"?%d"}`, value, n)), nil
	}))
	if rows, err := r.read(t.Context(), testDay); err != nil || len(rows) != 3 {
		t.Errorf("%d rows, %v", len(rows), err)
	}
}

func TestRefusedBeforeAsking(t *testing.T) {
	r := newRigAt(t, "http://graph.test", roundTrip(func(*http.Request) (*http.Response, error) {
		t.Error("a request was made")
		return nil, errors.New("x")
	}))
	foreign, empty := testDay, testDay
	foreign.Link = "https://evil.example/x"
	empty.To = empty.From
	for _, req := range []Request{foreign, empty} {
		if e := r.fails(t, req); e.Class != Permanent || r.budget.LastMinute() != 0 {
			t.Errorf("%v: %v", e.Class, e)
		}
	}
}

func TestUrgentFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var got []string
		r := newRigAt(t, "http://graph.test", roundTrip(func(req *http.Request) (*http.Response, error) {
			mu.Lock()
			defer mu.Unlock()
			got = append(got, req.URL.RawQuery)
			return answer(200, `{"value":[]}`), nil
		}))
		r.Client.observe = func(Outcome) {}
		r.budget = NewBudget(clock.System, 1)
		r.budget.Restore([]time.Time{time.Now()})
		var wg sync.WaitGroup
		for _, req := range []Request{{Link: "?backfill"}, {Link: "?open", Urgent: true}} {
			req.From, req.To = testDay.From, testDay.To
			wg.Go(func() { r.read(t.Context(), req) })
			synctest.Wait()
		}
		wg.Wait()
		if d := cmp.Diff([]string{"open", "backfill"}, got); d != "" {
			t.Error(d)
		}
	})
}

// With GRAPH_AUTH=none the token is the tenant's id, and no secret: what Graph says of the tenant stays readable.
func TestTenantAsToken(t *testing.T) {
	r := newRigAt(t, "http://graph.test", roundTrip(func(*http.Request) (*http.Response, error) {
		return answer(404, `{"error":{"code":"NotFound","message":"no tenant contoso here"}}`), nil
	}))
	r.Client.tokens = noToken("contoso")
	if e := r.fails(t, testDay); e.Message != "no tenant contoso here" {
		t.Errorf("message %q", e.Message)
	}
}

// What breaks on the way must show neither the proxy's password, which its URL holds, nor the request's URL, which may be long.
func TestNetworkErrorIsClean(t *testing.T) {
	cause := &net.OpError{Op: "dial", Err: errors.New(`proxy "http://joe:hunter2@proxy:3128" is down`)}
	r := newRigAt(t, "http://graph.test", roundTrip(func(*http.Request) (*http.Response, error) { return nil, cause }))
	e := r.fails(t, testDay)
	if e.Class != Retry || e.Status != 0 || strings.Contains(e.Error(), "hunter2") || strings.Contains(e.Error(), "graph.test") || !errors.Is(e, cause) {
		t.Errorf("%v", e)
	}
}

func TestNewRefuses(t *testing.T) {
	good := Config{Tenant: "t", Endpoint: mustURL(t, "https://g"), APIVersion: "v1.0", Tokens: &fixedTokens{}, Budget: NewBudget(clock.System, 1)}
	if _, err := New(good); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*Config){
		"no tenant":   func(c *Config) { c.Tenant = "" },
		"no endpoint": func(c *Config) { c.Endpoint = nil },
		"ftp":         func(c *Config) { c.Endpoint = &url.URL{Scheme: "ftp", Host: "g"} },
		"no host":     func(c *Config) { c.Endpoint = &url.URL{Scheme: "https", Path: "g"} },
		"user":        func(c *Config) { c.Endpoint = mustURL(t, "https://u:p@g") },
		"query":       func(c *Config) { c.Endpoint = mustURL(t, "https://g?x") },
		"version":     func(c *Config) { c.APIVersion = "v2" },
		"tokens":      func(c *Config) { c.Tokens = nil },
		"budget":      func(c *Config) { c.Budget = nil },
	} {
		c := good
		spoil(&c)
		if _, err := New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
