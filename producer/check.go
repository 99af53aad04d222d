package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"pstncalls/internal/clock"
	"pstncalls/internal/config"
	"pstncalls/internal/graph"
	"pstncalls/internal/kafka"
	"pstncalls/internal/status"
)

func checkCommand() command {
	return command{
		name:     "check",
		synopsis: "checks what run will need: variables, network, token, permission, topics, rights, registry, state",
		help: `Takes the variables of run. It writes nothing, creates no topic and disturbs no running producer. Of Graph it asks one day of each
tenant's log, and counts the rows; it takes at most 2 of the 50 requests a minute that Graph allows. It ends within about 30 s if nothing
answers; with many tenants, later if they do.

One line for each thing: ok, warning, failed, or not checkable, then what it is about, what was found and what to do. The first words
are a contract:
  variables   a mistake in the environment, or what is legal and probably not wanted
  proxy dns connection tls   the way to Graph and to the token authority
  token roles graph   of each tenant: a token; whether it is an application's with CallRecords.Read.All; one request for one day
  clock       this machine's, against Graph's
  brokers versions topics acls   Kafka
  registry    whether the schema fits what the subject holds
  state       whose it is, whether it goes with the topics, and whether this version can read it
  setup       what run makes of a set-up that is another than the one that the state comes from: API version, endpoint, privacy rules,
              partitions, registry, tenants, POLL_START, POLL_LOOKBACK

Example:
  AZURE_TENANT_ID=… AZURE_CLIENT_ID=… AZURE_CLIENT_SECRET_FILE=/run/secrets/graph KAFKA_BROKERS=kafka:9092 producer check
  producer check --json | jq '.lines[] | select(.result == "failed")'

Exit codes: 0 nothing failed, 1 something failed (mistakes in the environment too), 2 bad usage.`,
		run: func(ctx context.Context, e env, args []string) error {
			return runCheck(ctx, e, args, checkSetup{transport: graph.NewTransport(), registry: http.DefaultTransport, answer: checkAnswer})
		},
	}
}

// checkSetup is what tests do differently.
type checkSetup struct {
	transport *http.Transport // to Graph and the authority
	registry  http.RoundTripper
	answer    time.Duration                                                        // that is waited for one of Graph's, or of the authority's
	dialer    func(ctx context.Context, network, address string) (net.Conn, error) // to the brokers; nil: net.Dialer
}

// finding is one line.
type finding struct {
	Check    string       `json:"check"`
	Subject  string       `json:"subject,omitempty"`
	Result   kafka.Result `json:"result"`
	Sentence string       `json:"sentence"`
	Do       string       `json:"do,omitempty"`
}

// findings is what was found so far, by one part of the check or several at once.
type findings struct {
	mu    sync.Mutex
	lines []finding
}

func (f *findings) add(r kafka.Result, check, subject, sentence, do string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lines = append(f.lines, finding{check, subject, r, sentence, do})
}

// blind says that a thing could not be looked at.
func (f *findings) blind(check, subject, why string) {
	f.add(kafka.NotCheckable, check, subject, why, "mend that first")
}

// sort puts the lines in the order of the help, whichever part was faster; those of one check as they came, or by tenant.
func (f *findings) sort() {
	order := strings.Fields("variables proxy dns connection tls token roles graph clock brokers versions topics acls registry state setup")
	slices.SortStableFunc(f.lines, func(a, b finding) int {
		return slices.Index(order, a.Check) - slices.Index(order, b.Check)
	})
}

// tally is the verdict: how many lines came out how.
type tally struct {
	OK           int `json:"ok"`
	Warning      int `json:"warning"`
	Failed       int `json:"failed"`
	NotCheckable int `json:"notCheckable"`
}

func (f *findings) tally() (t tally) {
	for _, l := range f.lines {
		switch l.Result {
		case kafka.Fine:
			t.OK++
		case kafka.Warning:
			t.Warning++
		case kafka.Failed:
			t.Failed++
		default:
			t.NotCheckable++
		}
	}
	return t
}

// checkWithin is when the check gives up on Kafka, whatever is left of it. Every part has deadlines of its own below it.
const checkWithin = 28 * time.Second

func runCheck(ctx context.Context, e env, args []string, s checkSetup) error {
	fs := flag.NewFlagSet("check", flag.ContinueOnError)
	asJSON := fs.Bool("json", false, "as one JSON object")
	if err := parseFlags(e, checkCommand(), fs, args); err != nil {
		return err
	}
	var f findings
	c := &checker{setup: s, e: e, f: &f}
	if err := c.variables(); err != nil {
		return err
	}
	c.all(ctx)
	if ctx.Err() != nil {
		return errors.New("interrupted")
	}
	f.sort()
	t := f.tally()
	var err error
	if *asJSON {
		err = printJSON(e.stdout, struct {
			Lines   []finding `json:"lines"`
			Verdict tally     `json:"verdict"`
		}{f.lines, t})
	} else {
		err = printFindings(e.stdout, f.lines, t)
	}
	if err != nil {
		return fmt.Errorf("print: %w", err)
	}
	if t.Failed > 0 {
		return errSaid
	}
	return nil
}

