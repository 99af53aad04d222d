package main

import (
	"context"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"pstncalls/internal/graphfake"
)

// follower is a read_committed consumer that reads the events from the beginning on, while they are written: a plain one, which
// shares nothing with the program's own reader.
type follower struct {
	mu        sync.Mutex
	seen      map[int32][]mark // by partition
	published map[string]int32 // the newest revision, by row id
	err       error
}

// mark stands for a record: its offset, and what it says.
type mark struct {
	offset int64
	sum    uint64
}

var markSeed = maphash.MakeSeed()

func markOf(rec *kgo.Record) mark {
	var h maphash.Hash
	h.SetSeed(markSeed)
	h.Write(rec.Key)
	h.Write(rec.Value)
	for _, header := range rec.Headers {
		h.WriteString(header.Key)
		h.Write(header.Value)
	}
	return mark{rec.Offset, h.Sum64()}
}

func follow(t *testing.T, w *world) *follower {
	t.Helper()
	f := &follower{seen: map[int32][]mark{}, published: map[string]int32{}}
	w.consume(w.name, f.take)
	return f
}

// consume calls take for each committed record of a topic, from the beginning on, until the test ends.
func (w *world) consume(topic string, take func(*kgo.Record)) {
	w.t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(w.brokers...), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.MetadataMinAge(250*time.Millisecond))
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var reading sync.WaitGroup
	reading.Go(func() {
		for ctx.Err() == nil {
			for it := cl.PollFetches(ctx).RecordIter(); !it.Done(); {
				take(it.Next())
			}
		}
	})
	w.t.Cleanup(func() {
		cancel()
		reading.Wait()
		cl.Close()
	})
}

func (f *follower) take(rec *kgo.Record) {
	e, err := eventOf(rec)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seen[rec.Partition] = append(f.seen[rec.Partition], markOf(rec))
	if err != nil {
		f.err = err
		return
	}
	f.published[e.RowID] = e.Revision
}

// revision returns the newest revision of a row that the reader was shown, -1 if none.
func (f *follower) revision(id string) int32 {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r, ok := f.published[id]; ok {
		return r
	}
	return -1
}

// events returns how many the reader was shown.
func (f *follower) events() (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, seen := range f.seen {
		n += len(seen)
	}
	return n
}

// differs says where what was followed is not what a reader is shown that comes afterwards; "" is nowhere.
func (f *follower) differs(afterwards []*kgo.Record) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return f.err.Error()
	}
	want := map[int32][]mark{}
	for _, rec := range afterwards {
		want[rec.Partition] = append(want[rec.Partition], markOf(rec))
	}
	for p := range max(len(want), len(f.seen)) {
		p := int32(p)
		if !slices.Equal(f.seen[p], want[p]) {
			return fmt.Sprintf("partition %d: the reader during the soak saw %d records, the one afterwards %d, or others", p, len(f.seen[p]), len(want[p]))
		}
	}
	return ""
}

// source changes the call log while it is polled.
type source struct {
	t        *testing.T
	w        *world
	follower *follower
	rng      *rand.Rand
	rows     []*sourceRow
	added    int
	waiting  map[*sourceRow]bool // rows of today that no reader has been shown yet
	longest  time.Duration       // that one of them has waited
}

type sourceRow struct {
	tenant, id string
	contents   int32     // versions that say something else than the one before
	since      time.Time // of the last change
	gone       bool
}

func newSource(t *testing.T, w *world, f *follower, seed uint64) *source {
	s := &source{t: t, w: w, follower: f, rng: rand.New(rand.NewPCG(seed, 1)), waiting: map[*sourceRow]bool{}}
	for _, tenant := range w.graph.Tenants() {
		for row := range w.graph.TruthSeq(tenant) {
			if row.ID != "" {
				s.rows = append(s.rows, &sourceRow{tenant: tenant, id: row.ID, contents: 1, since: row.Versions[0].VisibleFrom})
			}
		}
	}
	return s
}

