package graph

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pstncalls/internal/clock"
)

const testSecret = "hunter2/very+secret"

func secretConfig(t testing.TB, authority string, tr http.RoundTripper) TokenConfig {
	return TokenConfig{
		Auth: "azure", Tenant: "contoso.example", ClientID: "app", ClientSecret: testSecret,
		Authority: mustURL(t, authority), Scope: "https://graph.test/.default", Transport: tr,
	}
}

func newTestTokens(t *testing.T, cfg TokenConfig) TokenSource {
	t.Helper()
	s, err := NewTokens(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A tokenAuthority answers every request with the next token, t1, t2 …, until fail is set.
type tokenAuthority struct {
	mu    sync.Mutex
	n     int
	life  int // seconds
	delay time.Duration
	fail  func() (*http.Response, error)
}

func (a *tokenAuthority) RoundTrip(req *http.Request) (*http.Response, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.n++
	if err := clock.Sleep(req.Context(), clock.System, a.delay); err != nil {
		return nil, err
	}
	if a.fail != nil {
		return a.fail()
	}
	return answer(200, fmt.Sprintf(`{"access_token":"t%d","token_type":"Bearer","expires_in":%d}`, a.n, a.life), "Content-Type", "application/json"), nil
}

func (a *tokenAuthority) source(t *testing.T) TokenSource {
	return newTestTokens(t, secretConfig(t, "https://login.test", a))
}

func TestSecretToken(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if err := req.ParseForm(); err != nil {
			t.Error(err)
		}
		want := url.Values{"grant_type": {"client_credentials"}, "client_id": {"app"}, "client_secret": {testSecret}, "scope": {"https://graph.test/.default"}}
		if req.URL.Path != "/contoso.example/oauth2/v2.0/token" || req.PostForm.Encode() != want.Encode() {
			t.Errorf("%s %v", req.URL, req.PostForm)
		}
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"access_token":"tok","token_type":"Bearer","expires_in":3600}`)
	}))
	defer s.Close()
	tr := NewTransport()
	defer tr.CloseIdleConnections()
	got, err := newTestTokens(t, secretConfig(t, s.URL+"/", tr)).Token(t.Context())
	if got != "tok" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

func TestTokenLife(t *testing.T) {
	down := func() (*http.Response, error) { return nil, errors.New("down") }
	type step struct {
		after time.Duration
		do    func(*tokenAuthority, TokenSource)
		want  string // "" = an error
	}
	for _, tt := range []struct {
		name  string
		life  int
		steps []step
	}{
		{"kept", 3600, []step{{0, nil, "t1"}, {54 * time.Minute, nil, "t1"}}},
		{"replaced early", 3600, []step{{0, nil, "t1"}, {55 * time.Minute, nil, "t2"}, {54 * time.Minute, nil, "t2"}}},
		{"short-lived", 60, []step{{0, nil, "t1"}, {29 * time.Second, nil, "t1"}, {time.Second, nil, "t2"}}},
		{"life not told", 0, []step{{0, nil, "t1"}, {2 * time.Minute, nil, "t1"}, {time.Minute, nil, "t2"}}},
		{"refreshed", 3600, []step{{0, nil, "t1"}, {0, func(_ *tokenAuthority, s TokenSource) { s.Refresh() }, "t2"}, {0, nil, "t2"}}},
		{"authority down while the token is good", 3600, []step{
			{0, nil, "t1"},
			{56 * time.Minute, func(a *tokenAuthority, _ TokenSource) { a.fail = down }, "t1"},
			{29 * time.Second, func(a *tokenAuthority, _ TokenSource) { a.fail = nil }, "t1"},
			{time.Second, nil, "t3"},
		}},
		{"authority down for longer", 3600, []step{
			{0, nil, "t1"}, {59 * time.Minute, func(a *tokenAuthority, _ TokenSource) { a.fail = down }, "t1"}, {time.Minute, nil, ""},
		}},
		{"authority down after a refusal", 3600, []step{
			{0, nil, "t1"}, {0, func(a *tokenAuthority, s TokenSource) { a.fail = down; s.Refresh() }, ""},
			{0, func(a *tokenAuthority, _ TokenSource) { a.fail = nil }, "t3"},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := &tokenAuthority{life: tt.life}
				s := a.source(t)
				for i, st := range tt.steps {
					time.Sleep(st.after)
					if st.do != nil {
						st.do(a, s)
					}
					got, err := s.Token(t.Context())
					if got != st.want || (err == nil) != (st.want != "") {
						t.Errorf("step %d: %q, %v; want %q", i, got, err, st.want)
					}
				}
			})
		})
	}
}

// Callers that wait at the same time share one request and its outcome, but not the end of one caller's ctx.
func TestTokenShared(t *testing.T) {
	for _, tt := range []struct {
		name     string
		fail     error
		cancel   bool // the first caller gives up
		requests int
	}{
		{"token", nil, false, 1},
		{"error", errors.New("down"), false, 1},
		{"first gives up", nil, true, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := &tokenAuthority{life: 3600, delay: 10 * time.Second}
				if tt.fail != nil {
					a.fail = func() (*http.Response, error) { return nil, tt.fail }
				}
				s := a.source(t)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				first := make(chan error, 1)
				go func() { _, err := s.Token(ctx); first <- err }()
				synctest.Wait()
				var wg sync.WaitGroup
				var failed atomic.Int32
				for range 8 {
					wg.Go(func() {
						if _, err := s.Token(t.Context()); err != nil {
							failed.Add(1)
						}
					})
				}
				synctest.Wait()
				if tt.cancel {
					cancel()
				}
				err := <-first
				wg.Wait()
				if a.n != tt.requests || (failed.Load() == 8) != (tt.fail != nil) || errors.Is(err, context.Canceled) != tt.cancel {
					t.Errorf("%d requests, %d failed, first: %v", a.n, failed.Load(), err)
				}
			})
		})
	}
}

func TestTokenTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &tokenAuthority{delay: time.Hour}
		start := time.Now()
		_, err := a.source(t).Token(t.Context())
		var e *Error
		if !errors.As(err, &e) || e.Class != Retry || time.Since(start) != 30*time.Second || !strings.Contains(e.Error(), "within 30s") {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

func TestTokenErrors(t *testing.T) {
	const invalid = `{"error":"invalid_client","error_description":"AADSTS7000215: Invalid client secret provided: ` + testSecret + `. Trace ID: 1 Correlation ID: 2","error_codes":[7000215]}`
	for _, tt := range []struct {
		name   string
		status int
		body   string
		header []string
		class  Class
		says   string
	}{
		{"wrong secret", 401, invalid, nil, Human, "invalid_client: AADSTS7000215: Invalid client secret provided"},
		{"unknown tenant", 400, `{"error":"invalid_request","error_description":"AADSTS90002: Tenant not found."}`, nil, Human, "AADSTS90002"},
		{"busy", 400, `{"error":"temporarily_unavailable"}`, nil, Retry, ""},
		{"throttled", 429, ``, []string{"Retry-After", "7"}, Wait, "7s"},
		{"down", 503, `<html>` + url.QueryEscape(testSecret) + `</html>`, nil, Retry, "answered 503"},
		{"sign-in page", 200, `<html>`, nil, Retry, ""},
		{"no token", 200, `{}`, nil, Retry, "access_token"},
		{"200 with error", 200, `{"error":"server_error"}`, nil, Retry, ""},
		{"redirect", 302, ``, []string{"Location", "https://evil.example"}, Human, "302"},
		{"echo", 400, `{"error":"` + testSecret + `","error_description":"x ` + url.QueryEscape(testSecret) + `"}`, []string{"x-ms-request-id", testSecret}, Human, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := &tokenAuthority{fail: func() (*http.Response, error) {
				h := append([]string{"Content-Type", "application/json"}, tt.header...)
				return answer(tt.status, tt.body, h...), nil
			}}
			_, err := a.source(t).Token(t.Context())
			var e *Error
			if !errors.As(err, &e) || e.Class != tt.class || !strings.Contains(err.Error(), tt.says) {
				t.Fatalf("%v\nwant %v, %q", err, tt.class, tt.says)
			}
			text := fmt.Sprintf("%v %+v %v", err, *e, errors.Unwrap(err))
			if strings.Contains(text, "hunter2") || strings.Contains(text, "Trace ID") || !strings.HasPrefix(err.Error(), "token of tenant contoso.example: ") {
				t.Errorf("text: %s", text)
			}
			if a.n != 1 {
				t.Errorf("%d requests, want 1", a.n)
			}
		})
	}
}

// An https authority as azidentity needs it. Each request gets another token; forms returns what was asked.
func newAuthority(t *testing.T) (cfg TokenConfig, forms func() []url.Values) {
	t.Helper()
	var mu sync.Mutex
	var got []url.Values
	mux := http.NewServeMux()
	s := httptest.NewTLSServer(mux)
	t.Cleanup(s.Close)
	mux.HandleFunc("/contoso.example/v2.0/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"issuer":"%[1]s/contoso.example/v2.0","authorization_endpoint":"%[1]s/contoso.example/oauth2/v2.0/authorize","token_endpoint":"%[1]s/contoso.example/oauth2/v2.0/token"}`, s.URL)
	})
	mux.HandleFunc("/contoso.example/oauth2/v2.0/token", func(w http.ResponseWriter, req *http.Request) {
		req.ParseForm()
		mu.Lock()
		defer mu.Unlock()
		got = append(got, req.PostForm)
		if req.PostForm.Get("client_assertion") == "" || req.PostForm.Get("client_assertion") == "wrong" {
			w.WriteHeader(401)
			io.WriteString(w, `{"error":"invalid_client","error_description":"AADSTS700027: assertion `+req.PostForm.Get("client_assertion")+` failed. Trace ID: x"}`)
			return
		}
		fmt.Fprintf(w, `{"access_token":"t%d","token_type":"Bearer","expires_in":3600}`, len(got))
	})
	cfg = secretConfig(t, s.URL, s.Client().Transport)
	cfg.ClientSecret = ""
	return cfg, func() []url.Values { mu.Lock(); defer mu.Unlock(); return got }
}

