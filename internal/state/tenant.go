package state

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"pstncalls/internal/window"
)

// Tenant is the state of one tenant. It is used by one goroutine.
type Tenant struct {
	ID     string
	Header Header

	windows map[window.Day]*Window // those with a ledger, be it empty
	months  map[month]*Month       // the settled days whose ledgers have been dropped
	scans   map[window.Day]*Scan
	rows    *table
	newer   map[rowKey]uint64 // rows compared lately: the sequence number at which their page had been received

	headerDirty bool
	deleted     []string // keys to write tombstones for
}

// New returns a tenant that is polled for the first time, from start on.
func New(id string, start window.Day) *Tenant {
	t := empty(id)
	t.Header = Header{V: Version, Start: start}
	t.headerDirty = true
	return t
}

func empty(id string) *Tenant {
	return &Tenant{ID: id, windows: map[window.Day]*Window{}, months: map[month]*Month{}, scans: map[window.Day]*Scan{}, rows: newTable(), newer: map[rowKey]uint64{}}
}

// own returns the window offset of a day, made where there is none yet. It panics for a day of a month record: that would be
// counted twice, and nothing may look at it again.
func (t *Tenant) own(day window.Day) *Window {
	w := t.windows[day]
	if w == nil {
		if t.Dropped(day) {
			panic(fmt.Sprintf("state: window %s is settled and its ledger is dropped", day))
		}
		w = &Window{V: Version}
		t.windows[day] = w
	}
	return w
}

// Window returns what is known of a day. It is to be read only: Settled is some instant where the day's ledger has been dropped.
func (t *Tenant) Window(day window.Day) Window {
	if w := t.windows[day]; w != nil {
		return *w
	}
	if d, ok := t.settledDay(day); ok {
		end := day.End()
		return Window{V: Version, Rows: d.Rows, Events: d.Events, Revisions: d.Events - d.Rows, Rejects: d.Rejects, Vanished: d.Vanished,
			Digest: d.Digest, FirstEvent: d.First, Settled: &end}
	}
	return Window{V: Version}
}

// Dropped reports whether a day is settled and its ledger has been dropped.
func (t *Tenant) Dropped(day window.Day) bool {
	_, ok := t.settledDay(day)
	return ok
}

// Windows returns the days of which something is known, oldest first.
func (t *Tenant) Windows() []window.Day {
	days := slices.Collect(maps.Keys(t.windows))
	for of, m := range t.months {
		for place := range of.days() {
			if m.has(place) {
				days = append(days, window.Day(of)+window.Day(place))
			}
		}
	}
	slices.Sort(days)
	return days
}

// CompleteUpTo returns the tenant's watermark: all calls that start before it have been read, as far as Graph has shown them.
// It is the earliest instant that no complete scan has covered.
func (t *Tenant) CompleteUpTo(now time.Time) time.Time {
	first := t.Header.Start
	if t.Header.Origin != nil {
		first = *t.Header.Origin
	}
	for d := first; d <= window.Of(now); d++ {
		w := t.windows[d]
		switch {
		case w == nil && t.Dropped(d):
		case w == nil || w.LastScan == nil:
			return d.Start()
		case w.Settled == nil && w.covered().After(now.Add(aheadMost)):
			return d.Start() // by a clock that was ahead: nobody knows when that was
		case w.Settled == nil && w.covered().Before(d.End()):
			return w.covered()
		}
	}
	return (window.Of(now) + 1).Start() // the windows' records are of a clock that was ahead
}

// Unread returns how many closed days were never read.
func (t *Tenant) Unread(now time.Time) (n int) {
	for d := t.Header.Start; d < window.Of(now); d++ {
		if w := t.windows[d]; (w == nil || w.LastScan == nil) && !t.Dropped(d) {
			n++
		}
	}
	return n
}

// aheadMost is how far the clock may have stepped back for what it showed before to be believed.
const aheadMost = 30 * time.Second

// covered returns up to when a window that was read has been read.
func (w *Window) covered() time.Time {
	if w.Tail != nil && w.Tail.After(*w.LastScan) {
		return *w.Tail
	}
	return *w.LastScan
}

// Rows returns how many rows the ledgers hold.
func (t *Tenant) Rows() int { return t.rows.n }

// hasLedger reports whether rows of the day can be compared: the day has been read before and is not settled.
func (t *Tenant) hasLedger(day window.Day) bool {
	w := t.windows[day]
	return w != nil && w.Scans > 0 && w.Settled == nil
}

// Published adds an event to its window's digest. at is the record's timestamp.
func (t *Tenant) Published(owner window.Day, d Digest, at time.Time) {
	w := t.own(owner)
	w.Digest = w.Digest.Add(d)
	if w.FirstEvent == nil || at.Before(*w.FirstEvent) {
		first := at // not &at, which would be an allocation for each event
		w.FirstEvent = &first
	}
}

// BeginScan begins the seen-set of a scan of whole days anew: no row of them has been returned yet.
func (t *Tenant) BeginScan(r window.Range) {
	for day := r.From; day < r.To; day++ {
		w := t.own(day)
		if w.scan++; w.scan == 0 {
			w.scan = 1
		}
	}
}

// Scanned is a complete scan of whole days.
type Scanned struct {
	Range window.Range
	Begun time.Time
	Pages int64
	// Resumed says that part of it was read by another session: what it did not return may have been on those pages.
	Resumed bool
}

// Complete notes a complete scan. It returns how many rows have vanished since the scan before: rows that were published, whose
// home is in the range, and that it did not return.
func (t *Tenant) Complete(s Scanned) (vanished int) {
	if !s.Resumed {
		vanished = t.markVanished(s.Range)
	}
	for day := s.Range.From; day < s.Range.To; day++ {
		w := t.own(day)
		w.Scans++
		w.Pages = s.Pages
		w.LastScan = &s.Begun
		w.Tail = nil
		w.dirty = true
	}
	return vanished
}

