package graph

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// What the command check asks before anything is polled. Nothing here but Token needs a credential.

// Phase is how far the way to a host was free.
type Phase string

// The phases, in their order. With a proxy, which resolves the name and connects, ViaDNS and ViaConnection do not come.
const (
	ViaProxy      Phase = "proxy"
	ViaDNS        Phase = "dns"
	ViaConnection Phase = "connection"
	ViaTLS        Phase = "tls"
)

// Reached is what was seen on the way to a host.
type Reached struct {
	Proxy     string // host:port; empty: none
	Addresses []string
	TLS       string // the version; empty: plain http
	Issuer    string // of the host's certificate
	Expires   time.Time
	Failed    Phase // empty: all is free
	Err       error // why; without secrets
}

// errReached ends a handshake that has proved what it was made for: no request is sent.
var errReached = errors.New("reached")

// Reach resolves the host of root, connects and shakes hands, through the proxy that t would take, and sends no request.
func Reach(ctx context.Context, t *http.Transport, root *url.URL) Reached {
	t = t.Clone()
	t.DisableKeepAlives = true
	w := &way{ctx: ctx}
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		DNSDone: func(i httptrace.DNSDoneInfo) {
			w.mu.Lock()
			defer w.mu.Unlock()
			for _, a := range i.Addrs {
				w.Addresses = append(w.Addresses, a.String())
			}
		},
		TLSHandshakeStart: func() {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.shaking = true
		},
	})
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, root.String(), nil)
	if err != nil {
		return w.end(ViaConnection, err)
	}
	var proxy *url.URL
	if t.Proxy != nil {
		if proxy, err = t.Proxy(req); err != nil {
			return w.end(ViaProxy, errors.New("the proxy's URL in the environment is not one")) // the error quotes it, with its password
		}
	}
	to := root
	if proxy != nil {
		w.Proxy, to = proxy.Host, proxy
	}
	if root.Scheme != "https" {
		conn, err := t.DialContext(ctx, "tcp", net.JoinHostPort(to.Hostname(), port(to)))
		if err == nil {
			conn.Close()
		}
		return w.end(w.barred(proxy, err), err)
	}
	w.tunnel = proxy == nil || strings.HasPrefix(proxy.Scheme, "socks")
	t.OnProxyConnectResponse = func(_ context.Context, _ *url.URL, _ *http.Request, resp *http.Response) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.tunnel = resp.StatusCode == http.StatusOK; !w.tunnel {
			return fmt.Errorf("the proxy answered %d to CONNECT", resp.StatusCode)
		}
		return nil
	}
	conf := &tls.Config{}
	if t.TLSClientConfig != nil {
		conf = t.TLSClientConfig.Clone()
	}
	conf.VerifyConnection = w.verified
	t.TLSClientConfig = conf
	resp, err := t.RoundTrip(req)
	if err == nil { // not with verified
		resp.Body.Close()
	}
	return w.end(w.barred(proxy, err), err)
}

// way is a Reached in the making: a connection that was given up may still be at it.
type way struct {
	ctx context.Context
	mu  sync.Mutex
	Reached
	tunnel  bool // behind a proxy: what is seen now is the host's, not the proxy's
	shaking bool // a TLS handshake has begun
}

// verified is called with what a handshake came to, once the certificate has proved good.
func (w *way) verified(s tls.ConnectionState) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.tunnel { // the proxy's own
		return nil
	}
	w.TLS = tls.VersionName(s.Version)
	if len(s.PeerCertificates) > 0 {
		leaf := s.PeerCertificates[0]
		w.Expires = leaf.NotAfter
		w.Issuer = clean(strings.Join(append(leaf.Issuer.Organization, leaf.Issuer.CommonName), " "), 100)
	}
	return errReached
}

// barred returns where an error stands in the way, empty where that is free.
func (w *way) barred(proxy *url.URL, err error) Phase {
	w.mu.Lock()
	defer w.mu.Unlock()
	var dns *net.DNSError
	switch {
	case err == nil || w.TLS != "":
		return ""
	case proxy != nil && !(w.tunnel && w.shaking):
		return ViaProxy
	case errors.As(err, &dns):
		return ViaDNS
	case w.shaking:
		return ViaTLS
	}
	return ViaConnection
}

func (w *way) end(p Phase, err error) Reached {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := w.Reached
	r.Addresses = slices.Clone(r.Addresses)
	if r.Failed = p; p != "" {
		r.Err = errors.New(clean(because(w.ctx, bare(err)).Error(), maxMessage))
	}
	return r
}

// The application permissions that open the call log: the documented one, and the narrower one of older documents, of which
// nobody says whether it still does.
const (
	Role         = "CallRecords.Read.All"
	NarrowerRole = "CallRecord-PstnCalls.Read.All"
)

// Rights are what a token says of itself. Microsoft promises nothing about its form: Readable is false where it is another.
type Rights struct {
	Readable    bool
	Application bool     // false: a user's token
	Roles       []string // of an application
	Tenant      string   // the id of the tenant that it is for
}

// Rights gets a token, from the authority if none is at hand, and returns what it says.
func (c *Client) Rights(ctx context.Context) (Rights, error) {
	token, err := c.tokens.Token(ctx)
	if err != nil {
		return Rights{}, err
	}
	return rightsOf(token), nil
}

// rightsOf decodes the claims of a token, and verifies no signature: that is Graph's business.
func rightsOf(token string) Rights {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return Rights{}
	}
	text, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[1], "="))
	if err != nil {
		return Rights{}
	}
	var claims struct {
		Roles  []string `json:"roles"`
		Scopes string   `json:"scp"`
		Type   string   `json:"idtyp"` // optional: app, user
		Tenant string   `json:"tid"`
	}
	if json.Unmarshal(text, &claims) != nil {
		return Rights{}
	}
	r := Rights{Readable: true, Application: claims.Scopes == "" && (claims.Type == "" || claims.Type == "app"), Tenant: clean(claims.Tenant, 64)}
	for _, role := range claims.Roles {
		r.Roles = append(r.Roles, clean(role, 100))
	}
	return r
}