// refreshes expects one token, kept, and another after Refresh.
func refreshes(t *testing.T, s TokenSource) {
	t.Helper()
	for i, want := range []string{"t1", "t1", "t2", "t2"} {
		if i == 2 {
			s.Refresh()
		}
		if got, err := s.Token(t.Context()); got != want || err != nil {
			t.Errorf("%d: %q, %v; want %q", i, got, err, want)
		}
	}
}

func writeFile(t *testing.T, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func testCertificate(t *testing.T) []byte {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})...)
}

func TestCertificateToken(t *testing.T) {
	cfg, forms := newAuthority(t)
	cfg.CertificatePath = writeFile(t, "cert.pem", testCertificate(t))
	s := newTestTokens(t, cfg)
	refreshes(t, s)
	if f := forms()[0]; f.Get("client_id") != "app" || !strings.HasPrefix(f.Get("client_assertion"), "eyJ") || !strings.Contains(f.Get("scope"), cfg.Scope) {
		t.Errorf("form %v", f)
	}
	if err := os.Remove(cfg.CertificatePath); err != nil {
		t.Fatal(err)
	}
	s.Refresh()
	if _, err := s.Token(t.Context()); !isClass(err, Human) {
		t.Errorf("without its file: %v", err)
	}
}

func TestWorkloadIdentityToken(t *testing.T) {
	cfg, forms := newAuthority(t)
	cfg.FederatedTokenFile = writeFile(t, "token", []byte("federated"))
	refreshes(t, newTestTokens(t, cfg))
	if got := forms()[0].Get("client_assertion"); got != "federated" {
		t.Errorf("assertion %q", got)
	}
	cfg.FederatedTokenFile = writeFile(t, "token", []byte("wrong"))
	_, err := newTestTokens(t, cfg).Token(t.Context())
	if !isClass(err, Human) || !strings.Contains(err.Error(), "AADSTS700027") || strings.ContainsAny(err.Error(), "\n") {
		t.Errorf("refused: %v", err)
	}
	cfg.FederatedTokenFile += ".missing"
	if _, err := newTestTokens(t, cfg).Token(t.Context()); !isClass(err, Human) {
		t.Errorf("missing: %v", err)
	}
	cfg.FederatedTokenFile = writeFile(t, "token", []byte("federated"))
	n := 0
	cfg.Transport = roundTrip(func(*http.Request) (*http.Response, error) { n++; return nil, errors.New("network is down") })
	if _, err := newTestTokens(t, cfg).Token(t.Context()); !isClass(err, Retry) || !strings.Contains(err.Error(), "network is down") || n != 1 {
		t.Errorf("no network: %v, after %d requests, want 1", err, n)
	}
}

