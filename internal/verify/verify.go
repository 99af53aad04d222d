package verify

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"pstncalls/internal/kafka"
	"pstncalls/internal/state"
	"pstncalls/internal/window"
)

// Options say what is to be proved.
type Options struct {
	Tenant string        // only this one; "": all
	Days   *window.Range // only these owner windows; nil: all
	// Progress is told, by one goroutine, how many records of how many have been read; nil: nobody.
	Progress func(read, of int64)
}

func (o Options) wanted(k dayKey) bool {
	return (o.Tenant == "" || o.Tenant == k.tenant) && (o.Days == nil || o.Days.Contains(k.day))
}

// Report is what was found.
type Report struct {
	Partial string    `json:"partial,omitempty"` // why it is not the whole of it; "": it is
	Tenants []Tenant  `json:"tenants"`
	Records int64     `json:"records"` // that were read
	Foreign int64     `json:"foreign"` // of them: no event of this program
	First   []Foreign `json:"firstForeign,omitempty"`
	Past    int64     `json:"forgotten,omitempty"` // of them: of tenants that have been forgotten since
	Verdict Verdict   `json:"verdict"`
}

// Verdict sums a report up. Missing, Extra, Stale and Doubled are events, those of unproven days not among them.
type Verdict struct {
	Days     int   `json:"days"`
	Rows     int64 `json:"rows"` // on the topic
	Proved   int   `json:"proved"`
	Differs  int   `json:"differs"`
	Missing  int64 `json:"missing"`
	Extra    int64 `json:"extra"`
	Stale    int64 `json:"stale"`
	Doubled  int64 `json:"doubled"`
	Unproven int   `json:"unproven"`
	Partial  bool  `json:"partial,omitempty"` // not all was read
}

// OK reports whether nothing is left unexplained.
func (v Verdict) OK() bool {
	return !v.Partial && v.Differs == 0 && v.Missing+v.Extra+v.Stale+v.Doubled == 0
}

// String begins with the word verdict only if it is one.
func (v Verdict) String() string {
	partial := ""
	if v.Partial {
		partial = "partial "
	}
	return partial + fmt.Sprintf("verdict: days=%d rows=%d proved=%d differs=%d missing=%d extra=%d stale=%d doubled=%d unproven=%d",
		v.Days, v.Rows, v.Proved, v.Differs, v.Missing, v.Extra, v.Stale, v.Doubled, v.Unproven)
}

// RefusedError says why these topics cannot be compared at all.
type RefusedError struct{ Reason string }

func (e *RefusedError) Error() string { return e.Reason }

// StateError says that the state cannot be read: which of its records is damaged, or written by a newer version.
type StateError struct{ Err error }

func (e *StateError) Error() string { return e.Err.Error() }
func (e *StateError) Unwrap() error { return e.Err }

// UnknownTenantError says that the state has never heard of a tenant.
type UnknownTenantError struct {
	Tenant string
	Known  []string
}

func (e *UnknownTenantError) Error() string {
	return fmt.Sprintf("tenant %q is not in the state, which knows %q", e.Tenant, e.Known)
}

// Topics proves the events topic against a state that was read before. When ctx ends, it returns its error and a partial report of
// what was read by then, or nil where that is nothing.
func Topics(ctx context.Context, c *kafka.Cluster, view *kafka.StateView, o Options) (*Report, error) {
	tenants, err := load(view)
	if err != nil {
		return nil, err
	}
	if o.Tenant != "" && tenants[o.Tenant] == nil {
		return nil, &UnknownTenantError{o.Tenant, slices.Sorted(maps.Keys(tenants))}
	}
	log, err := openLog(ctx, c, view)
	if err != nil {
		return nil, err
	}
	counted, err := log.count(ctx, o)
	var now map[int32]kafka.Mark
	if err == nil {
		now, err = c.MarksNow(ctx, view)
	}
	if err != nil && ctx.Err() == nil {
		return nil, err
	}
	r := &Report{Records: counted.records, Foreign: counted.foreign, First: counted.first, Past: counted.past}
	r.Tenants = judge(evidence{tenants, counted.tally, view.Marks, now, view.Shards, counted.removed, err != nil}, o.wanted)
	if err != nil {
		r.end(fmt.Sprintf("interrupted after %d of %d offsets of the events topic: no day is proved before all have been read", counted.read, counted.of))
		return r, err
	}
	roll := newRoll(r.Tenants)
	for part := uint64(0); len(roll.days) > 0 && part < roll.parts; part++ {
		roll.begin(part)
		switch err := log.call(ctx, roll, now); {
		case err == nil:
			roll.name(r.Tenants, tenants, log.removed)
		case ctx.Err() == nil:
			return nil, err
		default:
			r.end("interrupted while the days that differ were read again: all days are judged, and not all rows are named")
			return r, err
		}
	}
	r.end("")
	return r, nil
}

