package graph

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/google/uuid"

	"pstncalls/internal/clock"
)

const (
	headerTimeout = 30 * time.Second
	pageTimeout   = 100 * time.Second
	slowPage      = 50 * time.Second // then the log says so: nobody shall wait for the end in silence

	maxPages      = 50_000 // of one run: what the budget yields in 16 hours
	maxEmptyPages = 100    // in a row; Graph may send empty pages, but hardly that many
)

// Config is what a Client is made of. Tenant, Endpoint, APIVersion, Tokens and Budget are required.
type Config struct {
	Tenant     string
	Endpoint   *url.URL // the root, e.g. https://graph.microsoft.com
	APIVersion string   // beta or v1.0
	Tokens     TokenSource
	Budget     *Budget           // the tenant's; shared by all its clients
	Clock      clock.Clock       // nil: the machine's
	Transport  http.RoundTripper // nil: NewTransport()
	UserAgent  string
	Log        *slog.Logger // nil: silent

	// Observe, if set, is called once for each request that was answered or failed, not for one that its ctx cut short.
	// It may be called from several goroutines at once.
	Observe func(Outcome)
}

// Outcome is how one request ended.
type Outcome struct {
	Status   int // 0: no answer
	Class    Class
	Duration time.Duration // up to the last byte
}

// Client reads one tenant's call log. It may be used from several goroutines.
type Client struct {
	tenant  string
	root    *url.URL
	version string
	tokens  TokenSource
	budget  *Budget
	clock   clock.Clock
	http    *http.Client
	agent   string
	log     *slog.Logger
	observe func(Outcome)
}