// The library's cache of managed identities is the whole process's: a refused token would come back from it.
func TestManagedIdentityToken(t *testing.T) {
	for _, v := range []string{"IDENTITY_ENDPOINT", "IMDS_ENDPOINT", "MSI_ENDPOINT", "IDENTITY_HEADER"} {
		t.Setenv(v, "")
		os.Unsetenv(v)
	}
	n := 0
	cfg := TokenConfig{Auth: "azure", Tenant: "contoso.example", ClientID: "app", Scope: "https://graph.test/.default",
		Transport: roundTrip(func(req *http.Request) (*http.Response, error) {
			if q := req.URL.Query(); req.URL.Host != "169.254.169.254" || q.Get("client_id") != "app" || q.Get("resource") != "https://graph.test" {
				t.Errorf("asked %s", req.URL)
			}
			n++
			resp := answer(200, fmt.Sprintf(`{"access_token":"t%d","token_type":"Bearer","expires_in":"3600","expires_on":"%d","resource":"https://graph.test"}`, n, time.Now().Add(time.Hour).Unix()))
			resp.Request = req
			return resp, nil
		})}
	refreshes(t, newTestTokens(t, cfg))
}

func isClass(err error, c Class) bool {
	var e *Error
	return errors.As(err, &e) && e.Class == c
}

