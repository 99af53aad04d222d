package graph

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

// newFetch returns the fetch of the credential that cfg names.
func newFetch(cfg TokenConfig) (fetch, error) {
	var set []string
	for _, s := range []struct{ name, value string }{
		{"client secret", cfg.ClientSecret}, {"certificate", cfg.CertificatePath}, {"federated token file", cfg.FederatedTokenFile},
	} {
		if s.value != "" {
			set = append(set, s.name)
		}
	}
	switch {
	case len(set) > 1:
		return nil, fmt.Errorf("%s: only one of them can be used", strings.Join(set, " and "))
	case cfg.Scope == "":
		return nil, errors.New("no scope")
	case len(set) == 0:
		return azureFetch(cfg, managedIdentity)
	case cfg.ClientID == "":
		return nil, errors.New("no client id")
	}
	if err := checkRoot(cfg.Authority); err != nil {
		return nil, fmt.Errorf("authority: %w", err)
	}
	switch {
	case cfg.ClientSecret != "":
		return secretFetch(cfg)
	case cfg.Authority.Scheme != "https":
		return nil, errors.New("authority: https is needed with a certificate or a federated token")
	case cfg.CertificatePath != "":
		return azureFetch(cfg, certificate)
	}
	return azureFetch(cfg, workloadIdentity)
}

// secretFetch asks with a client secret. It goes through x/oauth2 and not azidentity, which refuses an authority on http.
func secretFetch(cfg TokenConfig) (fetch, error) {
	if cfg.Authority.Scheme != "https" && !isLoopback(cfg.Authority.Hostname()) {
		return nil, errors.New("authority: a client secret goes over https, or http on loopback")
	}
	conf := &clientcredentials.Config{
		ClientID:     cfg.ClientID,
		ClientSecret: cfg.ClientSecret,
		TokenURL:     strings.TrimRight(cfg.Authority.String(), "/") + "/" + cfg.Tenant + "/oauth2/v2.0/token",
		Scopes:       []string{cfg.Scope},
		AuthStyle:    oauth2.AuthStyleInParams, // Entra's; probing for it would double a wrong secret's requests
	}
	client := newTokenClient(cfg.Transport)
	return func(ctx context.Context) (grant, error) {
		tk, err := conf.Token(context.WithValue(ctx, oauth2.HTTPClient, client))
		if err != nil {
			var r *oauth2.RetrieveError
			if errors.As(err, &r) {
				return grant{}, tokenRefused(r.Response, r.Body, cfg.ClientSecret)
			}
			return grant{}, tokenLost(ctx, bare(err), cfg.ClientSecret)
		}
		var life time.Duration
		if !tk.Expiry.IsZero() {
			life = time.Until(tk.Expiry)
		}
		return grant{tk.AccessToken, life}, nil
	}, nil
}

func isLoopback(host string) bool {
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}

// azureFetch asks through azidentity. The credential is built anew for each token: it would hand back the one it has cached,
// though that was refused; and a certificate that was replaced on disk is read again.
func azureFetch(cfg TokenConfig, build func(TokenConfig, azcore.ClientOptions) (azcore.TokenCredential, error)) (fetch, error) {
	options := azcore.ClientOptions{
		Transport: newTokenClient(cfg.Transport),
		Retry:     policy.RetryOptions{MaxRetries: -1}, // the poller decides
	}
	if cfg.Authority != nil {
		options.Cloud = cloud.Configuration{ActiveDirectoryAuthorityHost: cfg.Authority.String()}
	}
	if cfg.FederatedTokenFile == "" { // that file may come later, the others are there or wrong
		if _, err := build(cfg, options); err != nil {
			return nil, err
		}
	}
	want := policy.TokenRequestOptions{Scopes: []string{cfg.Scope}}
	if cfg.CertificatePath == "" && cfg.FederatedTokenFile == "" {
		want.Claims = "{}" // makes the library pass over its process-wide cache of managed identities; it is not sent
	}
	return func(ctx context.Context) (grant, error) {
		cred, err := build(cfg, options)
		if err != nil {
			return grant{}, &Error{Class: Human, Err: err}
		}
		tk, err := cred.GetToken(ctx, want)
		if err != nil {
			var failed *azidentity.AuthenticationFailedError
			if errors.As(err, &failed) && failed.RawResponse != nil {
				body, _ := runtime.Payload(failed.RawResponse) // it only explains
				return grant{}, tokenRefused(failed.RawResponse, body)
			}
			return grant{}, tokenLost(ctx, err)
		}
		return grant{tk.Token, time.Until(tk.ExpiresOn)}, nil
	}, nil
}

