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
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kfake"

	"pstncalls/internal/clock"
	"pstncalls/internal/config"
	"pstncalls/internal/graphfake"
	"pstncalls/internal/kafka"
	"pstncalls/internal/poller"
	"pstncalls/internal/state"
	"pstncalls/internal/window"
)

func demoCommand() command {
	return command{
		name:     "demo",
		synopsis: "shows all of it without any set-up: embedded Kafka, simulated Graph, a month in half a minute",
		help: `A simulated Graph with late rows, corrections, rows that move to another day, throttling and broken pages; an embedded
Kafka; and the producer, which is cut off inside a transaction once and has to recover. Time runs 86,400 times as fast: a day
a second. At the end a reader of its own compares the events with the simulator's truth. Nothing is left behind.

Example:
  producer demo
  producer demo --keep     goes on running, and prints the commands for a second terminal

Exit code 0 only if lost, doubled and wrong are 0.`,
		run: demo,
	}
}

const (
	demoTenant   = "contoso"
	demoFactor   = 86_400 // a day a second
	demoMonth    = 30 * 24 * time.Hour
	demoLive     = 10 * 24 * time.Hour // how much of the month is still to come when the producer starts
	demoLookback = 72 * time.Hour
	demoPatience = 60 * time.Second // real time, after the last window should have settled
	demoCrashAt  = 120              // commits of pages before the producer is cut off
)

func demo(ctx context.Context, e env, args []string) error {
	fs := flag.NewFlagSet("demo", flag.ContinueOnError)
	keep := fs.Bool("keep", false, "go on running after the verdict, until interrupted")
	rows := fs.Int("rows-per-day", 300, "rows a day of the simulated tenant, on average")
	seed := fs.Uint64("seed", 1, "seed of the simulated tenant")
	verbose := fs.Bool("v", false, "show the producer's log")
	if err := parseFlags(e, demoCommand(), fs, args); err != nil {
		return err
	}
	if *rows < 1 || *rows > 100_000 {
		return &usageError{command: "demo", message: "--rows-per-day: want 1 to 100000"}
	}
	d, err := newDemo(ctx, e, *rows, *seed, *verbose)
	if err != nil {
		return err
	}
	defer d.close()
	return d.play(ctx, *keep)
}

// demonstration is a demo that runs.
type demonstration struct {
	out   io.Writer
	log   *slog.Logger
	clock *clock.Scaled
	month window.Range

	kafka *kfake.Cluster
	graph *graphfake.Server
	http  *http.Server
	serve chan error
	cfg   *config.Config

	faults     *graphfake.Script
	registries [2]*prometheus.Registry // of the two producers
}

func newDemo(ctx context.Context, e env, rows int, seed uint64, verbose bool) (*demonstration, error) {
	log := slog.New(slog.DiscardHandler)
	if verbose {
		log = newLog(config.Log{Format: "text"}, e.stderr)
	}
	// The month ends early enough that its last window has settled when simulated time reaches the present.
	end := window.Of(time.Now().Add(-demoLookback - 48*time.Hour)).Start()
	from := end.Add(-demoMonth)
	d := &demonstration{out: e.stdout, log: log, clock: clock.NewScaled(end.Add(-demoLive), demoFactor),
		month: window.Range{From: window.Of(from), To: window.Of(end)}, serve: make(chan error, 1),
		registries: [2]*prometheus.Registry{prometheus.NewRegistry(), prometheus.NewRegistry()}}
	var err error
	if d.kafka, err = kfake.NewCluster(kfake.NumBrokers(1)); err != nil {
		return nil, fmt.Errorf("embedded Kafka: %w", err)
	}
	d.graph = graphfake.New(graphfake.Config{
		Seed: seed, Now: d.clock.Now, PageSize: 100,
		Wait: func(ctx context.Context, w time.Duration) error { return clock.Sleep(ctx, d.clock, w) },
		Tenants: []graphfake.TenantConfig{{ID: demoTenant, RowsPerDay: rows, From: from, To: end, MaxLateness: demoLookback - 12*time.Hour,
			LateShare: 0.05, CorrectShare: 0.04, MoveShare: 0.005, NoIDShare: 0.01, NullCallIDShare: 0.01, RejectShare: 0.003}},
	})
	d.faults = d.graph.Script(
		graphfake.Fault{Kind: graphfake.Status, Status: 429, RetryAfter: "1800", After: 20, Count: 3},
		graphfake.Fault{Kind: graphfake.Truncate, After: 60, Count: 2},
		graphfake.Fault{Kind: graphfake.Status, Status: 503, After: 90, Count: 2},
	)
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		d.kafka.Close()
		return nil, fmt.Errorf("simulated Graph: %w", err)
	}
	d.http = &http.Server{Handler: d.graph, ReadHeaderTimeout: 10 * time.Second}
	go func() { d.serve <- d.http.Serve(l) }()
	d.cfg, err = config.Load(d.environ("http://" + l.Addr().String()))
	if err != nil {
		d.close()
	}
	return d, err
}