func TestNoAuth(t *testing.T) {
	s := newTestTokens(t, TokenConfig{Auth: "none", Tenant: "contoso"})
	s.Refresh()
	if got, err := s.Token(t.Context()); got != "contoso" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

func TestNewTokensRefuses(t *testing.T) {
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(ec)
	if err != nil {
		t.Fatal(err)
	}
	keyOnly := writeFile(t, "key.pem", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	for name, spoil := range map[string]func(*TokenConfig){
		"auth":            func(c *TokenConfig) { c.Auth = "" },
		"tenant":          func(c *TokenConfig) { c.Tenant = "a/../b" },
		"tenant dots":     func(c *TokenConfig) { c.Tenant = ".." },
		"two credentials": func(c *TokenConfig) { c.CertificatePath = "x" },
		"client id":       func(c *TokenConfig) { c.ClientID = "" },
		"scope":           func(c *TokenConfig) { c.Scope = "" },
		"no authority":    func(c *TokenConfig) { c.Authority = nil },
		"http":            func(c *TokenConfig) { c.Authority = mustURL(t, "http://login.test") },
		"http, certificate": func(c *TokenConfig) {
			c.Authority = mustURL(t, "http://127.0.0.1")
			c.ClientSecret, c.CertificatePath = "", keyOnly
		},
		"missing certificate": func(c *TokenConfig) { c.ClientSecret, c.CertificatePath = "", keyOnly+"x" },
		"key, no certificate": func(c *TokenConfig) { c.ClientSecret, c.CertificatePath = "", keyOnly },
	} {
		c := secretConfig(t, "https://login.test", nil)
		spoil(&c)
		if _, err := NewTokens(c); err == nil || strings.Contains(err.Error(), testSecret) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
