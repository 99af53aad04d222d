package verify_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"pstncalls/internal/kafka"
	"pstncalls/internal/state"
	"pstncalls/internal/verify"
	"pstncalls/internal/window"
	"pstncalls/schema"
)

const tenant = "contoso"

// today is a day of the tests; their rows start on it and before.
const today = window.Day(20780)

// world is a Kafka with topics of its own (PSTNCALLS_TEST_KAFKA names brokers; else an embedded one), and a producer that commits
// through the real session, whose batches a test may tamper with.
type world struct {
	testing.TB
	brokers []string
	cluster *kafka.Cluster
	session *kafka.Session
	state   *state.Tenant
	asked   uint64
	tamper  func(*kafka.Batch)
	last    []kafka.Record // the events of the last commit, as they should have been
}

func newWorld(t testing.TB) *world {
	t.Helper()
	if real := os.Getenv("PSTNCALLS_TEST_KAFKA"); real != "" {
		return worldOn(t, strings.Split(real, ","))
	}
	return worldOn(t, newFake(t).ListenAddrs())
}

func newFake(t testing.TB) *kfake.Cluster {
	t.Helper()
	fake, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fake.Close)
	return fake
}

func worldOn(t testing.TB, brokers []string) *world {
	t.Helper()
	w := &world{TB: t, brokers: brokers}
	name := "v" + strings.ToLower(rand.Text()[:10])
	w.start(kafka.Topics{Events: name, State: name + ".state", DLQ: name + ".dlq", Watermark: name + ".watermark"}, false)
	return w
}

// start prepares the topics and opens the tenant's shard, with an empty state.
func (w *world) start(topics kafka.Topics, fresh bool) {
	w.Helper()
	var err error
	w.cluster, err = kafka.New(kafka.Config{Brokers: w.brokers, Group: topics.State, SessionTimeout: 6 * time.Second, Host: "host", Instance: "one", Topics: topics})
	if err != nil {
		w.Fatal(err)
	}
	if _, err := w.cluster.Prepare(w.ctx(), fresh); err != nil {
		w.Fatal(err)
	}
	w.session, _, err = w.cluster.Open(w.ctx(), kafka.ShardOf(tenant, 12))
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(w.session.Close)
	w.state = state.New(tenant, today-20)
}

// restart begins anew beside the events that are there, with another state topic.
func (w *world) restart() {
	topics := w.cluster.Topics()
	topics.State += ".new"
	w.start(topics, true)
}

func (w *world) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	w.Cleanup(cancel)
	return ctx
}

// call is a row of the simulated log.
type call struct {
	id          string
	day         window.Day
	fingerprint uint64
	rejected    bool
	noID        bool
	event       *schema.PstnCall // nil: one that has a start alone
}

// value is the record's value of a row's event.
func (w *world) value(r call, id string, revision int32, at time.Time) (framed, avro []byte) {
	w.Helper()
	start := r.day.Start().Add(time.Hour)
	e := schema.PstnCall{StartDateTime: &start}
	if r.event != nil {
		e = *r.event
	}
	e.TenantID, e.RowID, e.Revision, e.ObservedAt = tenant, id, revision, at
	avro, err := schema.AppendPstnCall(nil, &e)
	if err != nil {
		w.Fatal(err)
	}
	return schema.AppendSingleObject(nil, avro), avro
}

// calls returns n rows of a day.
func calls(day window.Day, n int) (out []call) {
	for i := range n {
		out = append(out, call{id: id(day, i), day: day, fingerprint: uint64(i + 1)})
	}
	return out
}

func id(day window.Day, i int) string { return fmt.Sprintf("%08x-0000-4000-8000-%012x", int32(day), i) }