func (d *demonstration) environ(endpoint string) []string {
	return []string{
		"GRAPH_AUTH=none", "GRAPH_TENANTS=" + demoTenant, "GRAPH_ENDPOINT=" + endpoint, "KAFKA_BROKERS=" + strings.Join(d.kafka.ListenAddrs(), ","),
		"POLL_START=" + d.month.From.String(), "POLL_INTERVAL=1h", "POLL_LOOKBACK=" + demoLookback.String(),
		"KAFKA_GROUP_INSTANCE_ID=demo", // the successor need not wait until the group has missed the one that was cut off
		"ADMIN_ADDR=127.0.0.1:0",
	}
}

func (d *demonstration) close() {
	d.http.Close()
	<-d.serve
	d.kafka.Close()
}

// play runs the producer twice: until it is cut off, and from there to the end.
func (d *demonstration) play(ctx context.Context, keep bool) error {
	say := func(format string, args ...any) { fmt.Fprintf(d.out, format+"\n", args...) }
	say("simulated Graph: tenant %s, calls of %s, late by up to %s; embedded Kafka: %s", demoTenant, d.month, demoLookback-12*time.Hour, d.cfg.Kafka.Brokers[0])
	if keep {
		say("in a second terminal:\n  KAFKA_BROKERS=%[1]s go run ./producer tail --from-beginning --count 3\n  KAFKA_BROKERS=%[1]s go run ./producer status", d.cfg.Kafka.Brokers[0])
	}

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	first := newVictim(demoCrashAt)
	ended := d.produce(ctx, setup{observer: first, dialer: first.dial, registry: d.registries[0]})
	defer func() { // the one that was cut off is let go, so that its goroutines end
		cancel()
		close(first.release)
		<-ended
	}()
	if err := d.progress(ctx, first.crashed, ended); err != nil {
		return err
	}
	first.cut()
	say("%s  CRASH: the producer is cut off inside a transaction, in the middle of a scan; a new one starts", d.today())

	runCtx, stop := context.WithCancel(ctx)
	second := d.produce(runCtx, setup{registry: d.registries[1]})
	defer func() {
		stop()
		<-second
	}()
	if err := d.untilSettled(ctx, second); err != nil {
		return err
	}
	if !keep {
		stop()
		if err := <-second; err != nil {
			return err
		}
	}
	v, err := d.verdict(ctx)
	if err != nil {
		return err
	}
	say("faults of Graph that were hit: %d", d.faults.Fired())
	for _, line := range v.Details {
		say("  %s", line)
	}
	say("%s", v)
	if keep && ctx.Err() == nil {
		say("still running; end it with Ctrl-C")
		select {
		case <-ctx.Done():
		case err := <-second:
			return err
		}
	}
	if !v.OK() || v.Events == 0 {
		return errSaid
	}
	return nil
}

// produce runs a producer. The channel gets what it ended with, and is closed then: it can be read again.
func (d *demonstration) produce(ctx context.Context, s setup) <-chan error {
	s.clock, s.noAdmin = d.clock, true
	ended := make(chan error, 1)
	go func() {
		defer close(ended)
		ended <- serve(ctx, d.cfg, d.log, s)
	}()
	return ended
}

// untilSettled shows the progress until all windows of the month have settled, as the state topic says.
func (d *demonstration) untilSettled(ctx context.Context, ended <-chan error) error {
	ctx, fail := context.WithCancelCause(ctx)
	settled := make(chan struct{})
	var watch sync.WaitGroup
	defer watch.Wait()
	defer fail(nil)
	watch.Go(func() {
		if err := d.awaitSettled(ctx); err != nil {
			fail(err)
			return
		}
		close(settled)
	})
	return d.progress(ctx, settled, ended)
}

func (d *demonstration) today() string { return window.Of(d.clock.Now()).String() }

