package poller_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"pstncalls/internal/clock"
	"pstncalls/internal/graphfake"
	"pstncalls/internal/kafka"
	"pstncalls/internal/poller"
	"pstncalls/internal/schedule"
	"pstncalls/internal/window"
)

// TestTooManyRows says so when a tenant outgrows its set-up, and drops nothing.
func TestTooManyRows(t *testing.T) {
	today := window.Of(time.Now())
	w := newWorld(t, clock.System, schedule.Settings{Interval: 50 * time.Millisecond, Lookback: 48 * time.Hour}, today-1,
		graphfake.Config{Seed: 3, PageSize: 20, Tenants: []graphfake.TenantConfig{{ID: tenant, RowsPerDay: 60, Flat: true,
			From: (today - 1).Start(), To: today.Start()}}})
	w.add(1, today.Start())
	r := w.run("a", setUp{change: func(c *poller.Config) { c.ManyRows = 40 }})
	w.clean("all are published")
	r.stop()
	cs := w.state(r).Header.Conditions
	if len(cs) != 1 || cs[0].Name != "too-many-unsettled" || !strings.Contains(cs[0].Sentence, "POLL_LOOKBACK") {
		t.Errorf("conditions %+v", cs)
	}
	again := w.run("b", setUp{change: func(c *poller.Config) { c.ManyRows = 100 }})
	w.add(1, today.Start())
	w.until("the condition ends", func() bool { return len(w.state(again).Header.Conditions) == 0 })
}

// TestDamagedState refuses a state that cannot be right: it names the record and the way out, and publishes nothing.
func TestDamagedState(t *testing.T) {
	today := window.Of(time.Now())
	day := today - 1
	for _, c := range []struct {
		name, key string
		value     []byte // nil: a tombstone
	}{
		{"a month that is no JSON", "month/2026-01", []byte("{")},
		{"a month with a day that it has not", "month/2026-02", []byte(`{"v":1,"settled":"20000000"}`)},
		{"a month that nothing counts", "month/2026-03", []byte(`{"v":1,"settled":"00000001"}`)},
		{"a ledger record that is lost", "ledger/" + day.String() + "/1", nil},
		{"a ledger record that is cut", "ledger/" + day.String() + "/1", []byte{2, 1, 0x10, 7}},
		{"a window that is lost", "window/" + day.String(), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, clock.System, schedule.Settings{Interval: 50 * time.Millisecond, Lookback: 48 * time.Hour}, day,
				graphfake.Config{Seed: 3, Tenants: []graphfake.TenantConfig{{ID: tenant, RowsPerDay: 20, Flat: true, From: day.Start(), To: today.Start()}}})
			r := w.run("a", setUp{})
			w.clean("before")
			r.stop()
			before := len(w.read(topics.Events))
			w.produce(&kgo.Record{Topic: topics.State, Partition: kafka.ShardOf(tenant, 12), Key: []byte(tenant + "/pstn/" + c.key), Value: c.value})

			again := w.run("b", setUp{})
			select {
			case <-again.done:
			case <-time.After(patience):
				t.Fatal("it goes on")
			}
			err := again.err
			again.err = nil
			if err == nil || !strings.Contains(err.Error(), day.String()) && !strings.Contains(err.Error(), "month/") || !strings.Contains(err.Error(), "restore the state topic") {
				t.Errorf("got %v, want the record and the way out", err)
			}
			if after := len(w.read(topics.Events)); after != before {
				t.Errorf("%d events were published", after-before)
			}
		})
	}
}

func (w *world) produce(rec *kgo.Record) {
	w.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(w.kafka.ListenAddrs()...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		w.Fatal(err)
	}
	defer cl.Close()
	if err := cl.ProduceSync(context.Background(), rec).FirstErr(); err != nil {
		w.Fatal(err)
	}
}
