package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"pstncalls/internal/clock"
	"pstncalls/internal/config"
	"pstncalls/internal/kafka"
	"pstncalls/internal/status"
	"pstncalls/internal/verify"
	"pstncalls/internal/window"
)

func verifyCommand() command {
	return command{
		name:     "verify",
		synopsis: "proves from the topics that every published row is there, once, as it was published",
		help: `Reads the state topic, then the events topic up to where it ends then, and recounts rows, events and digest of every day. Nothing is
asked of Graph, nothing is written, and a producer may be at work meanwhile. A day is the one that owns the row: that of the call's
start in its first event.

proved    rows, events and digest are those of the state
differs   they are not; the rows that are missing, extra, doubled or stale are named as far as the day's ledger is there
unproven  they are not, and retention has removed events of that time

With --graph the days are read from Graph again, and compared row by row: missing, extra, stale and altered rows are named. Rows of
days that have not settled, which the next scan publishes, are told apart.

Records that are no events of this program are counted and told. The last line is the verdict; exit code 1 if a day differs, and if the
range has no day that was polled. One that is interrupted shows what it has found by then, ends with a "partial verdict", and exits with 1.

Example:
  KAFKA_BROKERS=kafka:9092 producer verify
  KAFKA_BROKERS=kafka:9092 producer verify --tenant contoso --from 2026-11-01 --to 2026-12-01 --json | jq '.tenants[].days[] | select(.proof != "proved")'
  GRAPH_TENANTS=contoso … producer verify --graph --from 2026-11-01 --to 2026-11-08`,
		run: runVerify,
	}
}

func runVerify(ctx context.Context, e env, args []string) error {
	fs := flag.NewFlagSet("verify", flag.ContinueOnError)
	var o verify.Options
	fs.StringVar(&o.Tenant, "tenant", "", "only this `tenant`")
	from := fs.String("from", "", "only the days from this one on: `2026-11-01`")
	to := fs.String("to", "", "only the days before this one: `2026-12-01`")
	all := fs.Bool("all", false, "show the days that are proved, too")
	asJSON := fs.Bool("json", false, "as one JSON object, every day in it")
	withGraph := fs.Bool("graph", false, "compare with what Graph shows, too; needs --from and the variables of run")
	rate := fs.Int("rate", 2, "`requests` a minute of Graph, on top of those of run: Graph allows 50 in all")
	if err := parseFlags(e, verifyCommand(), fs, args); err != nil {
		return err
	}
	var err error
	if o.Days, err = daysBetween("verify", *from, *to, time.Now()); err != nil {
		return err
	}
	load := config.LoadKafka
	if *withGraph {
		if load = config.Load; *from == "" {
			return &usageError{command: "verify", message: "--graph: want --from: reading every day again would take Graph's whole limit for long"}
		}
	}
	if *rate < 1 {
		return &usageError{command: "verify", message: "--rate: want 1 or more"}
	}
	cfg, err := load(e.environ)
	if err != nil {
		return err
	}
	cluster, err := newCluster(cfg, newLog(cfg.Log, e.stderr))
	if err != nil {
		return err
	}
	r, failed := prove(ctx, e, cluster, cfg, o, *withGraph, *rate)
	switch {
	case failed != nil && ctx.Err() != nil:
		failed = nil // the report says that it was interrupted
	case failed != nil && r == nil:
		return failed
	}
	if r == nil {
		r = &verify.Report{Tenants: []verify.Tenant{}, Partial: "interrupted before any event was read", Verdict: verify.Verdict{Partial: true}}
	}
	if failed == nil && r.Partial == "" && o.Days != nil && r.Verdict.Days == 0 { // a wrong year must not look like a proof
		failed = fmt.Errorf("nothing is proved: no day of %s has been polled; `producer status` shows which have", o.Days)
	}
	if *asJSON {
		enc := json.NewEncoder(e.stdout)
		enc.SetEscapeHTML(false)
		err = enc.Encode(r)
	} else {
		err = printReport(e.stdout, r, *all)
	}
	if err != nil {
		return fmt.Errorf("print: %w", err)
	}
	if failed == nil && !r.Verdict.OK() {
		return errSaid
	}
	return failed
}

// prove returns with an error what was found by then; nil is nothing.
func prove(ctx context.Context, e env, cluster *kafka.Cluster, cfg *config.Config, o verify.Options, withGraph bool, rate int) (*verify.Report, error) {
	var g verify.GraphOptions
	if withGraph { // what is wrong with its variables is found now, and not when all events have been read
		var err error
		if g, err = graphOptions(e, cfg, rate); err != nil {
			return nil, err
		}
	}
	view, err := readState(ctx, cluster)
	if err != nil {
		return nil, err
	}
	o.Progress = progressOn(e.stderr, time.Now())
	r, err := verify.Topics(ctx, cluster, view, o)
	var unknown *verify.UnknownTenantError
	var state *verify.StateError
	switch {
	case errors.As(err, &unknown):
		return nil, &usageError{command: "verify", message: "--tenant: " + unknown.Error()}
	case errors.As(err, &state):
		return nil, fmt.Errorf("state topic %s: %w", cluster.Topics().State, err)
	case err != nil && ctx.Err() == nil:
		return nil, topicError(err, "events topic", cluster.Topics().Events, "KAFKA_EVENTS_TOPIC")
	case err == nil && withGraph:
		err = verify.Graph(ctx, cluster, view, g, r)
	}
	return r, err
}

