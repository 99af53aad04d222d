package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"pstncalls/internal/graphfake"
	"pstncalls/internal/status"
	"pstncalls/internal/window"
	"pstncalls/schema"
)

func simulateCommand() command {
	return command{
		name:     "simulate",
		synopsis: "serves a simulator of Microsoft Graph, and compares what was published with its truth",
		help: `Serves getPstnCalls for seeded tenants until it is interrupted: a month of calls that ends tomorrow, so that today's keep
appearing. With --compare it serves nothing: it reads the lines of tail on stdin, judges them by the truth of a running simulator, and
ends with a verdict; exit code 1 unless nothing is lost, doubled or wrong.

Example:
  producer simulate --tenant contoso --rows-per-day 2000
  GRAPH_AUTH=none GRAPH_ENDPOINT=http://127.0.0.1:8900 GRAPH_TENANTS=contoso KAFKA_BROKERS=kafka:9092 producer run

  KAFKA_BROKERS=kafka:9092 producer tail --dlq --from-beginning --until-end > rejects.jsonl
  KAFKA_BROKERS=kafka:9092 producer tail --from-beginning --until-end |
    producer simulate --compare http://127.0.0.1:8900 --dlq rejects.jsonl --settle 15m --since 2026-11-01

Faults (--fault, repeatable) are a kind or a status code, then parameters: 429:count=3,retry-after=10 or slow:delay=45s,count=-1.
Kinds: ` + faultKinds + `.
Parameters: count (-1: always), after, page, tenant, day, status, code, message, retry-after, delay, loop, url, bytes.`,
		run: runSimulate,
	}
}

const faultKinds = `status, slow, stall, reset, reset-body, truncate, truncate-gzip, html, no-value, null-value, object-value, error-200,
empty-page, link-loop, foreign-link, redirect, lying-count, duplicate-keys, invalid-utf8, huge-header, token`

// list is a flag that may be given more than once.
type list []string

func (l *list) String() string     { return strings.Join(*l, ",") }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

type simulateOptions struct {
	listen, reading, order string
	days, rowsPerDay       int
	late, correct, move    float64
	tenants, faults        list
	server                 graphfake.Config

	compare, dlq, since string
	v1                  bool
	settle              time.Duration
}

func runSimulate(ctx context.Context, e env, args []string) error {
	fs := flag.NewFlagSet("simulate", flag.ContinueOnError)
	var o simulateOptions
	fs.StringVar(&o.listen, "listen", "127.0.0.1:8900", "`host:port` to serve on; port 0 takes a free one")
	fs.Var(&o.tenants, "tenant", "`name` of a tenant, repeatable (default contoso; with --compare all of the simulator's)")
	fs.IntVar(&o.days, "days", 30, "how many days before today the log begins")
	fs.IntVar(&o.rowsPerDay, "rows-per-day", 2000, "rows a day and tenant, on average")
	fs.Uint64Var(&o.server.Seed, "seed", 1, "the same seed gives the same rows")
	fs.StringVar(&o.reading, "reading", "days-exclusive", "how a request's range is read: days or times, -exclusive or -inclusive")
	fs.StringVar(&o.order, "order", "start", "of the rows: start, id, random, visible or newest")
	fs.IntVar(&o.server.RequestsPerMinute, "requests-per-minute", 0, "a tenant's limit; 0: 50, as Graph's; -1: none")
	fs.IntVar(&o.server.PageSize, "page-size", 1000, "rows a page")
	fs.Float64Var(&o.late, "late", 0.05, "`share` of the rows that appear hours to days late")
	fs.Float64Var(&o.correct, "correct", 0.02, "`share` of the rows that change later")
	fs.Float64Var(&o.move, "move", 0.002, "`share` of the rows that move to a neighbouring day")
	fs.Var(&o.faults, "fault", "`spec` of a fault, repeatable; see above")
	fs.StringVar(&o.compare, "compare", "", "`URL` of a running simulator: judge the lines of tail on stdin by its truth")
	fs.StringVar(&o.dlq, "dlq", "", "--compare: `file` with the lines of tail --dlq")
	fs.DurationVar(&o.settle, "settle", 0, "--compare: versions visible for less than this need not have been published")
	fs.StringVar(&o.since, "since", "", "--compare: `day` or RFC 3339 time; rows that start earlier need not have been published")
	fs.BoolVar(&o.v1, "v1", false, "--compare: the producer read v1.0")
	if err := parseFlags(e, simulateCommand(), fs, args); err != nil {
		return err
	}
	if o.compare != "" {
		return compare(ctx, e, o)
	}
	return simulate(ctx, e.stderr, o)
}

