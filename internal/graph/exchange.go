package graph

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/klauspost/compress/gzip" // measured: 356k rows/s, against 248k with the standard library's
)

const (
	maxBody      = 64 << 20 // bytes of a page, decompressed
	maxErrorBody = 64 << 10
	maxTokenBody = 256 << 10
)

// NewTransport returns the transport that a nil Config.Transport stands for, to share between the clients of many tenants.
// It honours the proxy variables of the environment.
func NewTransport() *http.Transport {
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout:    10 * time.Second,
		ForceAttemptHTTP2:      true,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 15 * time.Second}, // finds dead connections
		MaxIdleConnsPerHost:    16,
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
		DisableCompression:     true, // we ask for it and bound it ourselves
	}
}

// newHTTPClient returns a client that follows no redirect: the token is not for whoever Graph points at.
// Guard: no redirect. Taken out: TestRedirectIsNotFollowed.
func newHTTPClient(t http.RoundTripper) *http.Client {
	if t == nil {
		t = NewTransport()
	}
	return &http.Client{
		Transport:     t,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// newTokenClient is newHTTPClient for the authority, whose answers the libraries read whole.
func newTokenClient(t http.RoundTripper) *http.Client {
	c := newHTTPClient(t)
	c.Transport = boundedTransport{c.Transport}
	return c
}

// boundedTransport lets an answer have maxTokenBody bytes at most.
type boundedTransport struct{ http.RoundTripper }

func (t boundedTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := t.RoundTripper.RoundTrip(req)
	if err == nil {
		resp.Body = &boundedBody{resp.Body, maxTokenBody}
	}
	return resp, err
}

type boundedBody struct {
	io.ReadCloser
	left int
}

func (b *boundedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left -= n; b.left < 0 {
		return 0, fmt.Errorf("the token authority's answer has more than %d bytes", maxTokenBody)
	}
	return n, err
}

// exchange is one request and what is known of its answer.
type exchange struct {
	url       *url.URL
	token     string
	secret    string // what must not be seen of it
	id        string // client-request-id
	asked     time.Time
	status    int
	header    http.Header
	requestID string
	bytes     int    // of the body, decompressed
	refusal   []byte // the body of an answer that is no 200, cut to 64 KiB
}

var errRefused = errors.New("refused")

// exchange sends x and reads the answer. An error is errRefused for any status but 200, or says what went wrong.
func (c *Client) exchange(ctx context.Context, x *exchange, b *bodies) (*Page, *url.URL, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	late := time.AfterFunc(headerTimeout, func() { cancel(fmt.Errorf("no answer from Graph within %v", headerTimeout)) })
	defer late.Stop()
	tooLong := time.AfterFunc(pageTimeout, func() { cancel(fmt.Errorf("the page took Graph more than %v", pageTimeout)) })
	defer tooLong.Stop()
	slow := time.AfterFunc(slowPage, func() {
		c.log.LogAttrs(ctx, slog.LevelWarn, "Graph is slow: a page is not whole yet", slog.String("tenant", c.tenant),
			slog.Duration("after", slowPage), slog.Duration("given_up_after", pageTimeout), slog.String("client_request_id", x.id))
	})
	defer slow.Stop()

	req, err := http.NewRequestWithContext(ctx, http.MethodGet, x.url.String(), nil)
	if err != nil {
		return nil, nil, bare(err)
	}
	req.Header.Set("Authorization", "Bearer "+x.token)
	req.Header.Set("Accept", "application/json")
	req.Header.Set("Accept-Encoding", "gzip")
	req.Header.Set("User-Agent", c.agent)
	req.Header.Set("client-request-id", x.id)
	resp, err := c.http.Do(req)
	late.Stop()
	if err != nil {
		return nil, nil, because(ctx, fmt.Errorf("no answer from Graph: %w", bare(err)))
	}
	defer resp.Body.Close()
	x.status, x.header = resp.StatusCode, resp.Header
	x.requestID = clean(resp.Header.Get("request-id"), 100, x.secret)

	limit := maxBody
	if resp.StatusCode != http.StatusOK {
		limit = maxErrorBody
	}
	body, err := b.read(resp, limit)
	x.bytes = len(body)
	if resp.StatusCode != http.StatusOK {
		x.refusal = body // as much of it as came: it only explains
		return nil, nil, errRefused
	}
	if err != nil {
		return nil, nil, because(ctx, err)
	}
	page, err := parsePage(body)
	if err != nil {
		return nil, nil, fmt.Errorf("Graph answered %w", err)
	}
	page.RequestID, page.ClientRequestID, page.ServerDate = x.requestID, x.id, x.serverDate()
	if page.Link == "" {
		return page, nil, nil
	}
	next, err := resolveLink(c.root, x.url, page.Link)
	if err != nil {
		return nil, nil, err
	}
	page.Link = next.String()
	return page, next, nil
}

// bodies reads the bodies of one answer after the other, each into the memory of the one before.
type bodies struct {
	buf  bytes.Buffer
	gzip gzip.Reader
}

// read returns the decompressed body; with an error if there are more than limit bytes, or if it ends early.
func (b *bodies) read(resp *http.Response, limit int) ([]byte, error) {
	var r io.Reader = resp.Body
	size := resp.ContentLength
	switch enc := resp.Header.Get("Content-Encoding"); enc {
	case "", "identity":
	case "gzip":
		if err := b.gzip.Reset(resp.Body); err != nil {
			return nil, fmt.Errorf("the page's gzip: %w", err)
		}
		r, size = &b.gzip, size*8 // about what JSON rows shrink by
	default:
		return nil, fmt.Errorf("the page has content encoding %q, and gzip was asked for", clean(enc, 30))
	}
	buf := &b.buf
	buf.Reset()
	buf.Grow(int(min(max(size, 0), 4<<20)) + bytes.MinRead) // a hint: no more is believed
	n, err := buf.ReadFrom(io.LimitReader(r, int64(limit)+1))
	switch {
	case err != nil:
		return buf.Bytes(), fmt.Errorf("the page breaks off after %d bytes: %w", n, err)
	case n > int64(limit):
		return buf.Bytes()[:limit], fmt.Errorf("the page has more than %d bytes", limit)
	}
	return buf.Bytes(), nil
}

// failure turns the error of x into an Error, all but its Op.
func (x *exchange) failure(err error, received time.Time) *Error {
	e := &Error{Class: Retry, Status: x.status, ClientRequestID: x.id, RequestID: x.requestID}
	if !errors.Is(err, errRefused) {
		e.Err = err
		return e
	}
	// A date is measured against the server's own clock, if it shows one.
	now := received
	if d := x.serverDate(); !d.IsZero() {
		now = d
	}
	e.RetryAfter = parseRetryAfter(x.header.Get("Retry-After"), now)
	e.Class = classify(x.status, e.RetryAfter)
	e.Code, e.Message = parseErrorBody(x.refusal, x.secret)
	e.Diagnostic = clean(x.header.Get("x-ms-ags-diagnostic"), 500, x.secret)
	if x.status >= 300 && x.status < 400 {
		e.Err = fmt.Errorf("Graph answered %d, a redirect to %s, which is not followed", x.status, x.redirect())
	}
	return e
}

func (x *exchange) redirect() string {
	to := x.header.Get("Location")
	u, err := x.url.Parse(to)
	if err != nil || to == "" {
		return "nowhere"
	}
	return fmt.Sprintf("host %q", clean(u.Host, 100, x.secret))
}

// serverDate returns the answer's Date, zero if there is none.
func (x *exchange) serverDate() time.Time {
	t, err := http.ParseTime(x.header.Get("Date"))
	if err != nil {
		return time.Time{}
	}
	return t.UTC()
}

// because returns ctx's cause if it has ended, since that is why err came about.
func because(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// bare strips net/http's wrapper, which repeats the whole URL.
func bare(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}
