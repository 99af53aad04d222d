package graph

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The way to a host: how far it is free, and why not further. No request is sent on it.
func TestReach(t *testing.T) {
	var asked atomic.Int32
	web := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	web.Config.ErrorLog = log.New(io.Discard, "", 0)
	web.StartTLS()
	defer web.Close()
	plain := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	defer plain.Close()
	refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
	defer refusing.Close()
	encrypted := httptest.NewTLSServer(refusing.Config.Handler)
	defer encrypted.Close()
	known := web.Client().Transport.(*http.Transport).TLSClientConfig
	nameless := &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("no name server") }}
	behind := func(host string) func(*http.Transport) {
		return func(tr *http.Transport) {
			tr.Proxy = http.ProxyURL(&url.URL{Scheme: "http", Host: host, User: url.UserPassword("me", testSecret)})
		}
	}
	for _, tt := range []struct {
		name   string
		root   string
		change func(*http.Transport)
		failed Phase
		want   string // in the error
		tls    bool
	}{
		{"https", web.URL, func(*http.Transport) {}, "", "", true},
		{"plain http", plain.URL, func(*http.Transport) {}, "", "", false},
		{"no name", "https://graph.invalid", func(tr *http.Transport) { tr.DialContext = (&net.Dialer{Resolver: nameless}).DialContext }, ViaDNS, "graph.invalid", false},
		{"no name, plain http", "http://graph.invalid", func(tr *http.Transport) { tr.DialContext = (&net.Dialer{Resolver: nameless}).DialContext }, ViaDNS, "graph.invalid", false},
		{"nobody", "https://127.0.0.1:1", func(*http.Transport) {}, ViaConnection, "refused", false},
		{"nobody, plain http", "http://127.0.0.1:1", func(*http.Transport) {}, ViaConnection, "refused", false},
		{"a stranger's certificate", web.URL, func(tr *http.Transport) { tr.TLSClientConfig = nil }, ViaTLS, "unknown authority", false},
		{"no TLS there", strings.Replace(plain.URL, "http:", "https:", 1), func(*http.Transport) {}, ViaTLS, "TLS", false},
		{"a proxy that refuses", web.URL, behind(refusing.Listener.Addr().String()), ViaProxy, "answered 403", false},
		{"a proxy that refuses, behind TLS", web.URL, func(tr *http.Transport) {
			tr.Proxy = http.ProxyURL(&url.URL{Scheme: "https", Host: encrypted.Listener.Addr().String()})
		}, ViaProxy, "answered 403", false},
		{"a proxy that is away", web.URL, behind("127.0.0.1:1"), ViaProxy, "refused", false},
		{"a proxy that is away, plain http", plain.URL, behind("127.0.0.1:1"), ViaProxy, "refused", false},
		{"a proxy's name that does not resolve", web.URL, func(tr *http.Transport) {
			behind("proxy.invalid:3128")(tr)
			tr.DialContext = (&net.Dialer{Resolver: nameless}).DialContext
		}, ViaProxy, "proxy.invalid", false},
		{"a proxy that is no URL", web.URL, func(tr *http.Transport) {
			tr.Proxy = func(*http.Request) (*url.URL, error) { return nil, errors.New("bad URL " + testSecret) }
		}, ViaProxy, "not one", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tr := NewTransport()
			tr.Proxy, tr.TLSClientConfig = nil, known.Clone()
			tt.change(tr)
			r := Reach(t.Context(), tr, mustURL(t, tt.root))
			if r.Failed != tt.failed || (r.Err == nil) != (tt.failed == "") || r.Err != nil && !strings.Contains(r.Err.Error(), tt.want) || (r.TLS != "") != tt.tls {
				t.Errorf("%+v, want %q with %q", r, tt.failed, tt.want)
			}
			if r.Err != nil && strings.Contains(r.Err.Error(), testSecret) {
				t.Errorf("it shows the proxy's password: %v", r.Err)
			}
			if tt.tls && (r.TLS != tls.VersionName(tls.VersionTLS13) || r.Expires.IsZero() || r.Issuer == "") {
				t.Errorf("%+v", r)
			}
		})
	}
	if n := asked.Load(); n > 0 {
		t.Errorf("%d requests", n)
	}
}

func TestReachEnds(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() // nobody shakes hands there
	tr := NewTransport()
	tr.Proxy = nil
	ctx, cancel := context.WithCancelCause(t.Context())
	tr.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		defer cancel(errors.New("given up"))
		return new(net.Dialer).DialContext(ctx, network, addr)
	}
	if r := Reach(ctx, tr, mustURL(t, "https://"+l.Addr().String())); r.Failed == "" || !strings.Contains(r.Err.Error(), "given up") {
		t.Errorf("%+v", r)
	}
}

func TestRights(t *testing.T) {
	token := func(claims string) string {
		return "e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".sig"
	}
	for _, tt := range []struct {
		name, token string
		want        Rights
	}{
		{"an application's", token(`{"roles":["CallRecords.Read.All"],"tid":"t","idtyp":"app","scp":""}`), Rights{true, true, []string{Role}, "t"}},
		{"without the optional type", token(`{"roles":["A","B"]}`), Rights{true, true, []string{"A", "B"}, ""}},
		{"without roles", token(`{}`), Rights{true, true, nil, ""}},
		{"a user's", token(`{"scp":"CallRecords.Read.All","tid":"t"}`), Rights{true, false, nil, "t"}},
		{"a user's by its type", token(`{"roles":["CallRecords.Read.All"],"idtyp":"user"}`), Rights{true, false, []string{Role}, ""}},
		{"padded", token(`{}`) + "", Rights{true, true, nil, ""}},
		{"hostile", token(`{"roles":["<b>a@b.example</b> +49 30 1234567"]}`), Rights{true, true, []string{"… …"}, ""}},
		{"opaque", "EwB4A8l6BAAU", Rights{}},
		{"not base64", "a.%.c", Rights{}},
		{"not JSON", "a." + base64.RawURLEncoding.EncodeToString([]byte("x")) + ".c", Rights{}},
		{"of another type", token(`{"roles":"CallRecords.Read.All"}`), Rights{}},
		{"empty", "", Rights{}},
	} {
		if d := cmp.Diff(tt.want, rightsOf(tt.token)); d != "" {
			t.Errorf("%s: -want +got\n%s", tt.name, d)
		}
	}
	r := newRig(t, func(http.ResponseWriter, *http.Request) { t.Error("Graph was asked") })
	if got, err := r.Rights(t.Context()); err != nil || got.Readable {
		t.Errorf("%+v, %v", got, err)
	}
}
