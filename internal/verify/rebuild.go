package verify

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"sync"
	"time"

	"pstncalls/internal/kafka"
	"pstncalls/internal/state"
	"pstncalls/internal/window"
	"pstncalls/schema"
)

// Settled is what is kept of a tenant's settled days, and where its events can be.
type Settled struct {
	Tenant string
	Days   map[window.Day]state.SettledDay // those without a ledger
	Shards int32
	Events string          // id of the events topic that the state belongs to
	Begun  map[int32]int64 // by partition of it: where the state's events begin
	// Forgotten is the commit up to which the tenant's events count for nothing: it had been forgotten.
	Forgotten int64
}

// LostError says why the ledger of a settled day cannot be rebuilt.
type LostError struct {
	Day    window.Day
	Reason string
}

func (e *LostError) Error() string { return fmt.Sprintf("%s: %s", e.Day, e.Reason) }

// Rebuild reads from the events topic the ledgers of the settled days of read that have none any more, and proves each against the rows,
// events and digest that the state has kept. With them come the ledgers, as well proved, of other such days in which rows have lived
// that a scan of read may show: without them these rows would look like new ones. A *LostError says that retention has removed
// what is needed, or that the topic does not hold what the state says.
func Rebuild(ctx context.Context, c *kafka.Cluster, s Settled, read map[window.Day]bool) (map[window.Day][]state.Known, error) {
	days := map[window.Day]bool{}
	for day := range read {
		if _, dropped := s.Days[day]; dropped {
			days[day] = true
		}
	}
	var known map[string]bool
	for {
		found, err := s.collect(ctx, c, days, read, known)
		if err != nil {
			return nil, err
		}
		more := found.owners(s, days, read)
		if len(more) == 0 && (known != nil || len(found.lives) == 0) {
			ledgers := found.ledgers(days)
			rejects, err := s.rejects(ctx, c, days, s.since(days, read))
			if err != nil {
				return nil, err
			}
			refuse(ledgers, rejects)
			return ledgers, nil
		}
		maps.Copy(days, more)
		known = found.ids(read)
	}
}

// life is a row in one owner window: re-dated when that one's ledger was gone, it begins another in another window.
type life struct {
	rowID string
	owner window.Day
}

// newestOf is the newest event of a life.
type newestOf struct {
	home        window.Day
	revision    int32
	fingerprint uint64
	at          time.Time
}

// collected is what the topic holds of some days.
type collected struct {
	lives   map[life]newestOf // of the days, all of which there are revisions, and of the known rows
	counts  map[dayKey]*Counts
	removed time.Time // the oldest event that is there on a partition that has lost some
}