// graphOptions says how Graph is read.
func graphOptions(e env, cfg *config.Config, rate int) (verify.GraphOptions, error) {
	cfg.Graph.RequestsPerMinute = rate // a budget of this command's own, beside that of the running producer
	log := newLog(cfg.Log, e.stderr)
	src, err := newSources(cfg, clock.System, status.NewMetrics(prometheus.NewRegistry()), log)
	if err != nil {
		return verify.GraphOptions{}, err
	}
	privacy, err := privacyOf(cfg)
	if err != nil {
		return verify.GraphOptions{}, err
	}
	return verify.GraphOptions{
		Pager: func(tenant string) (verify.Pager, error) {
			s, err := src.source(tenant)
			return s.Pager, err
		},
		Privacy: privacy,
		Source:  src.endpoint(),
		Clock:   clock.System,
		Progress: func(tenant string, days window.Range, pages, rows int) {
			fmt.Fprintf(e.stderr, "tenant %s: Graph has shown %d rows of %s in %d pages\n", tenant, rows, days, pages)
		},
		Said: func(tenant string, err error, wait time.Duration) {
			log.Warn("Graph is asked again", "tenant", tenant, "wait", wait.Round(time.Second).String(), "error", err)
		},
	}, nil
}

// daysBetween reads --from and --to: half-open, UTC midnights; nil where neither is given.
func daysBetween(command, from, to string, now time.Time) (*window.Range, error) {
	wrong := func(flag, why string) error {
		return &usageError{command: command, message: fmt.Sprintf("--%s: %s: want a UTC day such as 2026-11-01", flag, why)}
	}
	if from == "" && to == "" {
		return nil, nil
	}
	r := window.Range{From: 0, To: window.Of(now) + 1}
	for _, f := range []struct {
		name, value string
		day         *window.Day
	}{{"from", from, &r.From}, {"to", to, &r.To}} {
		if f.value == "" {
			continue
		}
		at, err := parseInstant(f.value)
		if err != nil {
			return nil, wrong(f.name, fmt.Sprintf("%q is neither a day nor an RFC 3339 time", f.value))
		}
		if *f.day = window.Of(at); !f.day.Start().Equal(at) {
			return nil, wrong(f.name, fmt.Sprintf("%q is not midnight, and this goes by days", f.value))
		}
	}
	switch {
	case r.From > window.Of(now):
		return nil, wrong("from", r.From.String()+" lies in the future")
	case r.From >= r.To:
		return nil, wrong("to", fmt.Sprintf("%s is not after --from %s, and the range ends before it", r.To, r.From))
	}
	return &r, nil
}

// progressOn says every few seconds how far a reading is.
func progressOn(w io.Writer, began time.Time) func(read, of int64) {
	const every = 5 * time.Second
	said := began
	return func(read, of int64) {
		now := time.Now()
		if now.Sub(said) < every || read == 0 {
			return
		}
		said = now
		rate := float64(read) / now.Sub(began).Seconds()
		left := time.Duration(float64(of-read) / rate * float64(time.Second)).Round(time.Second)
		fmt.Fprintf(w, "read %d of %d offsets, %.0f a second, about %s left\n", read, of, rate, left)
	}
}

const shownRows = 20 // of each day; --json has all

func printReport(w io.Writer, r *verify.Report, all bool) error {
	var b strings.Builder
	for _, t := range r.Tenants {
		proved := 0
		for _, d := range t.Days {
			if d.Proof == verify.Proved {
				proved++
			}
		}
		fmt.Fprintf(&b, "tenant %s: %d of %d days proved, up to commit %d of shard %d\n", t.Tenant, proved, len(t.Days), t.Commit, t.Shard)
		for _, d := range t.Days {
			if d.Proof == verify.Proved {
				if all {
					fmt.Fprintf(&b, "  %s  proved    %d rows, %d events%s\n", d.Day, d.Topic.Rows, d.Topic.Events, shownBy(d.Graph))
				} else if d.Graph != nil && len(d.Graph.Recent) > 0 {
					fmt.Fprintf(&b, "  %s  proved   %s\n", d.Day, shownBy(d.Graph))
				}
				continue
			}
			fmt.Fprintf(&b, "  %s  %-8s  %s\n", d.Day, d.Proof, d.Why)
			for i, n := range d.Rows {
				if i == shownRows {
					fmt.Fprintf(&b, "    and %d more: --json has them\n", len(d.Rows)-i)
					break
				}
				fmt.Fprintf(&b, "    %-7s  row %s, revision %d%s\n", n.What, n.RowID, n.Revision, whereabouts(n.Places))
			}
		}
	}
	if r.Foreign > 0 {
		fmt.Fprintf(&b, "%d records on the topic are no events of this program; the first:\n", r.Foreign)
		for _, f := range r.First {
			fmt.Fprintf(&b, "  partition %d, offset %d: %s\n", f.Partition, f.Offset, f.Why)
		}
	}
	if r.Past > 0 {
		fmt.Fprintf(&b, "%d events are of tenants that have been forgotten since; they go when retention removes them\n", r.Past)
	}
	if r.Partial != "" {
		fmt.Fprintf(&b, "partial: %s\n", r.Partial)
	}
	fmt.Fprintln(&b, r.Verdict)
	_, err := io.WriteString(w, b.String())
	return err
}

// shownBy says what Graph shows of a day that the next scan has yet to publish.
func shownBy(s *verify.Shown) string {
	if s == nil {
		return ""
	}
	out := fmt.Sprintf("; Graph shows %d rows", s.Rows)
	if n := len(s.Recent); n > 0 {
		out += fmt.Sprintf(", %d new or changed ones that wait for the next scan", n)
	}
	return out
}

func whereabouts(ps []verify.Place) string {
	if len(ps) == 0 {
		return ""
	}
	var out []string
	for _, p := range ps {
		out = append(out, fmt.Sprintf("%d/%d", p.Partition, p.Offset))
	}
	return ", at partition/offset " + strings.Join(out, " and ")
}