// checker is one run of the command.
type checker struct {
	setup checkSetup
	e     env
	f     *findings
	cfg   *config.Config // nil: the variables of Graph have mistakes
	kafka *config.Config // nil: those of Kafka have, too
	src   *sources
	dates *dates
	left  *left // nil: there is no state to compare with

	mu    sync.Mutex
	shown map[string]graphDay // by tenant
}

const mistaken = "the variables have mistakes"

// variables reads the environment. With mistakes in Graph's part, Kafka's is looked at all the same.
func (c *checker) variables() error {
	cfg, err := config.Load(c.e.environ)
	var wrong *config.Errors
	switch {
	case errors.As(err, &wrong):
		for _, m := range wrong.Mistakes {
			c.f.add(kafka.Failed, "variables", m.Variable, m.Wrong, m.Right)
		}
		if c.kafka, err = config.LoadKafka(c.e.environ); err != nil {
			c.kafka = nil
		}
		return nil
	case err != nil:
		return err
	}
	for _, w := range cfg.Warnings() {
		c.f.add(kafka.Warning, "variables", "", w, "mend it, or accept it")
	}
	// A budget of this command's own, beside that of the running producer: the second is for a token that was refused.
	cfg.Graph.RequestsPerMinute = 2
	c.cfg, c.kafka = cfg, cfg
	c.dates = &dates{next: c.setup.transport}
	if c.src, err = newSources(cfg, clock.System, status.NewMetrics(prometheus.NewRegistry()), newLog(cfg.Log, c.e.stderr)); err == nil {
		c.src.transport, c.dates.graph = c.dates, c.src.cloud.Graph.Host
		err = c.src.check(cfg.Graph.Tenants)
	}
	if err != nil { // a certificate that is none, and the like
		c.f.add(kafka.Failed, "variables", "", err.Error(), "check AZURE_…")
		c.cfg = nil
		return nil
	}
	if len(c.f.lines) == 0 {
		c.f.add(kafka.Fine, "variables", "", "no mistake", "")
	}
	return nil
}

// all looks at Graph, Kafka and the registry at once.
func (c *checker) all(ctx context.Context) {
	bounded, cancel := context.WithTimeout(ctx, checkWithin)
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() { c.graph(ctx) }) // as long as tenants answer
	wg.Go(func() { c.brokers(bounded) })
	wg.Go(func() { c.registry(bounded) })
	wg.Wait()
	if c.left != nil {
		c.compare(time.Now())
	}
}

// registry is what schema --check does.
func (c *checker) registry(ctx context.Context) {
	const check = "registry"
	if c.kafka == nil {
		c.f.blind(check, "", mistaken)
		return
	}
	cfg := c.kafka.Registry
	if cfg.URL == nil {
		c.f.add(kafka.Fine, check, "", "SCHEMA_REGISTRY_URL is not set: the events are in Avro's single-object encoding", "")
		return
	}
	subject := subjectOf(c.kafka.Kafka.EventsTopic)
	r, err := newRegistryOver(c.setup.registry, cfg)
	if err != nil {
		c.f.add(kafka.Failed, check, subject, err.Error(), "check SCHEMA_REGISTRY_URL")
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	found, h, err := r.check(ctx, subject)
	var refused *refusedSchema
	switch {
	case errors.As(err, &refused):
		c.f.add(kafka.Failed, check, subject, refused.what+": "+refused.reason, refused.mend)
	case err != nil:
		c.f.add(kafka.Failed, check, subject, "the registry does not answer: "+err.Error(), "check SCHEMA_REGISTRY_URL and the network: run waits for it")
	case !found.Compatible:
		c.f.add(kafka.Failed, check, subject, fmt.Sprintf("the schema is not compatible with version %d: %s", found.Version, found.Reason), r.mendIncompatible(subject))
	case h.level == none:
		c.f.add(kafka.Warning, check, subject, fmt.Sprintf("the schema fits version %d, but the compatibility level is NONE: the registry may accept incompatible ones", found.Version),
			r.curl(configPath(subject))+` -X PUT -H 'Content-Type: application/json' -d '{"compatibility": "FULL"}'`)
	case found.Version == 0:
		c.f.add(kafka.Fine, check, subject, "the subject holds no schema yet: run registers it, at level FULL", "")
	default:
		c.f.add(kafka.Fine, check, subject, fmt.Sprintf("the schema fits version %d at level %s", found.Version, found.Level), "")
	}
}

// printFindings prints the lines as a table, what to do below each that needs it, and the verdict.
func printFindings(out io.Writer, lines []finding, t tally) error {
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	for _, l := range lines {
		what := l.Sentence
		if l.Subject != "" {
			what = l.Subject + ": " + what
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", l.Result, l.Check, what)
		if l.Do != "" && l.Result != kafka.Fine {
			fmt.Fprintf(w, "\t\t→ %s\n", l.Do)
		}
	}
	fmt.Fprintf(w, "verdict: ok=%d warning=%d failed=%d not-checkable=%d\n", t.OK, t.Warning, t.Failed, t.NotCheckable)
	return w.Flush()
}

// quiet is for parts whose log would say what a line says.
func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }
