package verify_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"pstncalls/internal/kafka"
	"pstncalls/internal/verify"
	"pstncalls/internal/window"
	"pstncalls/schema"
)

func TestProved(t *testing.T) {
	w := newWorld(t)
	for d := today - 5; d <= today; d++ {
		w.scan(d, calls(d, 40))
	}
	late := append(calls(today-3, 42), call{id: id(today-2, 0), day: today - 3, fingerprint: 99}) // two late rows, and one that has moved here and changed
	late[5].fingerprint = 77                                                                      // a correction
	w.scan(today-3, late)
	r := w.verify(verify.Options{})
	want := verify.Verdict{Days: 6, Rows: 242, Proved: 6}
	if diff := cmp.Diff(want, r.Verdict); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if !r.Verdict.OK() {
		t.Error("not OK")
	}
	// A correction counts for the day that owns the row.
	moved := r.Tenants[0].Days[3]
	if moved.Day != today-2 || moved.Topic.Rows != 40 || moved.Topic.Events != 41 {
		t.Errorf("the owner of the row that has moved: %+v", moved)
	}
	one := w.verify(verify.Options{Tenant: tenant, Days: &window.Range{From: today - 1, To: today}})
	if one.Verdict != (verify.Verdict{Days: 1, Rows: 40, Proved: 1}) {
		t.Errorf("one day: %s", one.Verdict)
	}
	w.settle(today)
	if v := w.verify(verify.Options{}).Verdict; v.Proved != v.Days || v.Rows != 242 {
		t.Errorf("after the ledgers have been dropped: %s", v)
	}
}

func TestUnknownTenant(t *testing.T) {
	w := newWorld(t)
	w.scan(today, calls(today, 1))
	_, err := verify.Topics(w.ctx(), w.cluster, w.read(), verify.Options{Tenant: "fabrikam"})
	var unknown *verify.UnknownTenantError
	if !errors.As(err, &unknown) || !strings.Contains(err.Error(), tenant) {
		t.Errorf("error %v", err)
	}
}

// TestDiffers lets one commit of three go wrong: exactly its day differs, and the rows are named where a ledger allows it.
func TestDiffers(t *testing.T) {
	t.Cleanup(verify.SetMaxHeld(7)) // so that the rows are read in three parts
	const day = today - 1
	revised := func() []call {
		rows := calls(day, 10)
		for i := range 5 {
			rows[i].fingerprint += 1000
		}
		return rows
	}
	tests := []struct {
		name    string
		tamper  func(*kafka.Batch)
		foreign func(w *world) []kafka.Record // written after the second commit of the day
		want    verify.Verdict                // Days, Rows and Proved are the same in all
		named   []string                      // with a ledger; what without: "" nothing
		bare    []string
		why     string
	}{
		{name: "an event lost", tamper: func(b *kafka.Batch) { b.Events = b.Events[1:] }, want: verify.Verdict{Missing: 1},
			named: []string{id(day, 0) + "/1 missing"}, why: "14 events are there, 15 were published"},
		{name: "an event twice", tamper: func(b *kafka.Batch) { b.Events = append(b.Events, b.Events[2]) }, want: verify.Verdict{Doubled: 1},
			named: []string{id(day, 2) + "/1 doubled"}, bare: []string{id(day, 2) + "/1 doubled"}, why: "16 events are there, 15 were published"},
		{name: "one lost, one twice", tamper: func(b *kafka.Batch) { b.Events[1] = b.Events[2] }, want: verify.Verdict{Missing: 1, Doubled: 1},
			named: []string{id(day, 1) + "/1 missing", id(day, 2) + "/1 doubled"}, bare: []string{id(day, 2) + "/1 doubled"}, why: "the number of events is right"},
		{name: "a value altered", tamper: func(b *kafka.Batch) { b.Events[3].Value[len(b.Events[3].Value)-1] ^= 1 }, why: "--graph can say"},
		{name: "a fingerprint altered", tamper: func(b *kafka.Batch) {
			b.Events[3].Headers = with(b.Events[3].Headers, schema.HeaderFingerprint, "00000000deadbeef")
		}, want: verify.Verdict{Stale: 1}, named: []string{id(day, 3) + "/1 stale"}, why: "the number of events is right"},
		{name: "a later revision in place of one", tamper: func(b *kafka.Batch) {
			b.Events[4].Headers = with(b.Events[4].Headers, schema.HeaderID, id(day, 4)+"/2")
		}, want: verify.Verdict{Missing: 1, Extra: 1}, named: []string{id(day, 4) + "/1 missing", id(day, 4) + "/2 extra"},
			bare: []string{id(day, 4) + "/1 missing"}, why: "the number of events is right"},
		{name: "another producer's copy", foreign: func(w *world) []kafka.Record { return w.last[:1] }, want: verify.Verdict{Doubled: 1},
			named: []string{id(day, 0) + "/1 doubled"}, bare: []string{id(day, 0) + "/1 doubled"}, why: "16 events are there, 15 were published"},
		{name: "another producer's row", foreign: func(w *world) []kafka.Record {
			r := w.last[0]
			r.Headers = with(with(r.Headers, schema.HeaderID, "f00d/0"), schema.HeaderSubject, "f00d")
			r.Key = []byte("f00d")
			return []kafka.Record{r}
		}, want: verify.Verdict{Extra: 1}, named: []string{"f00d/0 extra"}, why: "16 events are there, 15 were published"},
		{name: "a commit that was never made", foreign: func(w *world) []kafka.Record {
			r := w.last[0]
			r.Headers = with(r.Headers, schema.HeaderCommit, fmt.Sprintf("%d/%d", w.session.Shard(), 1000))
			return []kafka.Record{r}
		}, want: verify.Verdict{Doubled: 1}, named: []string{id(day, 0) + "/1 doubled"}, bare: []string{id(day, 0) + "/1 doubled"}, why: "there is an event of commit 1000"},
		{name: "another shard", foreign: func(w *world) []kafka.Record {
			r := w.last[0]
			r.Headers = with(r.Headers, schema.HeaderCommit, fmt.Sprintf("%d/1", (w.session.Shard()+1)%12))
			return []kafka.Record{r}
		}, want: verify.Verdict{Doubled: 1}, named: []string{id(day, 0) + "/1 doubled"}, bare: []string{id(day, 0) + "/1 doubled"}, why: "somebody else wrote them"},
		{name: "another key", tamper: func(b *kafka.Batch) { b.Events[0].Key = []byte("elsewhere") }, why: "1 events are on another key"},
	}
	for _, tt := range tests {
		for _, bare := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, ledger dropped %t", tt.name, bare), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				w.scan(day-1, calls(day-1, 10))
				w.scan(day, calls(day, 10))
				w.tamper = tt.tamper
				w.scan(day, revised())
				if tt.foreign != nil {
					w.foreign(tt.foreign(w)...)
				}
				w.scan(today, calls(today, 10))
				named := tt.named
				if bare {
					w.settle(day)
					named = tt.bare
				}
				r := w.verify(verify.Options{})
				var differ []string
				var got []string
				why := ""
				for _, d := range r.Tenants[0].Days {
					if d.Proof == verify.Proved {
						continue
					}
					differ = append(differ, d.Day.String())
					why = d.Why
					for _, n := range d.Rows {
						got = append(got, fmt.Sprintf("%s/%d %s", n.RowID, n.Revision, n.What))
					}
				}
				if diff := cmp.Diff([]string{day.String()}, differ); diff != "" {
					t.Errorf("days that differ: -want +got:\n%s", diff)
				}
				if diff := cmp.Diff(named, got); diff != "" {
					t.Errorf("rows: -want +got:\n%s", diff)
				}
				if !strings.Contains(why, tt.why) {
					t.Errorf("why: %q, want %q", why, tt.why)
				}
				if r.Verdict.Differs != 1 || r.Verdict.Proved != r.Verdict.Days-1 || r.Verdict.OK() {
					t.Errorf("%s", r.Verdict)
				}
				if want := tt.want; !bare {
					if diff := cmp.Diff(want, r.Verdict, cmpopts.IgnoreFields(verify.Verdict{}, "Days", "Rows", "Proved", "Differs")); diff != "" {
						t.Errorf("-want +got:\n%s", diff)
					}
				}
			})
		}
	}
}

// TestTooMany has more events on the days that differ than will be held.
func TestTooMany(t *testing.T) {
	w := newWorld(t)
	w.tamper = func(b *kafka.Batch) { b.Events = append(b.Events, b.Events[0]) }
	w.scan(today, calls(today, 40))
	t.Cleanup(verify.SetMaxHeld(5))
	r := w.verify(verify.Options{})
	if d := r.Tenants[0].Days[0]; d.Proof != verify.Differs || len(d.Rows) > 0 || !strings.Contains(d.Why, "hold more than 40 events: name fewer") || r.Verdict.Extra != 1 {
		t.Errorf("%s: %+v", r.Verdict, d)
	}
}

