package poller_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"pstncalls/internal/clock"
	"pstncalls/internal/graph"
	"pstncalls/internal/graphfake"
	"pstncalls/internal/kafka"
	"pstncalls/internal/poller"
	"pstncalls/internal/row"
	"pstncalls/internal/schedule"
	"pstncalls/internal/state"
	"pstncalls/internal/status"
	"pstncalls/internal/window"
	"pstncalls/schema"
)

const (
	tenant   = "contoso"
	patience = 5 * time.Minute // of a wait that is going to be met, on a slow machine, raced
)

var topics = kafka.Topics{Events: "calls", State: "calls.state", DLQ: "calls.dlq", Watermark: "calls.watermark"}

// world is a simulated Graph and an embedded Kafka; the pollers run in this process.
type world struct {
	testing.TB
	graph    *graphfake.Server
	web      *httptest.Server
	kafka    *kfake.Cluster
	clock    clock.Clock
	schedule schedule.Settings
	start    window.Day
}

func newWorld(t testing.TB, c clock.Clock, s schedule.Settings, start window.Day, cfg graphfake.Config) *world {
	t.Helper()
	k, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	cfg.Now = c.Now
	cfg.Wait = func(ctx context.Context, d time.Duration) error { return clock.Sleep(ctx, c, d) }
	cfg.RequestsPerMinute = -1
	srv := graphfake.New(cfg)
	web := httptest.NewServer(srv)
	t.Cleanup(web.Close)
	return &world{TB: t, graph: srv, web: web, kafka: k, clock: c, schedule: s, start: start}
}

// replica is one Poller, as a process would have it: with an instance, a budget and a log of its own.
type replica struct {
	w       *world
	log     *lines
	budget  *graph.Budget
	cluster *kafka.Cluster
	metrics *prometheus.Registry
	cancel  context.CancelFunc
	done    chan struct{}
	err     error
}

// setUp is how a replica differs from the others.
type setUp struct {
	observer kafka.Observer
	change   func(*poller.Config)
}

