package graph

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"

	"pstncalls/internal/clock"
)

const (
	tokenTimeout = 30 * time.Second // of one request to the authority, in real time
	tokenEarly   = 5 * time.Minute  // before its end, a token is replaced
	tokenPause   = 30 * time.Second // between attempts to replace one that is still good
	tokenLife    = 5 * time.Minute  // assumed if the authority does not say
)

// TokenSource hands out tokens for one tenant. It may be used from several goroutines.
type TokenSource interface {
	// Token returns a token that is good now, or an *Error, or the cause of ctx's end.
	Token(ctx context.Context) (string, error)
	// Refresh forgets the token that was refused: the next Token is a fresh credential's.
	Refresh()
}

// TokenConfig says where tokens come from. With Auth azure at most one of ClientSecret, CertificatePath and
// FederatedTokenFile is set; with none of them it is the managed identity of the machine, ClientID choosing among several.
type TokenConfig struct {
	Auth                string // azure, or none: the tenant's id stands in for a token (simulator)
	Tenant              string
	ClientID            string
	ClientSecret        string
	CertificatePath     string // PEM or PKCS #12, certificate and key
	CertificatePassword string // of a PKCS #12 file
	FederatedTokenFile  string
	Authority           *url.URL // https, or http on loopback with a client secret
	Scope               string
	Transport           http.RoundTripper // nil: NewTransport()
	Clock               clock.Clock       // nil: the machine's
}

// NewTokens returns the source that cfg describes. It makes no request, but reads the certificate once, so that a wrong
// one is found at the start. Its error names the setting and never holds a secret.
func NewTokens(cfg TokenConfig) (TokenSource, error) {
	if !ValidTenant(cfg.Tenant) {
		return nil, errors.New("tokens: the tenant must be an id or a domain: up to 64 letters, digits, dots and hyphens")
	}
	if cfg.Auth == "none" {
		return noToken(cfg.Tenant), nil
	}
	if cfg.Auth != "azure" {
		return nil, fmt.Errorf("tokens: auth %q: want azure or none", cfg.Auth)
	}
	fetch, err := newFetch(cfg)
	if err != nil {
		return nil, fmt.Errorf("tokens of tenant %s: %w", cfg.Tenant, err)
	}
	t := &tokens{tenant: cfg.Tenant, fetch: fetch, clock: cfg.Clock, turn: make(chan struct{}, 1)}
	if t.clock == nil {
		t.clock = clock.System
	}
	return t, nil
}

type noToken string

func (n noToken) Token(context.Context) (string, error) { return string(n), nil }
func (n noToken) Refresh()                              {}

// ValidTenant reports whether s can be the id or the domain of a tenant: up to 64 letters, digits, dots and hyphens, azidentity's
// rule. It also keeps a tenant from changing the URL or the record's key it is part of.
func ValidTenant(s string) bool {
	for _, r := range s {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '.', r == '-':
		default:
			return false
		}
	}
	return s != "" && len(s) <= 64 && s != "." && s != ".."
}

// grant is a token and how long it is good for, from now; 0 if the authority did not say.
type grant struct {
	token string
	life  time.Duration
}

// fetch gets a token from the authority, never one that was handed out before. Errors are *Error without Op, or ctx's cause.
type fetch func(ctx context.Context) (grant, error)

// tokens keeps one token and replaces it in time. Of callers that need a new one at the same time, one asks the authority
// and all get its answer, error or token.
type tokens struct {
	tenant string
	fetch  fetch
	clock  clock.Clock
	turn   chan struct{} // holds an element while somebody asks the authority

	mu      sync.Mutex
	token   string
	replace time.Time // ask for a new one from here on
	end     time.Time // the token is not used from here on
	asked   int       // answers of the authority so far
	failed  error     // the last of them, if an error
}

func (t *tokens) Token(ctx context.Context) (string, error) {
	token, asked := t.current()
	if token != "" {
		return token, nil
	}
	select {
	case t.turn <- struct{}{}:
		defer func() { <-t.turn }()
	case <-ctx.Done():
		return "", fmt.Errorf("token of tenant %s: %w", t.tenant, context.Cause(ctx))
	}
	if token, err, ok := t.since(asked); ok {
		return token, err
	}
	fetchCtx, cancel := context.WithTimeoutCause(ctx, tokenTimeout,
		fmt.Errorf("no answer from the token authority within %v", tokenTimeout))
	defer cancel()
	g, err := t.fetch(fetchCtx)
	if err != nil && ctx.Err() != nil {
		return "", fmt.Errorf("token of tenant %s: %w", t.tenant, context.Cause(ctx)) // says nothing to the others that wait
	}
	return t.store(g, err)
}

// current returns the token if it need not be replaced yet, and the number of answers so far.
func (t *tokens) current() (string, int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.token != "" && t.clock.Now().Before(t.replace) {
		return t.token, t.asked
	}
	return "", t.asked
}

// since returns what the authority answered to somebody else after answer n, if it did.
func (t *tokens) since(n int) (string, error, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.asked == n:
		return "", nil, false
	case t.failed != nil:
		return "", t.failed, true
	}
	return t.token, nil, t.token != "" // it may have been refused meanwhile
}

func (t *tokens) store(g grant, err error) (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.clock.Now()
	t.asked++
	t.failed = nil
	if err != nil && t.token != "" && now.Before(t.end) {
		// The token in hand is still good: an authority that is down for a while delays nothing. It fails once that ends.
		t.replace = now.Add(tokenPause)
		return t.token, nil
	}
	t.token = ""
	if err != nil {
		var e *Error
		if errors.As(err, &e) {
			e.Op, e.authority = "token of tenant "+t.tenant, true
		}
		t.failed = err
		return "", err
	}
	if g.life <= 0 {
		g.life = tokenLife
	}
	t.token, t.end = g.token, now.Add(g.life)
	t.replace = now.Add(max(g.life-tokenEarly, g.life/2))
	return t.token, nil
}

func (t *tokens) Refresh() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.token = ""
}
