package graph

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestCutAnywhere closes and resets the connection at every tenth byte of an answer, and in its last ones: none of it passes for a
// page.
func TestCutAnywhere(t *testing.T) {
	body := `{"@odata.count":2,"value":[{"id":"a","callId":"b","duration":1},{"id":"c","callId":"d","duration":2}]}`
	chunked := fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(body), body)
	for name, whole := range map[string]string{
		"with its length":  fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(body), body),
		"in chunks":        "Transfer-Encoding: chunked\r\n\r\n" + chunked,
		"up to the end":    "Connection: close\r\n\r\n" + body,
		"gzip, to the end": "Connection: close\r\nContent-Encoding: gzip\r\n\r\n" + zipped(body),
	} {
		t.Run(name, func(t *testing.T) {
			whole := "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n" + whole
			var cut atomic.Int32
			var reset atomic.Bool
			cut.Store(int32(len(whole)))
			r := newRig(t, func(w http.ResponseWriter, _ *http.Request) {
				conn, _, err := w.(http.Hijacker).Hijack()
				if err != nil {
					t.Error(err)
					return
				}
				io.WriteString(conn, whole[:cut.Load()])
				if reset.Load() {
					conn.(*net.TCPConn).SetLinger(0)
				}
				conn.Close()
			})
			if rows, err := r.read(t.Context(), testDay); err != nil || len(rows) != 2 {
				t.Fatalf("whole: %d rows, %v", len(rows), err)
			}
			for at := 0; at < len(whole); {
				for _, hard := range []bool{false, true} {
					cut.Store(int32(at))
					reset.Store(hard)
					rows, err := r.read(t.Context(), testDay)
					if !isClass(err, Retry) || len(rows) > 0 || !told.MatchString(err.Error()) {
						t.Errorf("cut at byte %d, reset %v: %d rows, %v", at, hard, len(rows), err)
					}
				}
				if at += 10; at > len(whole)-20 {
					at -= 9
				}
			}
		})
	}
}

// pipes connects a client and a server of one bubble: a network would keep its clock from going on.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	if c, ok := <-p; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}
func (p pipes) Close() error   { return nil }
func (p pipes) Addr() net.Addr { return &net.TCPAddr{} }

// TestSlowDrip lets an answer come byte by byte: there is an end to the waiting for it, whatever comes meanwhile.
func TestSlowDrip(t *testing.T) {
	head := "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
	for _, tt := range []struct {
		name, whole string
		every, ends time.Duration
		says        string
	}{
		{"in time", head + "Content-Length: 14\r\n\r\n" + `{"value":[1]}` + "\n", time.Second / 10, 0, ""},
		{"headers", head + strings.Repeat("X: x\r\n", 100), time.Second, headerTimeout, "no answer from Graph within 30s; it will be asked again; if this lasts, check"},
		{"body", head + "\r\n" + strings.Repeat(" ", 10_000), time.Second / 10, pageTimeout, "the page took Graph more than 1m40s; it will be asked again; if this lasts, check"},
		{"error body", "HTTP/1.1 500 Oh\r\n\r\n" + strings.Repeat(" ", 10_000), time.Second / 10, pageTimeout, "Graph answered 500; it will be asked again; if this lasts, look"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				network := make(pipes)
				server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					conn, _, err := w.(http.Hijacker).Hijack()
					if err != nil {
						t.Error(err)
						return
					}
					defer conn.Close()
					for i := range len(tt.whole) {
						if _, err := io.WriteString(conn, tt.whole[i:i+1]); err != nil {
							return
						}
						time.Sleep(tt.every)
					}
				})}
				go server.Serve(network)
				tr := NewTransport()
				tr.Proxy, tr.DialContext = nil, func(context.Context, string, string) (net.Conn, error) {
					c, s := net.Pipe()
					network <- s
					return c, nil
				}
				r := newRigAt(t, "http://graph.test", tr)
				start := time.Now()
				rows, err := r.read(t.Context(), testDay)
				if tt.says == "" {
					if len(rows) != 1 || err != nil {
						t.Errorf("%d rows, %v", len(rows), err)
					}
				} else if took := time.Since(start); !isClass(err, Retry) || !strings.Contains(err.Error(), tt.says) || took != tt.ends {
					t.Errorf("after %v: %v\nwant %q after %v", took, err, tt.says, tt.ends)
				}
				time.Sleep(tt.every) // until the server's write fails
				// A page that lasts longer than a minute is said to be slow before the minute is over.
				warned := "time=" + start.Add(slowPage).Format("2006-01-02T15:04:05.000Z07:00") + " level=WARN"
				if said := strings.Contains(r.log.String(), warned); said != (tt.ends > time.Minute) || slowPage >= time.Minute {
					t.Errorf("the log says that the page is slow: %v\n%s", said, r.log)
				}
				tr.CloseIdleConnections()
				close(network)
				synctest.Wait()
				server.Close()
			})
		})
	}
}