func certificate(cfg TokenConfig, options azcore.ClientOptions) (azcore.TokenCredential, error) {
	data, err := os.ReadFile(cfg.CertificatePath)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	certs, key, err := azidentity.ParseCertificates(data, []byte(cfg.CertificatePassword))
	if err != nil {
		return nil, fmt.Errorf("certificate %s: %w", cfg.CertificatePath, err)
	}
	return azidentity.NewClientCertificateCredential(cfg.Tenant, cfg.ClientID, certs, key,
		&azidentity.ClientCertificateCredentialOptions{ClientOptions: options, DisableInstanceDiscovery: true})
}

func workloadIdentity(cfg TokenConfig, options azcore.ClientOptions) (azcore.TokenCredential, error) {
	// Looked at first: the library would report a missing file like a network that is down.
	if _, err := os.Stat(cfg.FederatedTokenFile); err != nil {
		return nil, fmt.Errorf("federated token: %w", err)
	}
	return azidentity.NewWorkloadIdentityCredential(&azidentity.WorkloadIdentityCredentialOptions{
		ClientOptions: options, DisableInstanceDiscovery: true,
		TenantID: cfg.Tenant, ClientID: cfg.ClientID, TokenFilePath: cfg.FederatedTokenFile,
	})
}

func managedIdentity(cfg TokenConfig, options azcore.ClientOptions) (azcore.TokenCredential, error) {
	o := &azidentity.ManagedIdentityCredentialOptions{ClientOptions: options}
	o.Retry = policy.RetryOptions{} // the library's own for this endpoint, which is slow to start
	if cfg.ClientID != "" {
		o.ID = azidentity.ClientID(cfg.ClientID)
	}
	return azidentity.NewManagedIdentityCredential(o)
}

// tokenRefused is the error of an answer that holds no token.
func tokenRefused(resp *http.Response, body []byte, secrets ...string) *Error {
	e := &Error{Class: Human, Status: resp.StatusCode}
	var said struct {
		Code        string `json:"error"`
		Description string `json:"error_description"`
	}
	_ = json.Unmarshal(body, &said) // what is no JSON explains nothing
	// AADSTS7000215: Invalid client secret … Trace ID: … Correlation ID: … Timestamp: …
	text, _, _ := strings.Cut(said.Description, "Trace ID:")
	e.Code, e.Message = clean(said.Code, 100, secrets...), clean(text, maxMessage, secrets...)
	e.RequestID = clean(resp.Header.Get("x-ms-request-id"), 100, secrets...)
	e.RetryAfter = parseRetryAfter(resp.Header.Get("Retry-After"), time.Now())
	switch {
	case resp.StatusCode == http.StatusTooManyRequests:
		e.Class = Wait
	case resp.StatusCode >= 500, resp.StatusCode == http.StatusRequestTimeout, resp.StatusCode < 300,
		said.Code == "temporarily_unavailable", said.Code == "server_error":
		e.Class = Retry
	}
	return e
}

// tokenLost is the error of a request to the authority that brought no answer, or none that can be read.
func tokenLost(ctx context.Context, err error, secrets ...string) *Error {
	text := clean(because(ctx, err).Error(), maxMessage, secrets...)
	return &Error{Class: Retry, Err: errors.New(text)}
}
