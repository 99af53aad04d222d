package graphfake

import (
	"crypto/subtle"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// token is an access token that the simulator issued.
type token struct {
	tenant  string
	expires time.Time
}

// authorize returns the tenant that the request's token stands for: one that the token endpoint issued, or the tenant's own id.
func (c *call) authorize() (tenant string, ok bool) {
	bearer, ok := strings.CutPrefix(c.r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return "", false
	}
	s := c.s
	s.mu.Lock()
	t, issued := s.tokens[bearer]
	s.mu.Unlock()
	if issued {
		return t.tenant, s.cfg.Now().Before(t.expires)
	}
	return bearer, !s.cfg.RequireToken && s.logs[bearer] != nil
}

// token answers the token endpoint: the client credentials grant of the Microsoft identity platform.
func (c *call) token(tenant string) {
	s := c.s
	c.w.Header().Set("Cache-Control", "no-store, no-cache")
	if c.r.Method != http.MethodPost {
		s.misused("token endpoint: %s instead of POST", c.r.Method)
		c.deny(http.StatusMethodNotAllowed, "invalid_request", 900561, "The endpoint only accepts POST requests.")
		return
	}
	c.r.Body = http.MaxBytesReader(c.w, c.r.Body, 64<<10)
	if err := c.r.ParseForm(); err != nil {
		c.deny(http.StatusBadRequest, "invalid_request", 900144, "The request body cannot be read as a form.")
		return
	}
	f, err := s.faultsFor(c.r.Context(), Request{Tenant: tenant}, true)
	if err != nil {
		c.abort()
		return
	}
	form := c.r.PostForm
	id, secret := form.Get("client_id"), form.Get("client_secret")
	if user, password, ok := c.r.BasicAuth(); ok {
		id, secret = user, password
	}
	assertion := form.Get("client_assertion") != "" &&
		form.Get("client_assertion_type") == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
	wrong := s.cfg.ClientSecret != "" && subtle.ConstantTimeCompare([]byte(secret), []byte(s.cfg.ClientSecret)) == 0
	switch {
	case f != nil:
		status := f.Status
		setDefault(&status, http.StatusUnauthorized)
		c.deny(status, "invalid_client", 7000222, "The provided client secret keys for the app are expired.")
	case s.logs[tenant] == nil:
		c.deny(http.StatusBadRequest, "invalid_request", 90002, "Tenant not found.")
	case form.Get("grant_type") != "client_credentials":
		s.misused("token endpoint: grant type is not client_credentials")
		c.deny(http.StatusBadRequest, "unsupported_grant_type", 70003, "The grant type is not supported.")
	case !strings.HasSuffix(form.Get("scope"), "/.default") || strings.ContainsRune(form.Get("scope"), ' '):
		s.misused("token endpoint: scope is not one resource's .default")
		c.deny(http.StatusBadRequest, "invalid_scope", 1002012, "The provided value for scope is not valid.")
	case id == "":
		c.deny(http.StatusBadRequest, "invalid_request", 900144, "The request body must contain client_id.")
	case secret == "" && !assertion:
		c.deny(http.StatusUnauthorized, "invalid_client", 7000218, "The request body must contain client_assertion or client_secret.")
	case wrong && !assertion:
		c.deny(http.StatusUnauthorized, "invalid_client", 7000215, "Invalid client secret provided.")
	default:
		c.reply(http.StatusOK, map[string]any{
			"token_type": "Bearer", "expires_in": int(s.cfg.TokenLifetime.Seconds()), "access_token": s.issue(tenant, c.id),
		})
	}
}

// issue returns a new token, and forgets the expired ones after a further lifetime.
func (s *Server) issue(tenant, id string) string {
	now := s.cfg.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	for text, t := range s.tokens {
		if now.Sub(t.expires) > s.cfg.TokenLifetime {
			delete(s.tokens, text)
		}
	}
	text := "simulated." + id
	s.tokens[text] = token{tenant, now.Add(s.cfg.TokenLifetime)}
	return text
}

// deny answers with an error of the identity platform.
func (c *call) deny(status int, code string, number int, text string) {
	now := c.s.cfg.Now().UTC().Format("2006-01-02 15:04:05Z")
	c.reply(status, map[string]any{
		"error": code, "error_codes": []int{number}, "timestamp": now, "trace_id": c.id, "correlation_id": c.clientID,
		"error_description": fmt.Sprintf("AADSTS%d: %s Trace ID: %s Correlation ID: %s Timestamp: %s", number, text, c.id, c.clientID, now),
	})
}

func (c *call) reply(status int, body map[string]any) {
	c.w.Header().Set("Content-Type", "application/json; charset=utf-8")
	c.w.WriteHeader(status)
	c.w.Write(mustJSON(body))
}

// openID answers the discovery document, which token libraries read first.
func (c *call) openID(tenant string) {
	if c.s.logs[tenant] == nil {
		c.deny(http.StatusBadRequest, "invalid_tenant", 90002, "Tenant not found.")
		return
	}
	base := c.base() + "/" + tenant
	c.reply(http.StatusOK, map[string]any{
		"issuer": base + "/v2.0", "token_endpoint": base + "/oauth2/v2.0/token",
		"authorization_endpoint": base + "/oauth2/v2.0/authorize", "jwks_uri": base + "/discovery/v2.0/keys",
	})
}