// New returns a Client, or an error that names the field it cannot use. It makes no request.
func New(cfg Config) (*Client, error) {
	if err := checkRoot(cfg.Endpoint); err != nil {
		return nil, fmt.Errorf("graph: endpoint: %w", err)
	}
	switch {
	case cfg.Tenant == "":
		return nil, errors.New("graph: no tenant")
	case cfg.APIVersion != "beta" && cfg.APIVersion != "v1.0":
		return nil, fmt.Errorf("graph: API version %q: want beta or v1.0", cfg.APIVersion)
	case cfg.Tokens == nil:
		return nil, errors.New("graph: no token source")
	case cfg.Budget == nil:
		return nil, errors.New("graph: no budget")
	}
	c := &Client{
		tenant:  cfg.Tenant,
		root:    cfg.Endpoint,
		version: cfg.APIVersion,
		tokens:  cfg.Tokens,
		budget:  cfg.Budget,
		clock:   cfg.Clock,
		http:    newHTTPClient(cfg.Transport),
		agent:   cfg.UserAgent,
		log:     cfg.Log,
		observe: cfg.Observe,
	}
	if c.clock == nil {
		c.clock = clock.System
	}
	if c.agent == "" {
		c.agent = "pstncalls"
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	if c.observe == nil {
		c.observe = func(Outcome) {}
	}
	return c, nil
}

// Request is what to read.
type Request struct {
	From, To time.Time // half-open for us; Graph's own reading of To is not relied upon
	Link     string    // not empty: go on at this nextLink of that range
	Urgent   bool      // its requests go before the others that wait for the budget
}

// Page is one response of Graph.
type Page struct {
	Rows  [][]byte // each one element of `value`: any JSON value; to be read before the next page is asked for, which overwrites them
	Count int      // @odata.count, -1 if absent
	Link  string   // the absolute nextLink; empty on the last page

	Asked, Received time.Time // by our clock: request sent, last byte read
	ServerDate      time.Time // the Date header; zero if absent
	RequestID       string
	ClientRequestID string
	Bytes           int // of JSON, after decompression
}

// Pages returns the pages of r in order. Nothing happens before it is ranged over, and a page is requested only when the
// consumer asks for it. The first error ends it: an *Error, or the cause of ctx's end.
func (c *Client) Pages(ctx context.Context, r Request) iter.Seq2[*Page, error] {
	return func(yield func(*Page, error) bool) {
		op := c.op(r)
		u, err := c.first(op, r)
		if err != nil {
			yield(nil, err)
			return
		}
		p := progress{op: op, resumed: r.Link != ""}
		p.follow(u.String())
		var b bodies
		for {
			page, next, err := c.page(ctx, op, u, r.Urgent, &b)
			if err == nil {
				err = p.add(page)
			}
			if err != nil {
				yield(nil, err)
				return
			}
			if page.Count >= 0 && page.Count != len(page.Rows) && !p.countLogged {
				p.countLogged = true
				c.log.LogAttrs(ctx, slog.LevelDebug, "@odata.count is not the number of rows",
					slog.String("tenant", c.tenant), slog.Int("count", page.Count), slog.Int("rows", len(page.Rows)),
					slog.String("request_id", page.RequestID))
			}
			if !yield(page, nil) || next == nil {
				return
			}
			u = next
		}
	}
}

// op names what r asks for, for errors and logs.
func (c *Client) op(r Request) string {
	from, to := formatRange(r.From, r.To)
	s := fmt.Sprintf("tenant %s, calls [%s, %s)", c.tenant, from, to)
	if r.Link != "" {
		s += " from a saved link"
	}
	return s
}

// first returns the URL that a run starts at.
func (c *Client) first(op string, r Request) (*url.URL, error) {
	u, err := rangeURL(c.root, c.version, r.From, r.To)
	if err == nil && r.Link != "" {
		u, err = resolveLink(c.root, u, r.Link)
	}
	if err != nil {
		return nil, &Error{Class: Permanent, Op: op, Err: err}
	}
	return u, nil
}

// page reads one page, with one new token if the first is refused. next is nil on the last page.
func (c *Client) page(ctx context.Context, op string, u *url.URL, urgent bool, b *bodies) (_ *Page, next *url.URL, _ error) {
	for again := false; ; again = true {
		token, err := c.permit(ctx, urgent)
		if err != nil {
			return nil, nil, err
		}
		page, next, err := c.ask(ctx, op, u, token, b)
		var e *Error
		if !errors.As(err, &e) || e.Class != NewToken {
			return page, next, err
		}
		if again {
			e.Class = Human
			return nil, nil, e
		}
		// Of several requests that were refused with one token, only the first has it replaced.
		if now, err := c.tokens.Token(ctx); err != nil || now == token {
			c.tokens.Refresh()
		}
	}
}

// permit waits until a request may be made now, and returns the token for it.
func (c *Client) permit(ctx context.Context, urgent bool) (string, error) {
	// A token is made sure of before the budget counts the request, so that one which waits for the authority is not sent
	// long after the instant it was counted at; and it is asked for again after, since waiting for the budget may outlive it.
	if _, err := c.tokens.Token(ctx); err != nil {
		return "", err
	}
	take := c.budget.Take
	if urgent {
		take = c.budget.TakeUrgent
	}
	if err := take(ctx); err != nil {
		return "", fmt.Errorf("tenant %s: waiting for the request budget: %w", c.tenant, err)
	}
	return c.tokens.Token(ctx)
}

// ask makes one request, holds the budget if the answer says so, and reports the outcome.
func (c *Client) ask(ctx context.Context, op string, u *url.URL, token string, b *bodies) (*Page, *url.URL, error) {
	x := exchange{url: u, token: token, secret: token, id: uuid.NewString(), asked: c.clock.Now()}
	if token == c.tenant {
		x.secret = "" // GRAPH_AUTH=none: messages may name the tenant
	}
	page, next, err := c.exchange(ctx, &x, b)
	if ctx.Err() != nil && err != nil {
		return nil, nil, fmt.Errorf("%s: %w", op, context.Cause(ctx))
	}
	received := c.clock.Now()
	class := OK
	if err != nil {
		e := x.failure(err, received)
		e.Op = op
		if e.RetryAfter > 0 {
			c.budget.Hold(received.Add(e.RetryAfter))
		}
		class, err = e.Class, e
	} else {
		page.Asked, page.Received = x.asked, received
	}
	c.observe(Outcome{Status: x.status, Class: class, Duration: received.Sub(x.asked)})
	c.log.LogAttrs(ctx, slog.LevelDebug, "graph request",
		slog.String("what", op), slog.Int("status", x.status), slog.String("class", class.String()), slog.Int("bytes", x.bytes),
		slog.Duration("duration", received.Sub(x.asked)), slog.String("request_id", x.requestID),
		slog.String("client_request_id", x.id))
	return page, next, err
}

// progress refuses a run of pages that would never end.
type progress struct {
	op          string
	seen        map[linkSum]int // page that each link led to
	resumed     bool
	pages       int
	rows        int
	empty       int // consecutive
	countLogged bool
}

func (p *progress) follow(link string) {
	if p.seen == nil {
		p.seen = make(map[linkSum]int)
	}
	p.seen[sumLink(link)] = p.pages + 1
}

// add counts page, and returns an error if it shows that the run goes round in circles, or that rows were withheld.
func (p *progress) add(page *Page) error {
	p.pages++
	p.empty++
	p.rows += len(page.Rows)
	if len(page.Rows) > 0 {
		p.empty = 0
	}
	var why error
	if page.Link == "" {
		// The count is no more than a hint, but a range of which it says that it has rows is not read as one that has none.
		if p.resumed || p.rows > 0 || page.Count <= 0 {
			return nil
		}
		why = fmt.Errorf("Graph answered 200 with an @odata.count of %d, and without a row", page.Count)
	} else if at, ok := p.seen[sumLink(page.Link)]; ok {
		why = fmt.Errorf("the links of Graph's pages form a loop of %d pages", p.pages-at+1)
	} else if p.empty > maxEmptyPages {
		why = fmt.Errorf("%d empty pages in a row, and a link to yet another", p.empty)
	} else if p.pages >= maxPages {
		why = fmt.Errorf("%d pages, and a link to yet another", p.pages)
	}
	if why != nil {
		return &Error{
			Class: Retry, Status: http.StatusOK, Op: p.op, Err: why,
			RequestID: page.RequestID, ClientRequestID: page.ClientRequestID,
		}
	}
	p.follow(page.Link)
	return nil
}

// checkRoot refuses a root that requests could not be pinned to.
func checkRoot(u *url.URL) error {
	switch {
	case u == nil:
		return errors.New("none given")
	case u.Scheme != "https" && u.Scheme != "http":
		return fmt.Errorf("scheme %q: want https or http", u.Scheme)
	case u.Hostname() == "":
		return errors.New("no host")
	case u.User != nil:
		return errors.New("user or password in the URL")
	case u.RawQuery != "" || u.Fragment != "" || strings.ContainsAny(u.Path, "?#"):
		return errors.New("query or fragment in the URL")
	}
	return nil
}