// newServer makes the simulator that the flags describe.
func (o *simulateOptions) newServer(now time.Time) (*graphfake.Server, error) {
	wrong := func(err error) error { return &usageError{command: "simulate", message: err.Error()} }
	var err error
	if o.server.Reading, err = graphfake.ParseReading(o.reading); err != nil {
		return nil, wrong(err)
	}
	if o.server.Order, err = graphfake.ParseOrder(o.order); err != nil {
		return nil, wrong(err)
	}
	for name, share := range map[string]float64{"late": o.late, "correct": o.correct, "move": o.move} {
		if !(share >= 0 && share <= 1) {
			return nil, wrong(fmt.Errorf("--%s: want a share from 0 to 1", name))
		}
	}
	if o.days < 0 || o.days > 366 || o.rowsPerDay < 0 || o.server.PageSize < 1 {
		return nil, wrong(errors.New("want --days from 0 to 366, --rows-per-day of 0 or more, --page-size of 1 or more"))
	}
	var faults []graphfake.Fault
	for _, spec := range o.faults {
		f, err := graphfake.ParseFault(spec)
		if err != nil {
			return nil, wrong(err)
		}
		faults = append(faults, f)
	}
	if len(o.tenants) == 0 {
		o.tenants = list{"contoso"}
	}
	today := window.Of(now)
	for i, id := range o.tenants {
		if id == "" || slices.Contains(o.tenants[:i], id) {
			return nil, wrong(fmt.Errorf("--tenant %q: want a name, once", id))
		}
		o.server.Tenants = append(o.server.Tenants, graphfake.TenantConfig{ID: id, RowsPerDay: o.rowsPerDay,
			From: (today - window.Day(o.days)).Start(), To: (today + 2).Start(),
			LateShare: o.late, CorrectShare: o.correct, MoveShare: o.move})
	}
	s := graphfake.New(o.server)
	s.Script(faults...)
	return s, nil
}

func simulate(ctx context.Context, say io.Writer, o simulateOptions) error {
	s, err := o.newServer(time.Now().UTC())
	if err != nil {
		return err
	}
	addr, wait, err := status.Serve(ctx, o.listen, s)
	if err != nil {
		return err
	}
	fmt.Fprintf(say, "simulator listens: GRAPH_AUTH=none GRAPH_ENDPOINT=http://%s GRAPH_TENANTS=%s KAFKA_BROKERS=… producer run\n", addr, strings.Join(o.tenants, ","))
	return wait()
}