// end sums up; partial says why it is not the whole.
func (r *Report) end(partial string) {
	r.Verdict = sum(r.Tenants)
	r.Partial, r.Verdict.Partial = partial, partial != ""
}

// load reads the tenants of a state.
func load(view *kafka.StateView) (map[string]*state.Tenant, error) {
	records := map[string]map[string][]byte{}
	for key, value := range view.State {
		id, ok := state.TenantOf(key)
		if !ok {
			continue
		}
		if records[id] == nil {
			records[id] = map[string][]byte{}
		}
		records[id][key] = value
	}
	out := map[string]*state.Tenant{}
	for id, rs := range records {
		t, ok, err := state.Load(id, rs)
		if err != nil {
			return nil, &StateError{fmt.Errorf("tenant %s: %w", id, err)}
		}
		if ok {
			out[id] = t
		}
	}
	return out, nil
}

// eventLog is the part of the events topic that a proof is about.
type eventLog struct {
	c           *kafka.Cluster
	view        *kafka.StateView
	topic       string
	from, until map[int32]int64
	cut         map[int32]bool   // partitions whose first events are gone
	forgotten   map[string]int64 // by tenant: the commit up to which its events count for nothing
	starts      map[int32]int64  // where the partitions begin
	removed     time.Time        // of the oldest event that is left where some were removed since the log was opened
}

func openLog(ctx context.Context, c *kafka.Cluster, view *kafka.StateView) (*eventLog, error) {
	return openTopic(ctx, c, c.Topics().Events, view)
}

func openTopic(ctx context.Context, c *kafka.Cluster, topic string, view *kafka.StateView) (*eventLog, error) {
	r, err := c.NewReader()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	l := &eventLog{c: c, view: view, topic: topic, from: map[int32]int64{}, cut: map[int32]bool{}, forgotten: map[string]int64{}}
	for key := range view.State {
		if tenant, ok := state.TenantOf(key); ok && l.forgotten[tenant] == 0 {
			if l.forgotten[tenant], err = state.Forgotten(tenant, view.State); err != nil {
				return nil, &StateError{err}
			}
		}
	}
	id, err := r.TopicID(ctx, l.topic)
	if err != nil {
		return nil, err
	}
	if view.Events != "" && view.Events != id {
		return nil, &RefusedError{fmt.Sprintf("events topic %s was created anew since the state was written: what it held is gone", l.topic)}
	}
	if l.starts, err = r.Starts(ctx, l.topic); err != nil {
		return nil, err
	}
	if l.until, err = r.Ends(ctx, l.topic); err != nil {
		return nil, err
	}
	for p, start := range l.starts {
		l.from[p], l.cut[p] = max(start, view.Begun[p]), start > view.Begun[p]
	}
	return l, nil
}

// count is what was counted of the log, as far as it was read.
type count struct {
	*tally
	removed  time.Time // see evidence
	read, of int64     // offsets
}

// count recounts all partitions, each with a reader of its own.
func (l *eventLog) count(ctx context.Context, o Options) (count, error) {
	var read atomic.Int64
	sum := count{tally: newTally(l.view.Shards, l.forgotten)}
	for p, end := range l.until {
		sum.of += max(0, end-l.from[p])
	}
	stop := progress(ctx, o.Progress, &read, sum.of)
	defer stop()
	var mu sync.Mutex
	err := l.each(ctx, func(recs iter.Seq2[kafka.Record, error], p int32) error {
		t, oldest := newTally(l.view.Shards, l.forgotten), time.Time{}
		at := l.from[p]
		var failed error
		for rec, err := range recs {
			if failed = err; err != nil {
				break
			}
			if oldest.IsZero() {
				oldest = rec.Timestamp
			}
			t.note(&rec, l.view.Marks, o.wanted)
			read.Add(rec.Offset + 1 - at) // by offsets: control records and aborted ones are of the way, too
			at = rec.Offset + 1
		}
		if failed == nil {
			read.Add(max(0, l.until[p]-at))
		}
		mu.Lock()
		defer mu.Unlock()
		sum.add(t)
		if l.cut[p] {
			if oldest.IsZero() { // all of it is gone
				oldest = time.Now()
			}
			if oldest.After(sum.removed) {
				sum.removed = oldest
			}
		}
		return failed
	})
	sum.read = read.Load()
	if err == nil {
		err = l.look(ctx)
	}
	if l.removed.After(sum.removed) {
		sum.removed = l.removed
	}
	return sum, err
}

