package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"pstncalls/internal/clock"
	"pstncalls/internal/graph"
	"pstncalls/internal/kafka"
	"pstncalls/internal/window"
)

const (
	checkReach   = 8 * time.Second  // for the way to a host
	checkAnswer  = 10 * time.Second // for a token, and for a page
	checkTenants = 8                // at once
)

// graph looks at the way to Graph and the authority, then at each tenant.
func (c *checker) graph(ctx context.Context) {
	if c.cfg == nil {
		for _, check := range []string{"dns", "connection", "tls", "token", "roles", "graph", "clock"} {
			c.f.blind(check, "", mistaken)
		}
		return
	}
	authority := c.src.cloud.Authority
	if c.cfg.Graph.Auth == "none" || c.managed() {
		authority = nil
	}
	var toGraph, toAuthority string // why there is no way
	var wg sync.WaitGroup
	wg.Go(func() { toGraph = c.reach(ctx, c.src.cloud.Graph) })
	if authority != nil && authority.Host != c.src.cloud.Graph.Host {
		wg.Go(func() { toAuthority = c.reach(ctx, authority) })
	}
	wg.Wait()
	if authority != nil && authority.Host == c.src.cloud.Graph.Host {
		toAuthority = toGraph
	}
	c.tenants(ctx, toGraph, toAuthority)
	c.clock()
}

// managed reports whether the tokens come from the machine and not from an authority.
func (c *checker) managed() bool {
	az := c.cfg.Azure
	return az.ClientSecret.Reveal() == "" && az.ClientCertificatePath == "" && az.FederatedTokenFile == ""
}

// reach looks at the way to a host. It returns why it is barred.
func (c *checker) reach(ctx context.Context, root *url.URL) string {
	ctx, cancel := context.WithTimeoutCause(ctx, checkReach, fmt.Errorf("no answer within %v", checkReach))
	defer cancel()
	r := graph.Reach(ctx, c.setup.transport, root)
	host := root.Host
	bad := func(p graph.Phase, do string) { c.f.add(kafka.Failed, string(p), host, r.Err.Error(), do) }
	switch {
	case r.Failed == graph.ViaProxy:
		bad(graph.ViaProxy, "check HTTPS_PROXY and NO_PROXY, and that the proxy lets this machine through to "+host)
	case r.Proxy != "":
		c.f.add(kafka.Fine, "proxy", host, "by way of "+r.Proxy, "")
	default:
		c.f.add(kafka.Fine, "proxy", host, "none: neither HTTPS_PROXY nor HTTP_PROXY is for it", "")
	}
	switch {
	case r.Failed == graph.ViaDNS:
		bad(graph.ViaDNS, "check GRAPH_ENDPOINT, AZURE_AUTHORITY_HOST, GRAPH_CLOUD and the machine's name servers")
	case r.Proxy != "":
		c.f.add(kafka.NotCheckable, "dns", host, "the proxy resolves it", "")
	case len(r.Addresses) > 0:
		c.f.add(kafka.Fine, "dns", host, strings.Join(r.Addresses, ", "), "")
	default:
		c.f.add(kafka.Fine, "dns", host, "an address already", "")
	}
	before := fmt.Sprintf("the way to %s is barred (%s)", host, r.Failed)
	switch r.Failed {
	case graph.ViaProxy, graph.ViaDNS:
		c.f.blind("connection", host, before)
	case graph.ViaConnection:
		bad(graph.ViaConnection, "check that the firewall lets this machine through, or set HTTPS_PROXY")
	default:
		c.f.add(kafka.Fine, "connection", host, "open", "")
	}
	left := time.Until(r.Expires)
	switch {
	case r.Failed == graph.ViaTLS:
		bad(graph.ViaTLS, "if a proxy opens TLS, name a file with its authority's certificate in SSL_CERT_FILE; check this machine's clock")
	case r.Failed != "":
		c.f.blind("tls", host, before)
	case r.TLS == "":
		c.f.add(kafka.Fine, "tls", host, "plain http, as configured", "")
	case left < 7*24*time.Hour:
		c.f.add(kafka.Warning, "tls", host, fmt.Sprintf("%s, but the certificate ends in %s", r.TLS, left.Round(time.Hour)), "ask whoever runs the host, or the proxy that opens TLS")
	default:
		c.f.add(kafka.Fine, "tls", host, fmt.Sprintf("%s, certificate by %s until %s", r.TLS, r.Issuer, r.Expires.UTC().Format(time.DateOnly)), "")
	}
	if r.Failed == "" {
		return ""
	}
	return before
}

