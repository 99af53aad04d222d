package main

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"pstncalls/internal/clock"
	"pstncalls/internal/config"
	"pstncalls/internal/graphfake"
	"pstncalls/internal/state"
	"pstncalls/schema"
)

const (
	goldenTenant   = "contoso"
	goldenEndpoint = "http://graph.invalid"
	goldenStart    = "2026-10-28"
	goldenLookback = 48 * time.Hour
)

var goldenTopics = []string{"", ".state", ".dlq", ".watermark"}

// goldenWorld is an embedded Kafka and a simulated Graph, at a time of their own.
type goldenWorld struct {
	t       *testing.T
	broker  *kfake.Cluster
	sim     *graphfake.Server
	web     *httptest.Server
	environ []string
	clock   atomic.Pointer[clock.Scaled]
}

func newGoldenWorld(t *testing.T) *goldenWorld {
	t.Helper()
	w := &goldenWorld{t: t}
	var err error
	if w.broker, err = kfake.NewCluster(kfake.NumBrokers(1)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.broker.Close)
	w.sim = graphfake.New(graphfake.Config{Seed: 1, PageSize: 3, RequestsPerMinute: -1, Tenants: []graphfake.TenantConfig{{ID: goldenTenant}},
		Now: func() time.Time { return w.clock.Load().Now() }})
	w.web = httptest.NewServer(w.sim)
	t.Cleanup(w.web.Close)
	w.environ = []string{"GRAPH_AUTH=none", "GRAPH_ENDPOINT=" + w.web.URL, "GRAPH_TENANTS=" + goldenTenant, "GRAPH_REQUESTS_PER_MINUTE=100000",
		"KAFKA_BROKERS=" + w.broker.ListenAddrs()[0], "POLL_START=" + goldenStart, "POLL_LOOKBACK=" + goldenLookback.String()}
	return w
}

// shows sets the clock of both sides.
func (w *goldenWorld) shows(at time.Time) { w.clock.Store(clock.NewScaled(at, 1)) }

// goldenRun is the program at work.
type goldenRun struct {
	w    *goldenWorld
	log  logText
	stop context.CancelFunc
	done chan struct{}
	err  error
}

// run starts the program when it is at.
func (w *goldenWorld) run(at time.Time) *goldenRun {
	w.t.Helper()
	w.shows(at)
	cfg, err := config.Load(w.environ)
	if err != nil {
		w.t.Fatal(err)
	}
	cfg.Poll.Interval = 50 * time.Millisecond // everything is due all the time
	ctx, cancel := context.WithCancel(context.Background())
	r := &goldenRun{w: w, stop: cancel, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		r.err = serve(ctx, cfg, slog.New(slog.NewTextHandler(&r.log, nil)), setup{clock: w.clock.Load(), noAdmin: true})
	}()
	w.t.Cleanup(func() {
		cancel()
		<-r.done
		if w.t.Failed() {
			w.t.Logf("the program logged:\n%.8000s", r.log.String())
		}
	})
	return r
}

// end ends it in order.
func (r *goldenRun) end() {
	r.w.t.Helper()
	r.stop()
	<-r.done
	if r.err != nil {
		r.w.t.Fatalf("run: %v", r.err)
	}
}

// until waits for a condition while the program runs.
func (r *goldenRun) until(what string, met func() bool) {
	r.w.t.Helper()
	for deadline := time.Now().Add(stall); !met(); time.Sleep(20 * time.Millisecond) {
		select {
		case <-r.done:
			r.w.t.Fatalf("%s: the program ended: %v", what, r.err)
		default:
		}
		if time.Now().After(deadline) {
			r.w.t.Fatalf("in vain: %s", what)
		}
	}
}

// cycles waits until Graph has been asked so often again that each day has been read more than once.
func (r *goldenRun) cycles() {
	r.w.t.Helper()
	before := r.w.sim.Requests(200)
	r.until("all days are read again", func() bool { return r.w.sim.Requests(200) > before+40 })
}