// look takes note of what retention has removed since the log was opened: it may not have been read before.
func (l *eventLog) look(ctx context.Context) error {
	r, err := l.c.NewReader()
	if err != nil {
		return err
	}
	defer r.Close()
	starts, err := r.Starts(ctx, l.topic)
	if err != nil {
		return err
	}
	for p, start := range starts {
		if start <= max(l.starts[p], l.from[p]) {
			continue
		}
		l.starts[p] = start
		oldest := time.Now() // unless something is left
		for rec, err := range r.Partition(ctx, l.topic, p, start, l.until[p]) {
			if err != nil {
				return fmt.Errorf("events topic %s, partition %d: %w", l.topic, p, err)
			}
			oldest = rec.Timestamp
			break
		}
		if oldest.After(l.removed) {
			l.removed = oldest
		}
	}
	return nil
}

// call reads the days that differ again, to name their rows.
func (l *eventLog) call(ctx context.Context, r *roll, now map[int32]kafka.Mark) error {
	differs := map[dayKey]bool{}
	for k := range r.days {
		differs[k] = true
	}
	var mu sync.Mutex
	err := l.each(ctx, func(recs iter.Seq2[kafka.Record, error], _ int32) error {
		parser := newParser(l.view.Shards, l.forgotten)
		for rec, err := range recs {
			if err != nil {
				return err
			}
			e, err := parser.parse(&rec)
			if err != nil || e.forgotten || !differs[e.dayKey] {
				continue
			}
			mu.Lock()
			r.note(e, Place{rec.Partition, rec.Offset}, l.view.Marks, now)
			mu.Unlock()
		}
		return nil
	})
	if err != nil {
		return err
	}
	return l.look(ctx)
}

// atOnce is how many partitions are read at once: more cost memory, and two processors have enough to do with fewer.
const atOnce = 8

// each calls do for every partition, several at once. The first error ends the others.
func (l *eventLog) each(ctx context.Context, do func(recs iter.Seq2[kafka.Record, error], p int32) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	places := make(chan struct{}, atOnce)
	for p := range l.until {
		places <- struct{}{}
		wg.Go(func() {
			defer func() { <-places }()
			r, err := l.c.NewReader()
			if err == nil {
				defer r.Close()
				err = do(r.Partition(ctx, l.topic, p, l.from[p], l.until[p]), p)
			}
			if err != nil {
				cancel(fmt.Errorf("events topic %s, partition %d: %w", l.topic, p, err))
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

const progressEvery = time.Second

// progress tells how far the count is until the returned function is called, which waits for its end.
func progress(ctx context.Context, tell func(read, of int64), read *atomic.Int64, of int64) (stop func()) {
	if tell == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(progressEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				tell(read.Load(), of)
			case <-ctx.Done():
				return
			}
		}
	})
	return func() { cancel(); wg.Wait() }
}

// sum sums up. Where rows cannot be named, the number of events says how many are too few or too many.
func sum(tenants []Tenant) (v Verdict) {
	for _, t := range tenants {
		for _, d := range t.Days {
			v.Days++
			v.Rows += d.Topic.Rows
			switch d.Proof {
			case Proved:
				v.Proved++
				continue
			case Unproven:
				v.Unproven++
				continue
			case Differs:
				v.Differs++
			}
			left := d.there - d.State.Events
			for _, n := range d.Rows {
				switch n.What {
				case Missing:
					v.Missing++
					left++
				case Extra:
					v.Extra += int64(len(n.Places))
					left -= int64(len(n.Places))
				case Doubled:
					v.Doubled += int64(len(n.Places) - 1)
					left -= int64(len(n.Places) - 1)
				case Stale, Altered:
					v.Stale++
				}
			}
			if d.byGraph {
				continue // the number of events is right
			}
			if !d.unread {
				v.Missing += max(-left, 0)
			}
			v.Extra += max(left, 0)
		}
	}
	return v
}