// run starts a replica.
func (w *world) run(instance string, u setUp) *replica {
	w.Helper()
	r := &replica{w: w, log: &lines{}, done: make(chan struct{}), metrics: prometheus.NewRegistry()}
	log := slog.New(slog.NewTextHandler(r.log, nil))
	var err error
	r.cluster, err = kafka.New(kafka.Config{Brokers: w.kafka.ListenAddrs(), Topics: topics, Compression: "none", Group: "test",
		GroupProtocol: "classic", SessionTimeout: 6 * time.Second, Host: "host", Instance: instance, Log: log, Observer: u.observer})
	if err != nil {
		w.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	layout, err := r.cluster.Prepare(ctx, false)
	for tries := 0; err != nil && !kafka.IsRefused(err) && tries < 3; tries++ { // as the program does
		layout, err = r.cluster.Prepare(ctx, false)
	}
	if err != nil {
		w.Fatal(err)
	}
	endpoint, err := url.Parse(w.web.URL)
	if err != nil {
		w.Fatal(err)
	}
	tokens, err := graph.NewTokens(graph.TokenConfig{Auth: "none", Tenant: tenant})
	if err != nil {
		w.Fatal(err)
	}
	transport := graph.NewTransport()
	r.budget = graph.NewBudget(w.clock, 1_000_000)
	pager, err := graph.New(graph.Config{Tenant: tenant, Endpoint: endpoint, APIVersion: "beta", Tokens: tokens, Budget: r.budget,
		Clock: w.clock, Transport: transport})
	if err != nil {
		w.Fatal(err)
	}
	cfg := poller.Config{
		Cluster: r.cluster, Layout: layout, Clock: w.clock, Schedule: w.schedule, Concurrency: 2,
		Start:   func(time.Time) window.Day { return w.start },
		Tenants: func() ([]string, <-chan struct{}) { return []string{tenant}, nil },
		Source:  func(string) (poller.Source, error) { return poller.Source{Pager: pager, Budget: r.budget}, nil },
		Privacy: privacy(w, ""), APIVersion: "beta", Endpoint: w.web.URL + "/beta", Framer: framer{},
		Metrics: status.NewMetrics(r.metrics), Log: log, Observer: u.observer,
	}
	if u.change != nil {
		u.change(&cfg)
	}
	go func() {
		defer close(r.done) // also when the observer has ended the goroutine: that is how a replica crashes
		defer transport.CloseIdleConnections()
		r.err = poller.New(cfg).Work(ctx, kafka.ShardOf(tenant, layout.StatePartitions))
	}()
	w.Cleanup(r.stop)
	return r
}

// stop ends a replica in order.
func (r *replica) stop() {
	r.w.Helper()
	r.cancel()
	<-r.done
	if r.err != nil {
		r.w.Errorf("Work: %v", r.err)
	}
}

func privacy(t testing.TB, rules string) *row.Privacy {
	t.Helper()
	p, err := row.ParsePrivacy(rules, nil)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

type framer struct{}

func (framer) Frame(avro []byte) []byte { return schema.AppendSingleObject(nil, avro) }
func (framer) DataSchema() string       { return "" }

// lines is a log that can be read while it is written.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *lines) has(s string) bool { return strings.Contains(l.String(), s) }

// count returns how many lines hold both.
func (l *lines) count(a, b string) (n int) {
	for line := range strings.Lines(l.String()) {
		if strings.Contains(line, a) && strings.Contains(line, b) {
			n++
		}
	}
	return n
}

// until waits for a condition.
func (w *world) until(what string, met func() bool) {
	w.Helper()
	for deadline := time.Now().Add(patience); !met(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.Fatalf("in vain: %s", what)
		}
	}
}

// state returns the tenant as the state topic has it; nil where it has none yet.
func (w *world) state(r *replica) *state.Tenant {
	w.Helper()
	t, err := load(r.cluster, patience)
	if err != nil {
		w.Fatal(err)
	}
	return t
}

// load reads the tenant from the state topic; nil where it has none yet.
func load(c *kafka.Cluster, most time.Duration) (*state.Tenant, error) {
	ctx, cancel := context.WithTimeout(context.Background(), most)
	defer cancel()
	v, err := c.ReadState(ctx)
	if err != nil {
		return nil, err
	}
	t, ok, err := state.Load(tenant, v.State)
	if err != nil || !ok {
		return nil, err
	}
	return t, nil
}

// add adds n rows that started at start and are visible now, and returns their ids.
func (w *world) add(n int, start time.Time) []string {
	w.Helper()
	var ids []string
	for range n {
		id := newID()
		w.addRow(map[string]any{"id": id, "callId": "call-" + id, "startDateTime": stamp(start), "duration": 5, "charge": json.Number("0.25"), "currency": "EUR"})
		ids = append(ids, id)
	}
	return ids
}

func (w *world) addRow(r map[string]any) {
	w.Helper()
	if err := w.graph.AddRow(tenant, r, w.clock.Now()); err != nil {
		w.Fatal(err)
	}
}

func (w *world) correct(id string, change func(map[string]any)) {
	w.Helper()
	if err := w.graph.CorrectRow(tenant, id, change, w.clock.Now()); err != nil {
		w.Fatal(err)
	}
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.0000000Z") }

var ids struct {
	sync.Mutex
	n int
}

func newID() string {
	ids.Lock()
	defer ids.Unlock()
	ids.n++
	return fmt.Sprintf("%08x-0000-4000-8000-00000000abcd", ids.n)
}

// verdict compares the topics with the truth, by a plain consumer. asOf zero expects all that ever becomes visible.
func (w *world) verdict(asOf time.Time) graphfake.Verdict {
	w.Helper()
	var rejects []graphfake.Reject
	for _, rec := range w.read(topics.DLQ) {
		rejects = append(rejects, graphfake.Reject{TenantID: header(rec, schema.HeaderTenant), RowID: header(rec, schema.HeaderRowID)})
	}
	recs := w.read(topics.Events)
	events := func(yield func(graphfake.Event, error) bool) {
		for _, rec := range recs {
			call := decode(w, rec)
			value, err := json.Marshal(call)
			if !yield(graphfake.Event{TenantID: call.TenantID, RowID: call.RowID, Revision: call.Revision, Value: value,
				Partition: rec.Partition, Offset: rec.Offset}, err) {
				return
			}
		}
	}
	v, err := graphfake.Compare(w.graph.Truth(tenant), events, rejects, graphfake.CompareOptions{AsOf: asOf})
	if err != nil {
		w.Fatal(err)
	}
	return v
}

// clean waits until the verdict is three zeros as of now; a doubled or wrong event ends the test.
func (w *world) clean(what string) graphfake.Verdict {
	w.Helper()
	asOf := w.clock.Now()
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		v := w.verdict(asOf)
		if v.OK() && v.Events > 0 {
			return v
		}
		if v.Doubled+v.Wrong > 0 || time.Now().After(deadline) {
			w.Fatalf("%s: %s\n%s", what, v, strings.Join(v.Details, "\n"))
		}
	}
}

func decode(t testing.TB, rec *kgo.Record) *schema.PstnCall {
	t.Helper()
	call, err := schema.Decode(rec.Value)
	if err != nil {
		t.Fatalf("event at %d/%d: %v", rec.Partition, rec.Offset, err)
	}
	return call
}

func header(rec *kgo.Record, name string) string {
	for _, h := range rec.Headers {
		if h.Key == name {
			return string(h.Value)
		}
	}
	return ""
}

// completeUpTo returns what a record of the watermark topic says.
func completeUpTo(t testing.TB, rec *kgo.Record) time.Time {
	t.Helper()
	var v struct {
		V            int
		Tenant       string
		CompleteUpTo time.Time
	}
	if err := json.Unmarshal(rec.Value, &v); err != nil || v.V != 1 || v.Tenant != tenant || string(rec.Key) != tenant {
		t.Fatalf("watermark %s: %q, %v", rec.Key, rec.Value, err)
	}
	return v.CompleteUpTo
}

// read returns the committed records of a topic.
func (w *world) read(topic string) []*kgo.Record {
	w.Helper()
	recs, err := committed(topic, patience, patience/2, kgo.SeedBrokers(w.kafka.ListenAddrs()...))
	if err != nil {
		w.Fatal(err)
	}
	return recs
}

// committed returns the committed records of a topic, by a plain consumer that shares nothing with the program's own reader.
// Control records are kept so that each partition's end is seen; behind aborted ones, which nobody is shown, silence is the end.
func committed(topic string, most, silence time.Duration, opts ...kgo.Opt) ([]*kgo.Record, error) {
	cl, err := kgo.NewClient(append(opts, kgo.ConsumeTopics(topic), kgo.KeepControlRecords(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()))...)
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), most)
	defer cancel()
	ends, err := kadm.NewClient(cl).ListCommittedOffsets(ctx, topic)
	if err != nil {
		return nil, err
	}
	left := map[int32]int64{}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			left[o.Partition] = o.Offset
		}
	})
	var out []*kgo.Record
	for len(left) > 0 {
		quiet, stop := context.WithTimeout(ctx, silence)
		fs := cl.PollFetches(quiet)
		stop()
		err := fs.Err()
		if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil { // what is left is aborted
			break
		}
		if err != nil {
			return nil, err
		}
		for it := fs.RecordIter(); !it.Done(); {
			rec := it.Next()
			if rec.Offset+1 >= left[rec.Partition] {
				delete(left, rec.Partition)
			}
			if !rec.Attrs.IsControl() {
				out = append(out, rec)
			}
		}
	}
	return out, nil
}