// progress prints a line a second until done.
func (d *demonstration) progress(ctx context.Context, done <-chan struct{}, ended <-chan error) error {
	deadline := time.NewTimer(d.remaining() + demoPatience)
	defer deadline.Stop()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return nil
		case <-tick.C:
			n, err := d.counted()
			if err != nil {
				return err
			}
			fmt.Fprintf(d.out, "%s  rows read %7.0f   events %6.0f   corrections %4.0f   rejects %3.0f   commits %4.0f\n", d.today(),
				n["pstncalls_rows_total"], n["pstncalls_events_total"], n["pstncalls_revisions_total"], n["pstncalls_rejects_total"], n["pstncalls_commits_total"])
		case err := <-ended:
			return errors.Join(errors.New("the producer ended early"), err)
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-deadline.C:
			return errors.New("the demo took too long: the month's windows did not settle")
		}
	}
}

func (d *demonstration) remaining() time.Duration {
	left := d.month.To.Start().Add(demoLookback).Sub(d.clock.Now())
	return max(0, time.Duration(float64(left)/demoFactor))
}

// counted returns what the producers say that they have committed: for the progress, not for the verdict.
func (d *demonstration) counted() (counts map[string]float64, err error) {
	counts = map[string]float64{}
	for _, r := range d.registries {
		families, err := r.Gather()
		if err != nil {
			return nil, fmt.Errorf("metrics: %w", err)
		}
		for _, f := range families {
			for _, m := range f.GetMetric() {
				counts[f.GetName()] += m.GetCounter().GetValue()
			}
		}
	}
	return counts, nil
}

func (d *demonstration) awaitSettled(ctx context.Context) error {
	cluster, err := newCluster(d.cfg, d.log)
	if err != nil {
		return err
	}
	for {
		if ok, err := d.allSettled(ctx, cluster); ok || err != nil {
			return err
		}
		if err := clock.Sleep(ctx, clock.System, 500*time.Millisecond); err != nil {
			return err
		}
	}
}

func (d *demonstration) allSettled(ctx context.Context, cluster *kafka.Cluster) (bool, error) {
	v, err := cluster.ReadState(ctx)
	if err != nil {
		return false, err
	}
	t, ok, err := state.Load(demoTenant, v.State)
	if err != nil || !ok {
		return false, err
	}
	for day := d.month.From; day < d.month.To; day++ {
		if t.Window(day).Settled == nil {
			return false, nil
		}
	}
	return true, nil
}

// verdict reads the topics with a consumer that shares nothing with the producer, and compares with the simulator's truth.
func (d *demonstration) verdict(ctx context.Context) (graphfake.Verdict, error) {
	var rejects []graphfake.Reject
	for rec, err := range committed(ctx, d.cfg.Kafka.Brokers, d.cfg.Kafka.DLQTopic) {
		if err != nil {
			return graphfake.Verdict{}, err
		}
		rejects = append(rejects, rejectOf(rec))
	}
	events := func(yield func(graphfake.Event, error) bool) {
		for rec, err := range committed(ctx, d.cfg.Kafka.Brokers, d.cfg.Kafka.EventsTopic) {
			var ev graphfake.Event
			if err == nil {
				ev, err = eventOf(rec)
			}
			if !yield(ev, err) || err != nil {
				return
			}
		}
	}
	return graphfake.Compare(d.graph.Truth(demoTenant), events, rejects, graphfake.CompareOptions{})
}

// victim is the observer and the network of a producer that is cut off inside a transaction: it is stopped where its records
// are produced and not committed, and its connections end, as they would if the machine had died.
type victim struct {
	crashed chan struct{}
	release chan struct{}

	mu      sync.Mutex
	reading bool // a page has arrived: before, there are only the commits of the start
	commits int
	down    bool
	conns   []net.Conn
}

func newVictim(commits int) *victim {
	return &victim{crashed: make(chan struct{}), release: make(chan struct{}), commits: commits}
}

// Reached implements kafka.Observer.
func (v *victim) Reached(_ int32, p kafka.Point) {
	v.mu.Lock()
	v.reading = v.reading || p == poller.AtPage
	if v.reading && p == kafka.AtProduced {
		v.commits--
	}
	now := v.commits == 0 && p == kafka.AtProduced
	v.mu.Unlock()
	if now {
		close(v.crashed)
		<-v.release
	}
}

func (v *victim) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.down {
		conn.Close()
		return nil, errors.New("the network is cut")
	}
	v.conns = append(v.conns, conn)
	return conn, nil
}

func (v *victim) cut() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.down = true
	for _, c := range v.conns {
		c.Close()
	}
}