// scan is a complete scan of one day, in one commit.
func (w *world) scan(day window.Day, rows []call) {
	w.Helper()
	w.asked += 2
	now := time.Now().UTC().Truncate(time.Millisecond)
	w.state.BeginScan(window.Range{From: day, To: day + 1})
	b := kafka.Batch{At: now}
	for _, r := range rows {
		d := w.state.Observe(state.Seen{ID: r.id, HasID: !r.noID, Fingerprint: r.fingerprint, Day: r.day, Rejected: r.rejected},
			state.Page{Range: window.Range{From: day, To: day + 1}, Asked: w.asked, Received: w.asked + 1, Busy: func(window.Day) bool { return false }})
		if d.Action != state.Publish {
			continue
		}
		framed, avro := w.value(r, d.RowID, d.Revision, now)
		w.state.Published(d.Owner, state.HashEvent(d.RowID, d.Revision, r.fingerprint, avro), now)
		h := schema.Headers{RowID: d.RowID, Revision: d.Revision, TenantID: tenant, Source: source, Time: now, Subject: d.RowID,
			Fingerprint: r.fingerprint, Owner: d.Owner.String(), Shard: w.session.Shard(), Commit: w.session.Next()}
		b.Events = append(b.Events, kafka.Record{Key: []byte(d.RowID), Value: framed, Headers: h.Append(nil), Timestamp: now})
	}
	w.state.Complete(state.Scanned{Range: window.Range{From: day, To: day + 1}, Begun: now, Pages: 1})
	recs, _, err := w.state.Records()
	if err != nil {
		w.Fatal(err)
	}
	for _, r := range recs {
		b.State = append(b.State, kafka.Record{Key: []byte(r.Key), Value: r.Value})
	}
	w.last = append([]kafka.Record(nil), b.Events...)
	if w.tamper != nil {
		w.tamper(&b)
		w.tamper = nil
	}
	if err := w.session.Commit(b); err != nil {
		w.Fatal(err)
	}
}

// settle makes the state forget the ledgers of all days up to last.
func (w *world) settle(last window.Day) {
	w.Helper()
	now := (last + 10).Start()
	for d := today - 20; d <= last+2; d++ {
		w.state.BeginScan(window.Range{From: d, To: d + 1}) // makes the window
		w.state.Settle(d, now)
	}
	w.state.Drop(now, 24*time.Hour)
	if w.state.HasLedger(last) {
		w.Fatalf("the ledger of %s is still there", last)
	}
	w.scan(last+4, nil)
}

// foreign writes records that no transaction of ours holds.
func (w *world) foreign(recs ...kafka.Record) {
	w.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(w.brokers...), kgo.DefaultProduceTopic(w.cluster.Topics().Events))
	if err != nil {
		w.Fatal(err)
	}
	defer cl.Close()
	for _, r := range recs {
		out := &kgo.Record{Key: r.Key, Value: r.Value, Timestamp: time.Now()}
		for _, h := range r.Headers {
			out.Headers = append(out.Headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
		}
		if err := cl.ProduceSync(w.ctx(), out).FirstErr(); err != nil {
			w.Fatal(err)
		}
	}
}

// open writes one record in a transaction that stays open as long as the test.
func (w *world) open() {
	w.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(w.brokers...), kgo.DefaultProduceTopic(w.cluster.Topics().Events), kgo.TransactionalID(w.cluster.Topics().Events))
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(cl.Close)
	if err := cl.BeginTransaction(); err != nil {
		w.Fatal(err)
	}
	if err := cl.ProduceSync(w.ctx(), &kgo.Record{Key: []byte("k"), Value: []byte("open")}).FirstErr(); err != nil {
		w.Fatal(err)
	}
}

// read reads the state as it is when all that was committed can be seen: brokers answer a commit before every partition shows it.
func (w *world) read() *kafka.StateView {
	w.Helper()
	r, err := w.cluster.NewReader()
	if err != nil {
		w.Fatal(err)
	}
	defer r.Close()
	if err := r.Decided(w.ctx(), w.cluster.Topics().State); err != nil {
		w.Fatal(err)
	}
	view, err := w.cluster.ReadState(w.ctx())
	if err != nil {
		w.Fatal(err)
	}
	return view
}

func (w *world) verify(o verify.Options) *verify.Report {
	w.Helper()
	r, err := verify.Topics(w.ctx(), w.cluster, w.read(), o)
	if err != nil {
		w.Fatal(err)
	}
	return r
}

// with returns headers with another value of one of them.
func with(hs []schema.Header, key, value string) []schema.Header {
	out := append([]schema.Header(nil), hs...)
	for i := range out {
		if out[i].Key == key {
			out[i].Value = []byte(value)
		}
	}
	return out
}