// records returns the committed records of a topic.
func (w *goldenWorld) records(topic string) (out []*kgo.Record) {
	w.t.Helper()
	for rec, err := range committed(w.t.Context(), w.broker.ListenAddrs(), "pstn-calls"+topic) {
		if err != nil {
			w.t.Fatal(err)
		}
		out = append(out, rec)
	}
	return out
}

// events returns the events in words, sorted: each revision of each row.
func (w *goldenWorld) events() (out []string) {
	w.t.Helper()
	for _, rec := range w.records("") {
		call, err := schema.Decode(rec.Value)
		if err != nil {
			w.t.Fatal(err)
		}
		id, _, _ := strings.Cut(call.RowID, "-")
		out = append(out, id+"/"+string(rune('0'+call.Revision)))
	}
	slices.Sort(out)
	return out
}

// state returns the tenant as the state topic has it, and the number of its shard's last commit.
func (w *goldenWorld) state() (*state.Tenant, int64) {
	w.t.Helper()
	cfg, err := config.LoadKafka(w.environ)
	if err != nil {
		w.t.Fatal(err)
	}
	cluster, err := newCluster(cfg, quiet())
	if err != nil {
		w.t.Fatal(err)
	}
	view, err := cluster.ReadState(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	records := map[string][]byte{}
	for key, value := range view.State {
		if id, ok := state.TenantOf(key); ok && id == goldenTenant {
			records[key] = value
		}
	}
	tenant, ok, err := state.Load(goldenTenant, records)
	if err != nil || !ok {
		w.t.Fatal(ok, err)
	}
	commits := int64(0)
	for _, m := range view.Marks {
		commits = max(commits, m.N)
	}
	return tenant, commits
}

// load puts what a release has left into a new cluster and a new simulator. change may alter a record.
func (g *golden) load(t *testing.T, change func(*goldenRecord)) *goldenWorld {
	t.Helper()
	w := newGoldenWorld(t)
	w.shows(g.At)
	for _, row := range g.rows {
		var fields map[string]any
		dec := json.NewDecoder(bytes.NewReader(row.Graph))
		dec.UseNumber()
		if err := dec.Decode(&fields); err != nil {
			t.Fatal(err)
		}
		if err := w.sim.AddRow(goldenTenant, fields, g.At.Add(-2*time.Hour)); err != nil {
			t.Fatal(err)
		}
		if id, _ := fields["id"].(string); row.Gone {
			if err := w.sim.RemoveRow(goldenTenant, id, g.At.Add(-time.Hour)); err != nil {
				t.Fatal(err)
			}
		}
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(w.broker.ListenAddrs()...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	replace := []string{g.Endpoint, w.web.URL}
	for _, topic := range goldenTopics {
		policy, forever := "delete", "-1" // the records are as old as the release
		if topic == ".state" || topic == ".watermark" {
			policy = "compact"
		}
		made, err := kadm.NewClient(cl).CreateTopic(t.Context(), g.Sizes[topic], 1, map[string]*string{"cleanup.policy": &policy, "retention.ms": &forever}, "pstn-calls"+topic)
		if err != nil {
			t.Fatal(err)
		}
		replace = append(replace, g.IDs[topic], made.ID.String())
	}
	here := strings.NewReplacer(replace...)
	var recs []*kgo.Record
	for _, old := range g.recs {
		r := *old
		if change != nil {
			change(&r)
		}
		rec := &kgo.Record{Topic: "pstn-calls" + r.Topic, Partition: r.Partition, Key: []byte(r.Key), Value: r.Value, Timestamp: time.UnixMilli(r.Time)}
		if r.Topic == ".state" && !strings.Contains(r.Key, "/ledger/") {
			rec.Value = []byte(here.Replace(string(r.Value)))
		}
		for _, h := range r.Headers {
			rec.Headers = append(rec.Headers, kgo.RecordHeader{Key: h[0], Value: []byte(here.Replace(h[1]))})
		}
		recs = append(recs, rec)
	}
	if err := cl.ProduceSync(t.Context(), recs...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	return w
}
