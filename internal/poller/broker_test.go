package poller_test

import (
	"errors"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"pstncalls/internal/clock"
	"pstncalls/internal/graphfake"
	"pstncalls/internal/schedule"
	"pstncalls/internal/window"
	"pstncalls/schema"
)

func quickWorld(t testing.TB, rows int) (*world, window.Day) {
	today := window.Of(time.Now())
	return newWorld(t, clock.System, schedule.Settings{Interval: 30 * time.Millisecond, Lookback: 7 * 24 * time.Hour}, today-1,
		graphfake.Config{Seed: 8, PageSize: 1000, Tenants: []graphfake.TenantConfig{{ID: tenant, RowsPerDay: rows, Flat: true,
			From: (today - 1).Start(), To: today.Start()}}}), today
}

// brokerFault answers the next n requests of a kind, of commits, with an error, or cuts the connection of the next one if there is
// none. It returns what says how many it hit.
func brokerFault(k *kfake.Cluster, key kmsg.Key, err *kerr.Error, n int) (hits func() int) {
	ofCommit := func(r kmsg.Request) bool { // a command's signal is produced without a transaction
		p, ok := r.(*kmsg.ProduceRequest)
		return !ok || p.TransactionID != nil
	}
	if err != nil {
		return k.Fault(kfake.Fault{Keys: []kmsg.Key{key}, Err: err, Count: n, When: ofCommit}).Hits
	}
	var cuts atomic.Int64
	k.ControlKey(int16(key), func(r kmsg.Request) (kmsg.Response, error, bool) {
		if !ofCommit(r) {
			return nil, nil, false
		}
		cuts.Add(1)
		return nil, errors.New("cut"), true
	})
	return func() int { return int(cuts.Load()) }
}

// TestBrokerTrouble hits a working poller with every kind of failure of a commit.
func TestBrokerTrouble(t *testing.T) {
	w, today := quickWorld(t, 100)
	r := w.run("a", setUp{})
	w.clean("before the faults")
	tests := []struct {
		name string
		key  kmsg.Key
		err  *kerr.Error // nil: the connection is cut
	}{
		{"produce refused", kmsg.Produce, kerr.InvalidRecord},
		{"produce to a moved leader", kmsg.Produce, kerr.NotLeaderForPartition},
		{"produce cut", kmsg.Produce, nil},
		{"end unanswered", kmsg.EndTxn, kerr.RequestTimedOut},
		{"end fenced", kmsg.EndTxn, kerr.InvalidProducerEpoch},
		{"end at a moved coordinator", kmsg.EndTxn, kerr.NotCoordinator},
		{"end cut", kmsg.EndTxn, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := *w
			w.TB = t
			hits := brokerFault(w.kafka, tt.key, tt.err, 1)
			ids := w.add(30, today.Start())
			w.until("the fault fires", func() bool { return hits() > 0 })
			w.correct(ids[0], func(r map[string]any) { r["duration"] = 8 })
			w.clean("after the fault")
		})
	}
	if !r.log.has("session ended") {
		t.Error("no fault ended a session: the test shows little")
	}
}

// TestRejects publishes what cannot be an event on the dead-letter topic, once, and the event once the row is mended.
func TestRejects(t *testing.T) {
	w, today := quickWorld(t, 20)
	huge, wrong, spoilt := newID(), newID(), newID()
	base := func(id string) map[string]any {
		return map[string]any{"id": id, "callId": "call-" + id, "startDateTime": stamp(today.Start()), "duration": 5}
	}
	a, b, c := base(huge), base(wrong), base(spoilt)
	a["newProperty"] = strings.Repeat("x", 1_100_000)
	b["duration"] = "soon"
	w.addRow(a)
	w.addRow(b)
	w.addRow(c)
	r := w.run("a", setUp{})
	events := func(id string) (revisions []int32) {
		for _, rec := range w.read(topics.Events) {
			if call := decode(t, rec); call.RowID == id {
				revisions = append(revisions, call.Revision)
			}
		}
		return revisions
	}
	rejects := func(id string) int {
		n := 0
		for _, rec := range w.read(topics.DLQ) {
			if header(rec, schema.HeaderRowID) == id {
				n++
			}
		}
		return n
	}
	w.until("the rejects are there", func() bool { return rejects(huge) > 0 && rejects(wrong) > 0 && len(events(spoilt)) == 1 })
	for _, rec := range w.read(topics.DLQ) {
		if header(rec, schema.HeaderReason) == "" || header(rec, schema.HeaderTenant) != tenant ||
			header(rec, schema.HeaderWindow) != today.String() || header(rec, schema.HeaderRequestID) == "" {
			t.Errorf("headers %v", rec.Headers)
		}
		full, _ := strconv.Atoi(header(rec, schema.HeaderTruncated))
		switch id := header(rec, schema.HeaderRowID); {
		case id == huge && (full < 1_100_000 || len(rec.Value) >= full || len(rec.Value) < 900_000):
			t.Errorf("the huge row: %d bytes, truncated %d", len(rec.Value), full)
		case id == wrong && (header(rec, schema.HeaderProperty) != "duration" || full != 0):
			t.Errorf("the wrong row: headers %v", rec.Headers)
		}
	}
	// One that was an event and is spoilt is a reject; mended, it is the next revision. One that never was is revision 0.
	w.correct(spoilt, func(r map[string]any) { r["duration"] = "later" })
	w.until("the spoilt row is a reject", func() bool { return rejects(spoilt) == 1 })
	for _, id := range []string{wrong, spoilt} {
		w.correct(id, func(r map[string]any) { r["duration"] = 9 })
	}
	w.until("the mended rows are events", func() bool { return len(events(wrong)) == 1 && len(events(spoilt)) == 2 })
	if got := append(events(wrong), events(spoilt)...); got[0] != 0 || got[1] != 0 || got[2] != 1 {
		t.Errorf("revisions %v, want 0, then 0 and 1", got)
	}
	if n, m, o := rejects(huge), rejects(wrong), rejects(spoilt); n != 1 || m != 1 || o != 1 {
		t.Errorf("%d, %d and %d rejects, want one each", n, m, o)
	}
	r.stop()
}

// BenchmarkWholePath is HTTP page → rows → Avro → transactions, with simulator and embedded Kafka (real produce: black-holed
// transactions would leave no claim to read back) in the same process and on the same cores.
func BenchmarkWholePath(b *testing.B) {
	const rows = 20_000
	for b.Loop() {
		b.StopTimer()
		w, _ := quickWorld(b, rows)
		b.StartTimer()
		r := w.run("a", setUp{})
		done := func() bool {
			families, err := r.metrics.Gather()
			if err != nil {
				b.Fatal(err)
			}
			for _, f := range families {
				if f.GetName() == "pstncalls_events_total" && len(f.GetMetric()) > 0 {
					return f.GetMetric()[0].GetCounter().GetValue() >= rows
				}
			}
			return false
		}
		w.until("all rows are committed", done)
		b.StopTimer()
		r.stop()
		b.StartTimer()
	}
	b.ReportMetric(rows*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}