// change lets something happen: calls appear, most of them of today; others are corrected, start at another time, vanish, come back.
// A row vanishes only when all that it ever said was published: what nobody could read is not lost.
func (s *source) change() {
	s.t.Helper()
	now := time.Now()
	at := now.Add(20 * time.Millisecond)
	what, row, start, serial := s.rng.IntN(100), s.pick(), s.start(now), s.rng.Int64N(2e9)
	settled := now.Sub(row.since) > 200*time.Millisecond
	var err error
	switch {
	case what < 55:
		err = s.add(start, serial, at)
	case !settled:
		return
	case what < 90:
		change := func(r map[string]any) { r["duration"] = serial }
		if what >= 80 {
			change = func(r map[string]any) { r["duration"], r["startDateTime"] = serial, stamp(start) }
		}
		if err = s.w.graph.CorrectRow(row.tenant, row.id, change, at); err == nil {
			row.contents, row.gone, row.since = row.contents+1, false, at
		}
	case row.gone:
		if err = s.w.graph.RestoreRow(row.tenant, row.id, at); err == nil {
			row.gone, row.since = false, at
		}
	case s.follower.revision(row.id) == row.contents-1:
		if err = s.w.graph.RemoveRow(row.tenant, row.id, at); err == nil {
			row.gone, row.since = true, at
		}
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// pick returns a row; every second time one of the newest.
func (s *source) pick() *sourceRow {
	n, newest := s.rng.IntN(len(s.rows)), s.rng.IntN(2) == 0
	if newest {
		n = len(s.rows) - 1 - n%min(len(s.rows), 100)
	}
	return s.rows[n]
}

// start returns when a call may have started: in the days that are polled, most often today.
func (s *source) start(now time.Time) time.Time {
	midnight, back, part := now.UTC().Truncate(24*time.Hour), max(0, s.rng.IntN(6)-3), s.rng.Float64()
	if back == 0 {
		return midnight.Add(time.Duration(part * float64(now.Sub(midnight))))
	}
	return midnight.Add(-time.Duration(back) * 24 * time.Hour).Add(time.Duration(part * float64(24*time.Hour)))
}

func stamp(start time.Time) string { return start.UTC().Format("2006-01-02T15:04:05.0000000Z") }

// add adds a few calls at once, which may share a callId.
func (s *source) add(start time.Time, serial int64, at time.Time) error {
	tenants := s.w.graph.Tenants()
	tenant := tenants[s.rng.IntN(len(tenants))]
	for i := range 1 + s.rng.IntN(4) {
		id := fmt.Sprintf("%08x-0000-4000-8000-%012x", s.added, s.rng.Uint64()&0xffffffffffff)
		s.added++
		row := map[string]any{"id": id, "callId": fmt.Sprintf("call-%d", serial%500), "startDateTime": stamp(start),
			"duration": serial + int64(i), "charge": 0.25, "currency": "EUR"}
		if err := s.w.graph.AddRow(tenant, row, at); err != nil {
			return err
		}
		r := &sourceRow{tenant: tenant, id: id, contents: 1, since: at}
		s.rows = append(s.rows, r)
		if !start.Before(at.UTC().Truncate(24 * time.Hour)) {
			s.waiting[r] = true
		}
	}
	return nil
}

// wait notes how long rows of today have been waiting for a reader to be shown them, and returns how long the oldest has.
func (s *source) wait() (oldest time.Duration, id string) {
	for r := range s.waiting {
		if s.follower.revision(r.id) >= 0 || r.contents > 1 || r.gone { // since counts from the last change
			delete(s.waiting, r)
			continue
		}
		if d := time.Since(r.since); d > oldest {
			oldest, id = d, r.id
		}
	}
	s.longest = max(s.longest, oldest)
	return oldest, id
}

// misbehaviour is what Graph does to some of the next requests. Broken text is not among it: a row that says something broken once
// and the same as before afterwards has changed twice, and the log's truth does not know.
func misbehaviour(rng *rand.Rand) graphfake.Fault {
	f := []graphfake.Fault{
		{Kind: graphfake.Status, Status: 429, RetryAfter: "1"}, {Kind: graphfake.Status, Status: 429, RetryAfter: "2"},
		{Kind: graphfake.Status, Status: 503, RetryAfter: "1"}, {Kind: graphfake.Status, Status: 500}, {Kind: graphfake.Status, Status: 504},
		{Kind: graphfake.Reset}, {Kind: graphfake.ResetBody}, {Kind: graphfake.Truncate}, {Kind: graphfake.TruncateGzip},
		{Kind: graphfake.HTML}, {Kind: graphfake.NoValue}, {Kind: graphfake.NullValue}, {Kind: graphfake.ObjectValue}, {Kind: graphfake.ErrorIn200},
		{Kind: graphfake.EmptyPage}, {Kind: graphfake.LinkLoop}, {Kind: graphfake.LyingCount},
		{Kind: graphfake.Slow, Delay: 400 * time.Millisecond}, {Kind: graphfake.Stall, Delay: 400 * time.Millisecond},
	}[rng.IntN(19)]
	f.Count, f.After = 1+rng.IntN(3), rng.IntN(20)
	return f
}