// TestHostileAuthority holds the token endpoint against what it may answer, as a server on the network.
func TestHostileAuthority(t *testing.T) {
	const good = `{"access_token":"tok","token_type":"Bearer","expires_in":`
	const again = "; it will be asked again; if this lasts, check the token authority, network and proxy"
	json := []string{"Content-Type", "application/json"}
	huge := strings.Repeat(" ", 1<<20)
	for _, tt := range []struct {
		name  string
		h     http.HandlerFunc
		class Class  // OK: the token is used
		says  string // part of the error's text
	}{
		{"400 invalid_client", answers(400, `{"error":"invalid_client","error_description":"AADSTS7000215: Invalid client secret provided."}`, json...), Human,
			"the token authority answered 400 (invalid_client: AADSTS7000215: Invalid client secret provided.); check the tenant, client id and credential"},
		{"500", answers(500, ``), Retry, "the token authority answered 500" + again},
		{"500 with HTML", answers(500, `<html>down</html>`, "Content-Type", "text/html"), Retry, "the token authority answered 500" + again},
		{"500 without end", endless(500, huge), Retry, "the token authority's answer has more than 262144 bytes" + again},
		{"HTML", answers(200, `<html>sign in</html>`, "Content-Type", "text/html"), Retry, again},
		{"nothing", answers(200, ``, json...), Retry, again},
		{"without a token", answers(200, `{"expires_in":3600}`, json...), Retry, "missing access_token" + again},
		{"truncated", answers(200, good, json...), Retry, again},
		{"without end", endless(200, huge), Retry, "the token authority's answer has more than 262144 bytes" + again},
		{"1 MB header", answers(200, good+`3600}`, append(json, "X", strings.Repeat("x", 1<<20))...), Retry, "headers exceeded 65536 bytes; aborted" + again},
		{"closes the connection", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, Retry, "EOF" + again},
		{"redirect", answers(302, ``, "Location", "https://evil.example/"), Human, "answered 302; check the tenant"},
		{"Retry-After without sense", answers(429, ``, "Retry-After", "1000000000"), Wait, "nothing is asked for this tenant for 24h0m0s"},
		{"expires_in that is no number", answers(200, good+`"soon"}`, json...), Retry, again},
		{"expires_in 0", answers(200, good+`0}`, json...), OK, ""},
		{"expires_in -1", answers(200, good+`-1}`, json...), OK, ""},
		{"expires_in without sense", answers(200, good+`99999999999}`, json...), OK, ""},
		{"a token that no header can hold", answers(200, `{"access_token":"a\r\nX: b","token_type":"Bearer","expires_in":3600}`, json...), OK, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var asked atomic.Int32
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) { asked.Add(1); tt.h(w, req) }))
			defer server.Close()
			tr := NewTransport()
			defer tr.CloseIdleConnections()
			source := newTestTokens(t, secretConfig(t, server.URL, tr))
			before := memory(true)
			token, err := source.Token(t.Context())
			if took := (memory(false).TotalAlloc - before.TotalAlloc) >> 20; took > 8 {
				t.Errorf("%d MiB allocated for one token", took)
			}
			if tt.class == OK {
				if kept, err := source.Token(t.Context()); token == "" || err != nil || kept != token || asked.Load() != 1 {
					t.Errorf("%q and then %q, %v, after %d requests: want one token, kept", token, kept, err, asked.Load())
				}
				return
			}
			if !isClass(err, tt.class) || !strings.Contains(err.Error(), tt.says) || !told.MatchString(err.Error()) || !strings.HasPrefix(err.Error(), "token of tenant contoso.example: ") {
				t.Errorf("%v\nwant %v, %q", err, tt.class, tt.says)
			}
			t.Log(err)
		})
	}
}

// TestAuthorityWithoutEnd: the library behind certificates and federated tokens reads an answer whole, so it is bounded before.
func TestAuthorityWithoutEnd(t *testing.T) {
	cfg, _ := newAuthority(t)
	cfg.FederatedTokenFile = writeFile(t, "token", []byte("federated"))
	authority := cfg.Transport
	cfg.Transport = roundTrip(func(req *http.Request) (*http.Response, error) {
		if strings.HasSuffix(req.URL.Path, "/token") {
			resp := answer(200, "")
			resp.Body, resp.Request = io.NopCloser(readFunc(func(b []byte) (int, error) {
				if err := req.Context().Err(); err != nil {
					return 0, err
				}
				return copy(b, strings.Repeat(" ", len(b))), nil
			})), req
			return resp, nil
		}
		return authority.RoundTrip(req)
	})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	before := memory(true)
	_, err := newTestTokens(t, cfg).Token(ctx)
	if took := (memory(false).TotalAlloc - before.TotalAlloc) >> 20; took > 16 {
		t.Errorf("%d MiB allocated for one token", took)
	}
	if !isClass(err, Retry) || !strings.Contains(err.Error(), "more than 262144 bytes") || !told.MatchString(err.Error()) {
		t.Errorf("%v", err)
	}
}