// TestForeign has records on the topic that are no events of ours: they are counted, and no day differs for it.
func TestForeign(t *testing.T) {
	w := newWorld(t)
	w.scan(today, calls(today, 3))
	w.foreign(kafka.Record{Key: []byte("k"), Value: []byte("hello")}, kafka.Record{Value: []byte{}})
	r := w.verify(verify.Options{})
	if r.Foreign != 2 || len(r.First) != 2 || !strings.Contains(r.First[0].Why, "ce_specversion: missing") || r.Verdict.Proved != 1 || !r.Verdict.OK() {
		t.Errorf("%+v", r)
	}
}

// TestOtherTenant has events of a tenant that the state has never heard of.
func TestOtherTenant(t *testing.T) {
	w := newWorld(t)
	w.scan(today, calls(today, 3))
	r := w.last[0]
	r.Headers = with(r.Headers, schema.HeaderSource, "https://graph.example/beta/fabrikam/getPstnCalls")
	w.foreign(r)
	rep := w.verify(verify.Options{})
	if len(rep.Tenants) != 2 || rep.Tenants[1].Days[0].Proof != verify.Differs || rep.Verdict.Extra != 1 || rep.Verdict.Proved != 1 {
		t.Errorf("%+v", rep)
	}
}

// TestProducerAtWork has commits made between the reading of the state and that of the events: they change nothing.
func TestProducerAtWork(t *testing.T) {
	w := newWorld(t)
	w.scan(today, calls(today, 10))
	rows := calls(today, 12)
	rows[0].fingerprint = 500
	before := w.read()
	w.scan(today, rows)
	r, err := verify.Topics(w.ctx(), w.cluster, before, verify.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if r.Verdict != (verify.Verdict{Days: 1, Rows: 10, Proved: 1}) {
		t.Errorf("%s", r.Verdict)
	}
	if r.Records != 13 {
		t.Errorf("%d records read, want 13: the test shows nothing", r.Records)
	}
}

// TestRetention removes the oldest events: what may be missing for that is unproven, what has nothing to do with it still proved.
func TestRetention(t *testing.T) {
	w := newWorld(t)
	w.scan(today-3, calls(today-3, 60))
	cl, err := kgo.NewClient(kgo.SeedBrokers(w.brokers...))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	adm, topic := kadm.NewClient(cl), w.cluster.Topics().Events
	ends, err := adm.ListEndOffsets(w.ctx(), topic)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := adm.DeleteRecords(w.ctx(), ends.Offsets()); err != nil {
		t.Fatal(err)
	}
	w.scan(today-2, calls(today-2, 60))
	r := w.verify(verify.Options{})
	if r.Verdict != (verify.Verdict{Days: 2, Rows: 60, Proved: 1, Unproven: 1}) || !r.Verdict.OK() {
		t.Errorf("%s", r.Verdict)
	}
	if d := r.Tenants[0].Days[0]; d.Proof != verify.Unproven || !strings.Contains(d.Why, "no longer on the topic") {
		t.Errorf("%+v", d)
	}
}

// TestRetentionMeanwhile removes the oldest events while they are read, before the reader comes to them: the first time, when they are
// counted, or the second time, when the rows of a day that differs are named.
func TestRetentionMeanwhile(t *testing.T) {
	for _, tt := range []struct {
		time int
		want verify.Verdict
	}{
		{time: 1}, // how much is read before is chance
		{2, verify.Verdict{Days: 3, Proved: 2, Differs: 1, Extra: 1, Rows: 181}},
	} {
		fake := newFake(t)
		w := worldOn(t, fake.ListenAddrs())
		if tt.time == 2 {
			w.tamper = func(b *kafka.Batch) { b.Events = append(b.Events, b.Events[0]) }
		}
		w.scan(today-3, calls(today-3, 60))
		w.scan(today-2, calls(today-2, 60))
		cl, err := kgo.NewClient(kgo.SeedBrokers(fake.ListenAddrs()...))
		if err != nil {
			t.Fatal(err)
		}
		defer cl.Close()
		adm, topic := kadm.NewClient(cl), w.cluster.Topics().Events
		ends, err := adm.ListEndOffsets(w.ctx(), topic)
		if err != nil {
			t.Fatal(err)
		}
		w.scan(today-1, calls(today-1, 60))
		view := w.read()
		var removed atomic.Bool
		begun := map[int32]int{} // how often a partition was read from its beginning
		fake.ControlKey(int16(kmsg.Fetch), func(req kmsg.Request) (kmsg.Response, error, bool) {
			fake.KeepControl()
			p := req.(*kmsg.FetchRequest).Topics[0].Partitions[0]
			if p.FetchOffset == 0 {
				begun[p.Partition]++
			}
			if begun[p.Partition] == tt.time && removed.CompareAndSwap(false, true) {
				fake.SleepControl(func() {
					if _, err := adm.DeleteRecords(w.ctx(), ends.Offsets()); err != nil {
						t.Error(err)
					}
				})
			}
			return nil, nil, false
		})
		r, err := verify.Topics(w.ctx(), w.cluster, view, verify.Options{})
		if err != nil {
			t.Fatal(err)
		}
		got := r.Verdict
		if tt.time == 1 {
			if got.Unproven == 0 || got.Unproven+got.Proved != 3 || got.Missing+got.Extra > 0 {
				t.Errorf("%s", got)
			}
			continue
		}
		if got != tt.want || len(r.Tenants[0].Days[0].Rows) > 0 || !strings.Contains(r.Tenants[0].Days[0].Why, "61 events are there, 60 were published; its rows are not named, for retention") {
			t.Errorf("%s: %+v", got, r.Tenants[0].Days[0])
		}
	}
}

// TestInterrupted ends before all has been read: while an open transaction holds up a partition. What was read by then is told, as
// partial; nothing is proved, and a day that has too many events already differs.
func TestInterrupted(t *testing.T) {
	w := newWorld(t)
	w.scan(today-1, calls(today-1, 40))
	w.tamper = func(b *kafka.Batch) { b.Events = append(b.Events, b.Events[0]) }
	w.scan(today, calls(today, 40))
	w.foreign(kafka.Record{Key: []byte("k"), Value: []byte("hello")})
	view := w.read()

	canceled, cancel := context.WithCancel(w.ctx())
	cancel()
	if r, err := verify.Topics(canceled, w.cluster, view, verify.Options{}); !errors.Is(err, context.Canceled) || r != nil {
		t.Errorf("before anything was read: error %v, report %+v", err, r)
	}

	w.open()
	ctx, cancel := context.WithCancel(w.ctx())
	r, err := verify.Topics(ctx, w.cluster, view, verify.Options{Progress: func(read, of int64) {
		if read == of-1 { // all but the open record, which lies behind the foreign one
			cancel()
		}
	}})
	if !errors.Is(err, context.Canceled) || r == nil {
		t.Fatalf("error %v, report %+v", err, r)
	}
	want := verify.Verdict{Days: 2, Rows: 81, Differs: 1, Extra: 1, Unproven: 1, Partial: true}
	if diff := cmp.Diff(want, r.Verdict); diff != "" || r.Verdict.OK() || r.Foreign != 1 {
		t.Errorf("%d foreign; -want +got:\n%s", r.Foreign, diff)
	}
	if !strings.HasPrefix(r.Verdict.String(), "partial verdict: ") || !strings.Contains(r.Partial, "interrupted after ") {
		t.Errorf("%s: %s", r.Verdict, r.Partial)
	}
	if d := r.Tenants[0].Days[0]; !strings.Contains(d.Why, "40 of its 40 events had been read") {
		t.Errorf("%+v", d)
	}
}

// TestFreshStart has events from before the state's first start, of a state that was lost: they are not this state's.
func TestFreshStart(t *testing.T) {
	w := newWorld(t)
	w.scan(today, calls(today, 5))
	lost := w.last
	w.session.Close()
	w.restart()
	w.scan(today, calls(today, 3))
	r := w.verify(verify.Options{})
	if r.Verdict != (verify.Verdict{Days: 1, Rows: 3, Proved: 1}) || r.Records != 3 {
		t.Errorf("%s of %d records", r.Verdict, r.Records)
	}
	w.foreign(lost[0]) // now it lies behind the start
	if v := w.verify(verify.Options{}).Verdict; v.Differs != 1 || v.Doubled != 1 {
		t.Errorf("%s", v)
	}
}

// TestRejectAfterEvent has a row that became a reject after its event: its fingerprint is not the event's, and that is no fault.
func TestRejectAfterEvent(t *testing.T) {
	w := newWorld(t)
	rows := calls(today, 3)
	w.scan(today, rows)
	rows[0].fingerprint, rows[0].rejected = 900, true
	w.scan(today, rows)
	rows[1].fingerprint = 901
	w.tamper = func(b *kafka.Batch) { b.Events = nil }
	w.scan(today, rows)
	r := w.verify(verify.Options{})
	if v := r.Verdict; v.Differs != 1 || v.Missing != 1 || v.Stale != 0 {
		t.Errorf("%s: %+v", v, r.Tenants[0].Days[0].Rows)
	}
}