// collect reads the events from the first that can belong to the days, or can have moved a row into read, and proves the days. All
// lives of known rows are among what it finds.
func (s Settled) collect(ctx context.Context, c *kafka.Cluster, days map[window.Day]bool, read map[window.Day]bool, known map[string]bool) (*collected, error) {
	log, err := s.log(ctx, c, c.Topics().Events, s.since(days, read))
	if err != nil {
		return nil, err
	}
	out := &collected{lives: map[life]newestOf{}, counts: map[dayKey]*Counts{}}
	home := kafka.ShardOf(s.Tenant, s.Shards)
	var mu sync.Mutex
	err = log.each(ctx, func(recs iter.Seq2[kafka.Record, error], p int32) error {
		t, oldest := newTally(s.Shards, log.forgotten), time.Time{}
		for rec, err := range recs {
			if err != nil {
				return err
			}
			if oldest.IsZero() {
				oldest = rec.Timestamp
			}
			e, err := t.parser.parse(&rec)
			if err != nil || e.tenant != s.Tenant || e.forgotten || e.shard != home || e.misplaced || !days[e.day] && e.revision == 0 && !known[e.rowID] {
				continue
			}
			if days[e.day] {
				t.count(e)
			}
			n := newestOf{home: e.day, revision: e.revision, fingerprint: e.fingerprint, at: rec.Timestamp}
			if e.revision > 0 { // the first event's day is its owner
				call, err := schema.Decode(rec.Value)
				if err != nil {
					return fmt.Errorf("event at offset %d: %w", rec.Offset, err)
				}
				if call.StartDateTime != nil {
					n.home = window.Of(*call.StartDateTime)
				}
				if !days[e.day] && !known[e.rowID] && !read[n.home] && !read[e.day] {
					continue
				}
			}
			l := life{e.rowID, e.day}
			mu.Lock()
			if old, ok := out.lives[l]; !ok || n.revision > old.revision {
				out.lives[l] = n
			}
			mu.Unlock()
		}
		mu.Lock()
		defer mu.Unlock()
		for k, c := range t.days {
			if sum := out.counts[k]; sum != nil {
				sum.add(c)
			} else {
				out.counts[k] = c
			}
		}
		if log.cut[p] {
			if oldest.IsZero() {
				oldest = time.Now()
			}
			if oldest.After(out.removed) {
				out.removed = oldest
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, s.proved(out, days, read)
}

// since is when the first event can have been published that belongs to the days, or has moved a row into read.
func (s Settled) since(days map[window.Day]bool, read map[window.Day]bool) time.Time {
	began := time.Now()
	for day := range read {
		// No event of a call is published before its day begins.
		if at := day.Start(); at.Before(began) {
			began = at
		}
	}
	for day := range days {
		if at := s.Days[day].First; at != nil && at.Before(began) {
			began = *at
		}
	}
	return began.Add(-clockSlack)
}

// log is the events or the dead-letter topic from the first record on that was published at or after an instant.
func (s Settled) log(ctx context.Context, c *kafka.Cluster, topic string, at time.Time) (*eventLog, error) {
	view := &kafka.StateView{Shards: s.Shards}
	if topic == c.Topics().Events {
		view.Events, view.Begun = s.Events, s.Begun
	}
	log, err := openTopic(ctx, c, topic, view)
	if err != nil {
		return nil, err
	}
	r, err := c.NewReader()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	since, err := r.Since(ctx, log.topic, at)
	if err != nil {
		return nil, err
	}
	log.forgotten[s.Tenant] = s.Forgotten
	for p, offset := range since {
		log.cut[p] = log.cut[p] && offset <= log.from[p]
		log.from[p] = max(log.from[p], offset)
	}
	return log, nil
}

// proved compares what was found with what the state has kept.
func (s Settled) proved(found *collected, days map[window.Day]bool, read map[window.Day]bool) error {
	for _, day := range slices.Sorted(maps.Keys(read)) {
		if day.Start().Before(found.removed) {
			return lost(day, found.removed)
		}
	}
	for _, day := range slices.Sorted(maps.Keys(days)) {
		kept, is := s.Days[day], Counts{}
		if c := found.counts[dayKey{s.Tenant, day}]; c != nil {
			is = *c
		}
		switch want := (Counts{kept.Rows, kept.Events, kept.Digest}); {
		case kept.First != nil && kept.First.Before(found.removed):
			return lost(day, found.removed)
		case is != want:
			return &LostError{day, fmt.Sprintf("the events topic holds %d rows and %d events of it with digest %s, the state says %d, %d and %s: verify tells more",
				is.Rows, is.Events, is.Digest, want.Rows, want.Events, want.Digest)}
		}
	}
	return nil
}

func lost(day window.Day, removed time.Time) error {
	return &LostError{day, fmt.Sprintf("retention has removed events before %s from the topic: what has been published of the day can no longer be known, and would be published a second time",
		removed.UTC().Format(time.RFC3339))}
}

// ids are the rows that a scan of read may return as known ones.
func (f *collected) ids(read map[window.Day]bool) map[string]bool {
	out := map[string]bool{}
	for l, n := range f.lives {
		if read[l.owner] || read[n.home] {
			out[l.rowID] = true
		}
	}
	return out
}

// owners are the other settled days without a ledger in which such rows have lived.
func (f *collected) owners(s Settled, days map[window.Day]bool, read map[window.Day]bool) map[window.Day]bool {
	ids, out := f.ids(read), map[window.Day]bool{}
	for l := range f.lives {
		if _, settled := s.Days[l.owner]; settled && ids[l.rowID] && !days[l.owner] {
			out[l.owner] = true
		}
	}
	return out
}

func (f *collected) ledgers(days map[window.Day]bool) map[window.Day][]state.Known {
	out := map[window.Day][]state.Known{}
	for day := range days {
		out[day] = nil
	}
	for l, n := range f.lives {
		if days[l.owner] {
			out[l.owner] = append(out[l.owner], state.Known{ID: l.rowID, Owner: l.owner, Home: n.home, Revision: n.revision, Fingerprint: n.fingerprint, At: n.at})
		}
	}
	return out
}

// Removed returns until when events have been removed from the topic: those of days whose first event is older are not all there.
// Zero: none have.
func Removed(ctx context.Context, c *kafka.Cluster, view *kafka.StateView) (time.Time, error) {
	log, err := openLog(ctx, c, view)
	if err != nil {
		return time.Time{}, err
	}
	var removed time.Time
	var mu sync.Mutex
	err = log.each(ctx, func(recs iter.Seq2[kafka.Record, error], p int32) error {
		if !log.cut[p] {
			return nil
		}
		oldest := time.Now()
		for rec, err := range recs {
			if err != nil {
				return err
			}
			oldest = rec.Timestamp
			break
		}
		mu.Lock()
		defer mu.Unlock()
		if oldest.After(removed) {
			removed = oldest
		}
		return nil
	})
	return removed, err
}