// Settle notes that a day's last scan is complete.
func (t *Tenant) Settle(day window.Day, now time.Time) {
	if w := t.own(day); w.Settled == nil {
		w.Settled, w.Reopened = &now, nil
		w.dirty = true
	}
}

func (t *Tenant) markVanished(r window.Range) (n int) {
	for e := range t.rows.all {
		if e.revision < 0 || e.has(flagRejected|flagVanished) {
			continue
		}
		home := t.rows.home(e)
		// Guard: seen-set. Taken out: TestNotVanished, TestVanishedOnce, TestHistories.
		if !r.Contains(home) || e.seen == t.scanOf(home) {
			continue
		}
		e.set(flagVanished, true)
		w := t.own(e.day())
		w.Vanished++
		t.write(w, e)
		n++
	}
	return n
}

// CompleteTail notes a scan of the end of a window, from an instant on. It counts where no gap lies before it.
func (t *Tenant) CompleteTail(day window.Day, from, begun time.Time) {
	w := t.own(day)
	if w.Tail != nil && w.Tail.After(begun) { // of a clock that was ahead
		w.Tail = nil
		w.dirty = true
	}
	if w.LastScan == nil || from.After(w.covered()) || !begun.After(w.covered()) {
		return
	}
	w.Tail = &begun
	w.dirty = true
}

// Scans returns the scans in progress, newest range first.
func (t *Tenant) Scans() []*Scan {
	s := slices.Collect(maps.Values(t.scans))
	slices.SortFunc(s, func(a, b *Scan) int { return int(b.Range.From - a.Range.From) })
	return s
}

// KeepScan notes how far a scan has come.
func (t *Tenant) KeepScan(s Scan) {
	s.V = Version
	s.dirty = true
	t.scans[s.Range.From] = &s
}

// DropScan forgets a scan in progress: it is complete, or has to begin anew.
func (t *Tenant) DropScan(from window.Day) {
	if t.scans[from] != nil {
		delete(t.scans, from)
		t.deleted = append(t.deleted, scanKey(t.ID, from))
	}
}

// SetHeader changes the tenant record.
func (t *Tenant) SetHeader(change func(*Header)) {
	change(&t.Header)
	t.headerDirty = true
}

// Dirty reports whether anything differs from the state topic. A row that was found as it is known makes no difference.
func (t *Tenant) Dirty() bool {
	if t.headerDirty || len(t.deleted) > 0 {
		return true
	}
	for _, w := range t.windows {
		if w.dirty {
			return true
		}
	}
	for _, s := range t.scans {
		if s.dirty {
			return true
		}
	}
	return false
}

// Records returns the records that bring the state topic up to date, and whether ledgers were merged on the way. They must
// be committed together with the events that Observe asked for, or the Tenant be thrown away.
func (t *Tenant) Records() (out []Record, merged bool, err error) {
	if t.headerDirty {
		out = append(out, Record{prefix(t.ID) + "tenant", encodeJSON(t.Header)})
		t.headerDirty = false
	}
	for _, key := range t.deleted {
		out = append(out, Record{Key: key})
	}
	t.deleted = nil
	for _, of := range slices.Sorted(maps.Keys(t.months)) {
		if m := t.months[of]; m.dirty {
			out = append(out, Record{monthKey(t.ID, of), encodeJSON(m)})
			m.dirty = false
		}
	}
	for _, day := range slices.Sorted(maps.Keys(t.windows)) {
		w := t.windows[day]
		if !w.dirty {
			continue
		}
		if n := mergeable(w.segments); n > 0 {
			rs, err := t.merge(day, w, n)
			if err != nil {
				return nil, false, err
			}
			out = append(out, rs...)
			merged = true
		}
		rs, err := t.flush(day, w)
		if err != nil {
			return nil, false, err
		}
		out = append(out, rs...)
		out = append(out, Record{windowKey(t.ID, day), encodeJSON(w)})
		w.dirty = false
	}
	for _, s := range t.Scans() {
		if s.dirty {
			out = append(out, Record{scanKey(t.ID, s.Range.From), encodeJSON(s)})
			s.dirty = false
		}
	}
	return out, merged, nil
}

// flush turns the window's new entries into ledger records of at most maxSegmentBytes.
func (t *Tenant) flush(day window.Day, w *Window) (out []Record, err error) {
	if len(w.delta) == 0 {
		return nil, nil
	}
	emit := func(data []byte) {
		w.Seq++
		w.segments = append(w.segments, newSegment(w.Seq, data))
		out = append(out, Record{ledgerKey(t.ID, day, w.Seq), data})
	}
	cur := startSegment()
	err = decodeSegment(append(startSegment(), w.delta...), day, func(e entry, text string, home window.Day) {
		if len(cur)+maxEntryBytes > maxSegmentBytes {
			emit(cur)
			cur = startSegment()
		}
		cur = appendEntry(cur, &e, text, home)
	})
	emit(cur)
	w.delta = nil
	return out, err
}

func (t *Tenant) merge(day window.Day, w *Window, n int) ([]Record, error) {
	at := len(w.segments) - n
	segs, data, freed, err := merge(w.segments[at:], day)
	if err != nil {
		return nil, fmt.Errorf("merge the ledger of %s: %w", day, err)
	}
	var out []Record
	for i, s := range segs {
		out = append(out, Record{ledgerKey(t.ID, day, s.seq), data[i]})
	}
	for _, seq := range freed {
		out = append(out, Record{Key: ledgerKey(t.ID, day, seq)})
	}
	w.segments = append(w.segments[:at:at], segs...)
	return out, nil
}
