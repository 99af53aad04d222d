package kafka_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"pstncalls/internal/graphfake"
	"pstncalls/internal/kafka"
	"pstncalls/internal/row"
	"pstncalls/internal/window"
	"pstncalls/schema"
)

// benchState is the key of the one state record that goes with a transaction's events.
const benchState = "contoso/pstn/tenant"

// BenchmarkCommit commits transactions of so many real events and one state record, in turn by a Session and by the Kafka client
// alone, to the same partitions of topics as the program creates them. It reports the median latency of both (from the records
// to the answer of End), their ratio, and rows a second. Without PSTNCALLS_TEST_KAFKA it measures the fake broker.
func BenchmarkCommit(b *testing.B) {
	c := newCluster(b)
	layout := prepare(b, c)
	s, _ := open(b, c, kafka.ShardOf(benchState, layout.StatePartitions))
	a := newAlone(b, c)
	all := realEvents(b, 8000, s.Shard())
	for _, n := range []int{1, 100, 500, 1000, 2000, 4000, 5000, 8000} {
		b.Run(fmt.Sprint("events=", n), func(b *testing.B) { inTurn(b, s, a, all[:n]) })
	}
}

func inTurn(b *testing.B, s *kafka.Session, a *alone, events []kafka.Record) {
	const warm = 5 // connections, and what the client and the brokers learn of the topics
	var ours, theirs []time.Duration
	round := func() {
		now := time.Now()
		for i := range events {
			events[i].Timestamp = now // the client counts the delivery timeout from it
		}
		state := rec(benchState, `{"v":1}`)
		records := a.records(events, state)
		turns := []func(){
			func() {
				began := time.Now()
				commit(b, s, kafka.Batch{Events: events, State: []kafka.Record{state}, At: now})
				ours = append(ours, time.Since(began))
			},
			func() {
				began := time.Now()
				a.commit(b, records)
				theirs = append(theirs, time.Since(began))
			},
		}
		first := len(ours) % 2 // neither always comes right behind the other
		turns[first]()
		turns[1-first]()
	}
	for range warm {
		round()
	}
	for b.Loop() {
		round()
	}
	ours, theirs = ours[warm:], theirs[warm:]
	rate := func(ds []time.Duration) float64 {
		var sum time.Duration
		for _, d := range ds {
			sum += d
		}
		return float64(len(events)*len(ds)) / sum.Seconds()
	}
	b.ReportMetric(0, "ns/op") // of both and what prepares them: says nothing
	b.ReportMetric(ms(median(ours)), "p50-ms")
	b.ReportMetric(ms(median(theirs)), "kgo-p50-ms")
	b.ReportMetric(ms(median(ours))/ms(median(theirs)), "p50/kgo")
	b.ReportMetric(rate(ours), "rows/s")
	b.ReportMetric(rate(theirs), "kgo-rows/s")
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func median(ds []time.Duration) time.Duration {
	slices.Sort(ds)
	return ds[len(ds)/2]
}

// alone is what anybody would write who has a Kafka client and no need of proofs.
type alone struct {
	cl     *kgo.Client
	topics kafka.Topics
}

func newAlone(b *testing.B, c *process) *alone {
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.cfg.Brokers...), kgo.TransactionalID(c.cfg.Group+"-alone"),
		kgo.ProducerLinger(0), kgo.MetadataMinAge(250*time.Millisecond), kgo.ProducerBatchCompression(kgo.Lz4Compression()))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(cl.Close)
	return &alone{cl: cl, topics: c.cfg.Topics}
}

// records returns the same bytes as records of the client; its default partitioner puts them where the program's does.
func (a *alone) records(events []kafka.Record, state kafka.Record) []*kgo.Record {
	out := make([]*kgo.Record, 0, len(events)+1)
	for _, e := range events {
		r := &kgo.Record{Topic: a.topics.Events, Key: e.Key, Value: e.Value, Timestamp: e.Timestamp, Headers: make([]kgo.RecordHeader, len(e.Headers))}
		for i, h := range e.Headers {
			r.Headers[i] = kgo.RecordHeader{Key: h.Key, Value: h.Value}
		}
		out = append(out, r)
	}
	return append(out, &kgo.Record{Topic: a.topics.State, Key: state.Key, Value: state.Value})
}

func (a *alone) commit(b *testing.B, rs []*kgo.Record) {
	ctx := context.Background()
	if err := a.cl.BeginTransaction(); err != nil {
		b.Fatal(err)
	}
	promise := kgo.AbortingFirstErrPromise(a.cl)
	for _, r := range rs {
		a.cl.Produce(ctx, r, promise.Promise())
	}
	if err := a.cl.Flush(ctx); err != nil {
		b.Fatal(err)
	}
	if err := promise.Err(); err != nil {
		b.Fatal(err)
	}
	if err := a.cl.EndTransaction(ctx, kgo.TryCommit); err != nil {
		b.Fatal(err)
	}
}

// realEvents returns the events of the first rows of a simulated call log, as the program publishes them.
func realEvents(b *testing.B, n int, shard int32) []kafka.Record {
	const tenant = "contoso"
	day := window.Of(time.Now()) - 3
	sim := graphfake.New(graphfake.Config{Seed: 1, Tenants: []graphfake.TenantConfig{
		{ID: tenant, RowsPerDay: n, Flat: true, From: day.Start(), To: day.End()}}})
	convert := row.NewConverter(nil)
	var out []kafka.Record
	for r := range sim.TruthSeq(tenant) {
		v := convert.Convert(r.Versions[0].JSON)
		if v.Reject != nil {
			b.Fatal(v.Reject.Reason)
		}
		now := time.Now()
		v.Call.TenantID, v.Call.RowID, v.Call.ObservedAt = tenant, v.ID, now
		avro, err := schema.AppendPstnCall(nil, v.Call)
		if err != nil {
			b.Fatal(err)
		}
		headers := schema.Headers{RowID: v.ID, TenantID: tenant, Source: "https://graph.microsoft.com/beta", Time: now, Subject: v.Key,
			Fingerprint: v.Fingerprint, Owner: day.String(), Shard: shard, Commit: 1}
		out = append(out, kafka.Record{Key: []byte(v.Key), Value: schema.AppendSingleObject(nil, avro), Headers: headers.Append(nil)})
	}
	if len(out) < n {
		b.Fatalf("%d rows, want %d", len(out), n)
	}
	return out[:n]
}