// tenants looks at the tenants, a few at once. When as many in a row as are looked at together get no answer at all, the
// rest is left alone: that would take minutes to find out nothing.
func (c *checker) tenants(ctx context.Context, toGraph, toAuthority string) {
	tenants := slices.Sorted(slices.Values(c.cfg.Graph.Tenants))
	parts := make([]findings, len(tenants))
	var mu sync.Mutex
	silent, done, said := 0, 0, time.Now()
	look := func(i int) {
		mu.Lock()
		give := silent >= checkTenants
		mu.Unlock()
		why := ""
		if give {
			why = fmt.Sprintf("not asked: %d tenants in a row got no answer", checkTenants)
		}
		answered := c.tenant(ctx, &parts[i], tenants[i], why, toGraph, toAuthority)
		mu.Lock()
		defer mu.Unlock()
		done++
		if silent++; answered {
			silent = 0
		}
		if now := time.Now(); now.Sub(said) > 2*time.Second {
			said = now
			fmt.Fprintf(c.e.stderr, "looked at %d of %d tenants\n", done, len(tenants))
		}
	}
	next := make(chan int)
	var wg sync.WaitGroup
	for range min(checkTenants, len(tenants)) {
		wg.Go(func() {
			for i := range next {
				look(i)
			}
		})
	}
	for i := range tenants {
		next <- i
	}
	close(next)
	wg.Wait()
	for i := range parts { // by name, whoever was first
		for _, l := range parts[i].lines {
			c.f.add(l.Result, l.Check, l.Subject, l.Sentence, l.Do)
		}
	}
}

// tenant looks at one tenant: its token, what that may do, one request. It reports whether somebody answered.
func (c *checker) tenant(ctx context.Context, f *findings, id, why, toGraph, toAuthority string) (answered bool) {
	if why != "" {
		f.blind("token", id, why)
		f.blind("roles", id, why)
		f.blind("graph", id, why)
		return false
	}
	src, err := c.src.source(id)
	client, ok := src.Pager.(*graph.Client)
	if err != nil || !ok { // variables has made it once
		f.blind("token", id, fmt.Sprintf("no client: %v", err))
		return true
	}
	var rights graph.Rights
	switch {
	case c.cfg.Graph.Auth == "none":
		f.add(kafka.NotCheckable, "token", id, "GRAPH_AUTH=none sends the tenant's id in place of a token", "")
		f.add(kafka.NotCheckable, "roles", id, "there is no token", "")
	case toAuthority != "":
		f.blind("token", id, toAuthority)
		f.blind("roles", id, "there is no token")
		f.blind("graph", id, "there is no token")
		return true
	default:
		asked, cancel := context.WithTimeoutCause(ctx, c.setup.answer, fmt.Errorf("no answer from the token authority within %v", c.setup.answer))
		rights, err = client.Rights(asked)
		cancel()
		if err != nil {
			sentence, do, heard := explained(err)
			f.add(kafka.Failed, "token", id, sentence, do)
			f.blind("roles", id, "there is no token")
			f.blind("graph", id, "there is no token")
			return heard
		}
		f.add(kafka.Fine, "token", id, "the authority gave one", "")
	}
	if toGraph != "" {
		c.roles(f, id, rights, false)
		f.blind("graph", id, toGraph)
		return true
	}
	// Yesterday, whole: not empty under any reading of the ends.
	day := window.Of(time.Now()) - 1
	asked, cancel := context.WithTimeoutCause(ctx, c.setup.answer, fmt.Errorf("no answer from Graph within %v", c.setup.answer))
	defer cancel()
	rows, more := 0, ""
	for page, e := range client.Pages(asked, graph.Request{From: day.Start(), To: day.End()}) {
		if err = e; err == nil {
			rows = len(page.Rows)
			c.note(id, day, page.Rows)
			if page.Link != "" {
				more = ", and there are more"
			}
		}
		break // one request; of its rows no more than number and fingerprints is kept
	}
	c.roles(f, id, rights, err == nil)
	if err != nil {
		sentence, do, heard := explained(err)
		f.add(kafka.Failed, "graph", id, sentence, do)
		return heard
	}
	f.add(kafka.Fine, "graph", id, fmt.Sprintf("%d rows on the first page of %s%s", rows, day, more), "")
	return true
}