// compare judges the lines of tail by a simulator's truth. Both are streams; what is kept is some hundred bytes a row.
func compare(ctx context.Context, e env, o simulateOptions) error {
	root, err := url.Parse(o.compare)
	if err != nil || root.Host == "" || root.Scheme != "http" && root.Scheme != "https" {
		return &usageError{command: "simulate", message: "--compare: want the simulator's URL, such as http://127.0.0.1:8900"}
	}
	opt := graphfake.CompareOptions{AsOf: time.Now().UTC(), Settle: o.settle, V1: o.v1}
	if o.since != "" {
		if opt.Since, err = parseInstant(o.since); err != nil {
			return &usageError{command: "simulate", message: "--since: want a day such as 2026-11-01, or a time such as 2026-11-01T00:00:00Z"}
		}
	}
	if len(o.tenants) == 0 {
		var s struct {
			Tenants []string `json:"tenants"`
		}
		if err := fetchLines(ctx, root.JoinPath("_status"), func(d *json.Decoder) error { return d.Decode(&s) }); err != nil {
			return fmt.Errorf("the simulator's tenants: %w", err)
		}
		o.tenants = s.Tenants
	}
	var failed error
	c := graphfake.NewComparer(func(yield func(graphfake.TrueRow) bool) {
		for _, t := range o.tenants {
			u := root.JoinPath("_truth")
			u.RawQuery = url.Values{"tenant": {t}}.Encode()
			err := fetchLines(ctx, u, func(d *json.Decoder) error {
				var row graphfake.TrueRow
				if err := d.Decode(&row); err != nil {
					return err
				}
				yield(row)
				return nil
			})
			if err != nil {
				failed = fmt.Errorf("truth of tenant %s: %w", t, err)
				return
			}
		}
	}, opt)
	if failed != nil {
		return failed
	}
	if o.dlq != "" {
		f, err := os.Open(o.dlq)
		if err != nil {
			return fmt.Errorf("--dlq: %w", err)
		}
		defer f.Close()
		if err := readRejects(f, o.tenants, c); err != nil {
			return fmt.Errorf("--dlq: %w", err)
		}
	}
	if err := readEvents(e.stdin, o.tenants, c); err != nil {
		return fmt.Errorf("stdin: %w", err)
	}
	v := c.Verdict()
	for _, d := range v.Details {
		fmt.Fprintln(e.stderr, d)
	}
	fmt.Fprintln(e.stdout, v)
	if !v.OK() {
		return errSaid
	}
	return nil
}

func parseInstant(s string) (time.Time, error) {
	if d, err := window.Parse(s); err == nil {
		return d.Start(), nil
	}
	return time.Parse(time.RFC3339, s)
}

// fetchLines calls next until the body of u's answer has ended. A body that was cut off is an error.
func fetchLines(ctx context.Context, u *url.URL, next func(*json.Decoder) error) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: is a simulator there, with this tenant?", resp.Status)
	}
	return eachLine(resp.Body, next)
}

// eachLine calls next until r ends.
func eachLine(r io.Reader, next func(*json.Decoder) error) error {
	d := json.NewDecoder(r)
	for n := 1; ; n++ {
		switch err := next(d); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
}

// printed is a line of tail as compare reads it.
type printed struct {
	Partition int32             `json:"partition"`
	Offset    int64             `json:"offset"`
	Headers   map[string]string `json:"headers"`
	Value     json.RawMessage   `json:"value"`
}

func readEvents(r io.Reader, tenants []string, c *graphfake.Comparer) error {
	return eachLine(r, func(d *json.Decoder) error {
		var l printed
		if err := d.Decode(&l); err != nil {
			return err
		}
		var v struct {
			TenantID string `json:"tenantId"`
			RowID    string `json:"rowId"`
			Revision int32  `json:"revision"`
		}
		if len(l.Value) == 0 { // an error line: it counts as wrong
			v.RowID = fmt.Sprintf("at partition %d offset %d", l.Partition, l.Offset)
		} else if err := json.Unmarshal(l.Value, &v); err != nil || bytes.Equal(l.Value, []byte("null")) {
			return errors.New("value is no event: want the lines of `producer tail`")
		} else if !slices.Contains(tenants, v.TenantID) {
			return nil // nobody asked for it
		}
		c.Add(graphfake.Event{TenantID: v.TenantID, RowID: v.RowID, Revision: v.Revision, Value: l.Value, Partition: l.Partition, Offset: l.Offset})
		return nil
	})
}

func readRejects(r io.Reader, tenants []string, c *graphfake.Comparer) error {
	return eachLine(r, func(d *json.Decoder) error {
		var l printed
		if err := d.Decode(&l); err != nil {
			return err
		}
		if t := l.Headers[schema.HeaderTenant]; slices.Contains(tenants, t) {
			c.AddReject(graphfake.Reject{TenantID: t, RowID: l.Headers[schema.HeaderRowID]})
		}
		return nil
	})
}
