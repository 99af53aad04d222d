package poller_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"pstncalls/internal/clock"
	"pstncalls/internal/graphfake"
	"pstncalls/internal/kafka"
	"pstncalls/internal/schedule"
	"pstncalls/internal/state"
	"pstncalls/internal/window"
)

// BenchmarkReadLedgers reads the ledgers of five million unsettled rows from the state topic into memory, as a start does.
func BenchmarkReadLedgers(b *testing.B) {
	const days, perDay, page = 5, 1_000_000, 1000
	w := newWorld(b, clock.System, schedule.Settings{Interval: time.Minute, Lookback: time.Hour}, 0, graphfake.Config{Tenants: []graphfake.TenantConfig{{ID: tenant}}})
	c, err := kafka.New(kafka.Config{Brokers: w.kafka.ListenAddrs(), Topics: topics, Group: "test", GroupProtocol: "classic", SessionTimeout: 6 * time.Second})
	if err != nil {
		b.Fatal(err)
	}
	layout, err := c.Prepare(context.Background(), false)
	if err != nil {
		b.Fatal(err)
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(w.kafka.ListenAddrs()...), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err != nil {
		b.Fatal(err)
	}
	defer cl.Close()
	first := window.Of(time.Now()) - days
	t := state.New(tenant, first)
	bytes := 0
	for n := range days * perDay {
		day := first + window.Day(n/perDay)
		t.Observe(state.Seen{ID: fmt.Sprintf("%08x-0000-4000-8000-%012x", uint32(n)*2654435761, n), HasID: true, Fingerprint: uint64(n), Day: day},
			state.Page{Range: window.Range{From: day, To: day + 1}, Asked: uint64(n), Received: uint64(n), Busy: func(window.Day) bool { return false }})
		if n%page != page-1 {
			continue
		}
		t.Published(day, state.Digest{}, time.Now())
		t.Forget(uint64(n))
		recs, _, err := t.Records()
		if err != nil {
			b.Fatal(err)
		}
		var out []*kgo.Record
		for _, r := range recs {
			bytes += len(r.Value)
			out = append(out, &kgo.Record{Topic: topics.State, Partition: kafka.ShardOf(tenant, layout.StatePartitions), Key: []byte(r.Key), Value: r.Value})
		}
		if err := cl.ProduceSync(context.Background(), out...).FirstErr(); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(int64(bytes))
	for b.Loop() {
		v, err := c.ReadState(context.Background())
		if err != nil {
			b.Fatal(err)
		}
		t, _, err := state.Load(tenant, v.State)
		if err != nil || t.Rows() != days*perDay {
			b.Fatalf("%d rows, %v", t.Rows(), err)
		}
	}
	b.ReportMetric(days*perDay*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}