// explained takes the error of a request apart. heard is false where nobody answered.
func explained(err error) (sentence, do string, heard bool) {
	var e *graph.Error
	if !errors.As(err, &e) {
		return err.Error(), "check the network and the proxy", false
	}
	sentence, do, _ = strings.Cut(strings.TrimPrefix(e.Error(), e.Op+": "), "; ")
	return sentence, do, e.Status != 0
}

// roles judges what a token says of itself; what Graph answered counts for more.
func (c *checker) roles(f *findings, id string, r graph.Rights, answered bool) {
	const check = "roles"
	do := "grant the application permission " + graph.Role + " (not a delegated one) with admin consent in this tenant"
	bad, nevertheless := kafka.Failed, ""
	if answered {
		bad, nevertheless = kafka.Warning, "; Graph answers nevertheless"
	}
	guid := len(id) == 36 && uuid.Validate(id) == nil // else it is the tenant's domain
	switch {
	case c.cfg.Graph.Auth == "none":
	case !r.Readable:
		f.add(kafka.NotCheckable, check, id, "the token is not in a form that can be read", "")
	case guid && r.Tenant != "" && !strings.EqualFold(r.Tenant, id):
		f.add(kafka.Failed, check, id, "the token is for another tenant, "+r.Tenant+": its calls would be published under this name", "set GRAPH_TENANTS to the credential's own tenant, or use a credential of an application that both tenants know")
	case !r.Application:
		f.add(bad, check, id, "the token is a user's, not an application's"+nevertheless, do)
	case slices.Contains(r.Roles, graph.Role):
		f.add(kafka.Fine, check, id, "an application's, with "+graph.Role, "")
	case slices.Contains(r.Roles, graph.NarrowerRole):
		f.add(kafka.Warning, check, id, "an application's, with "+graph.NarrowerRole+" alone: Microsoft documents "+graph.Role, "see the line graph; if it failed, "+do)
	default:
		f.add(bad, check, id, "the token lacks "+graph.Role+nevertheless, do)
	}
}

// dates notes the clocks of those who answer, refusals too: Graph's, or as long as that is silent the authority's.
type dates struct {
	next  http.RoundTripper
	graph string // its host

	mu       sync.Mutex
	from     string
	distance time.Duration
	seen     bool
}

func (d *dates) RoundTrip(req *http.Request) (*http.Response, error) {
	asked := time.Now()
	resp, err := d.next.RoundTrip(req)
	if err != nil {
		return resp, err
	}
	if date, wrong := http.ParseTime(resp.Header.Get("Date")); wrong == nil {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.from == d.graph && req.URL.Host != d.graph {
			return resp, nil
		}
		d.seen, d.from, d.distance = true, req.URL.Host, clock.Distance(asked, time.Now(), date)
	}
	return resp, nil
}

func (c *checker) clock() {
	d := c.dates
	d.mu.Lock()
	defer d.mu.Unlock()
	where := "behind"
	if d.distance < 0 {
		where = "ahead of"
	}
	said := fmt.Sprintf("this machine's clock is %s %s that of %s", d.distance.Abs().Round(time.Second), where, d.from)
	switch {
	case !d.seen:
		c.f.blind("clock", "", "nobody answered whose clock could be looked at")
	case d.distance.Abs() > clock.MaxDistance:
		c.f.add(kafka.Failed, "clock", "", said+": days are cut by it, and nothing would settle", "set the machine's clock (NTP)")
	case d.distance.Abs() > 2*time.Second:
		c.f.add(kafka.Warning, "clock", "", said, fmt.Sprintf("set the machine's clock (NTP): beyond %s nothing settles", clock.MaxDistance))
	default:
		c.f.add(kafka.Fine, "clock", "", "that of "+d.from+", to the second", "")
	}
}
