package state

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"pstncalls/internal/window"
)

// Tenant is the state of one tenant. It is used by one goroutine.
type Tenant struct {
	ID     string
	Header Header

	windows map[window.Day]*Window
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
	return &Tenant{ID: id, windows: map[window.Day]*Window{}, scans: map[window.Day]*Scan{}, rows: newTable(), newer: map[rowKey]uint64{}}
}

// Load reads a tenant from the records of the state topic. ok is false if there is no record of it.
func Load(id string, records map[string][]byte) (t *Tenant, ok bool, err error) {
	t = empty(id)
	type ledgerRecord struct {
		day  window.Day
		seq  uint64
		key  string
		data []byte
	}
	var ledger []ledgerRecord
	found := false
	for key, value := range records {
		rest, ours := strings.CutPrefix(key, prefix(id))
		if !ours {
			continue
		}
		found = true
		kind, name, _ := strings.Cut(rest, "/")
		switch kind {
		case "tenant":
			if name != "" {
				return nil, false, &DamagedError{key, "its key has not the form tenant"}
			}
			if err := decodeJSON(key, value, &t.Header); err != nil {
				return nil, false, err
			}
			ok = true
		case "window":
			day, err := window.Parse(name)
			if err != nil {
				return nil, false, &DamagedError{key, err.Error()}
			}
			w := &Window{}
			if err := decodeJSON(key, value, w); err != nil {
				return nil, false, err
			}
			t.windows[day] = w
		case "scan":
			s := &Scan{}
			if err := decodeJSON(key, value, s); err != nil {
				return nil, false, err
			}
			if key != scanKey(id, s.Range.From) || s.Range.Days() < 1 {
				return nil, false, &DamagedError{key, fmt.Sprintf("its range is %s", s.Range)}
			}
			t.scans[s.Range.From] = s
		case "ledger":
			d, n, _ := strings.Cut(name, "/")
			day, err := window.Parse(d)
			seq, err2 := strconv.ParseUint(n, 10, 64)
			if err != nil || err2 != nil || key != ledgerKey(id, day, seq) || day != window.Day(uint16(day)) {
				return nil, false, &DamagedError{key, "its key has not the form ledger/<day>/<seq>"}
			}
			ledger = append(ledger, ledgerRecord{day, seq, key, value})
		default:
			return nil, false, fmt.Errorf("state record %q is of a kind this version does not know: %w", key, ErrNewer)
		}
	}
	if found && !ok {
		return nil, false, &DamagedError{prefix(id) + "tenant", "it is missing, while other records of the tenant are there"}
	}
	slices.SortFunc(ledger, func(a, b ledgerRecord) int {
		if a.day != b.day {
			return int(a.day - b.day)
		}
		if a.seq < b.seq {
			return -1
		}
		return 1
	})
	for _, r := range ledger {
		w := t.windows[r.day]
		if w == nil {
			return nil, false, &DamagedError{r.key, "its window's record is missing"}
		}
		if r.seq > w.Seq {
			return nil, false, &DamagedError{r.key, fmt.Sprintf("its window's record knows ledger records up to %d only", w.Seq)}
		}
		w.segments = append(w.segments, newSegment(r.seq, r.data))
		err := decodeSegment(r.data, r.day, func(e entry, text string) {
			t.rows.put(e)
			if e.flags&flagText != 0 {
				t.rows.texts[e.key] = text
			}
		})
		if errors.Is(err, ErrNewer) {
			return nil, false, fmt.Errorf("state record %q: %w", r.key, err)
		}
		if err != nil {
			return nil, false, &DamagedError{r.key, err.Error()}
		}
	}
	return t, ok, t.checkLedgers()
}

// checkLedgers compares the ledgers with the counts of their windows: the rows of a ledger record that is lost would be
// published again as new ones.
func (t *Tenant) checkLedgers() error {
	type sum struct{ rows, revisions int64 }
	sums := map[window.Day]sum{}
	for i := range t.rows.slots {
		if e := &t.rows.slots[i]; e.used && e.revision >= 0 {
			s := sums[e.day()]
			sums[e.day()] = sum{s.rows + 1, s.revisions + int64(e.revision)}
		}
	}
	for day, w := range t.windows {
		if w.Settled != nil && len(w.segments) == 0 { // its ledger has been dropped
			continue
		}
		if s := sums[day]; s.rows != w.Rows || s.revisions != w.Revisions {
			return &DamagedError{windowKey(t.ID, day), fmt.Sprintf("it counts %d rows and %d revisions, its ledger %d and %d", w.Rows, w.Revisions, s.rows, s.revisions)}
		}
	}
	return nil
}

// Window returns the window offset of a day, made empty where there is none yet.
func (t *Tenant) Window(day window.Day) *Window {
	w := t.windows[day]
	if w == nil {
		w = &Window{V: Version}
		t.windows[day] = w
	}
	return w
}

// Windows returns the days that have a window offset, oldest first.
func (t *Tenant) Windows() []window.Day { return slices.Sorted(maps.Keys(t.windows)) }

// CompleteUpTo returns the tenant's watermark: all calls that start before it have been read, as far as Graph has shown them.
// It is the earliest instant that no complete scan has covered.
func (t *Tenant) CompleteUpTo(now time.Time) time.Time {
	for d := t.Header.Start; d <= window.Of(now); d++ {
		w := t.windows[d]
		switch {
		case w == nil || w.LastScan == nil && w.Settled == nil:
			return d.Start()
		case w.Settled == nil && w.LastScan.Before(d.End()):
			return *w.LastScan
		}
	}
	return (window.Of(now) + 1).Start() // the windows' records are of a clock that was ahead
}

// Rows returns how many rows the ledgers hold.
func (t *Tenant) Rows() int { return t.rows.n }

// hasLedger reports whether rows of the day can be compared: the day has been read before and is not settled.
func (t *Tenant) hasLedger(day window.Day) bool {
	w := t.windows[day]
	return w != nil && w.Scans > 0 && w.Settled == nil
}

// Seen is a row as a page showed it.
type Seen struct {
	ID          string
	HasID       bool
	Fingerprint uint64
	Day         window.Day // of its start; where it has none, the first day of the range asked for
	Rejected    bool       // it cannot become an event
}

// Page says what the rows of one page are compared under.
type Page struct {
	Range window.Range
	// Asked and Received are numbers from one counter of the shard, taken before the request and after the last byte: a page
	// that was asked for after another had been received shows the newer rows, and only then is that certain.
	Asked, Received uint64
	// Busy reports whether a scan in progress, other than the page's own, owns a day.
	Busy func(window.Day) bool
}

// Action is what is to be done with a row.
type Action int

// The actions.
const (
	Nothing Action = iota // it is known as it is
	Publish               // an event
	Refuse                // a record on the dead-letter topic
	Leave                 // not this page's to judge: its own window's scan, or the next one, will
)

// Decision is the answer for one row.
type Decision struct {
	Action   Action
	RowID    string
	Revision int32
	Owner    window.Day
	Stale    bool // left because the page may be older than what is known: the window must be read again
}

// Observe compares a row with the ledger, and enters the answer.
func (t *Tenant) Observe(s Seen, p Page) Decision {
	if !p.Range.Contains(s.Day) && (!t.hasLedger(s.Day) || p.Busy(s.Day)) {
		return Decision{Action: Leave}
	}
	id, key, text, e := t.identify(s)
	if e == nil {
		if !p.Range.Contains(s.Day) && s.Day < t.Header.Start {
			return Decision{Action: Leave}
		}
		n := entry{key: key, fingerprint: s.Fingerprint, owner: uint16(s.Day), revision: 0}
		if text {
			n.flags |= flagText
			t.rows.texts[key] = id
		}
		w := t.Window(s.Day)
		d := Decision{Action: Publish, RowID: id, Owner: s.Day}
		if s.Rejected {
			n.flags |= flagRejected
			n.revision = -1
			d.Action = Refuse
			w.Rejects++
		} else {
			w.Rows++
			w.Events++
			t.countNoID(s)
		}
		t.rows.put(n)
		t.enter(w, &n, id, p)
		return d
	}

	mended := e.flags&flagRejected != 0 && !s.Rejected
	if e.fingerprint == s.Fingerprint && !mended {
		return Decision{Action: Nothing, RowID: id, Owner: e.day()}
	}
	if p.Asked < t.newer[key] {
		return Decision{Action: Leave, RowID: id, Owner: e.day(), Stale: true}
	}
	w := t.Window(e.day())
	e.fingerprint = s.Fingerprint
	d := Decision{Action: Publish, RowID: id, Owner: e.day()}
	if s.Rejected {
		e.flags |= flagRejected
		d.Action = Refuse
		w.Rejects++
	} else {
		e.flags &^= flagRejected
		if e.revision < 0 {
			w.Rows++
		} else {
			w.Revisions++
		}
		e.revision++
		d.Revision = e.revision
		w.Events++
		t.countNoID(s)
	}
	t.enter(w, e, id, p)
	return d
}

func (t *Tenant) countNoID(s Seen) {
	if !s.HasID {
		t.Header.NoID++
		t.headerDirty = true
	}
}

// identify resolves the row id (design section 11): rows without an id have no revisions, so one of another content is
// another row.
func (t *Tenant) identify(s Seen) (id string, key rowKey, text bool, e *entry) {
	key, guid := keyOf(s.ID)
	e = t.rows.find(key)
	if s.HasID || e != nil && e.fingerprint == s.Fingerprint {
		return s.ID, key, !guid, e
	}
	other := fmt.Sprintf("%s.%016x", s.ID, s.Fingerprint)
	otherKey, _ := keyOf(other)
	known := t.rows.find(otherKey)
	if e == nil && known == nil {
		return s.ID, key, !guid, nil
	}
	return other, otherKey, true, known
}

// enter notes a changed entry for the window's next ledger record.
func (t *Tenant) enter(w *Window, e *entry, id string, p Page) {
	w.delta = appendEntry(w.delta, e, id)
	w.dirty = true
	t.newer[e.key] = p.Received
}

// Forget ends the memory of which pages were newer, for pages received before the given number: the poller gives the lowest
// that a page still to come may have been asked at.
func (t *Tenant) Forget(before uint64) {
	maps.DeleteFunc(t.newer, func(_ rowKey, received uint64) bool { return received <= before })
}

// Published adds an event to its window's digest. at is the record's timestamp.
func (t *Tenant) Published(owner window.Day, d Digest, at time.Time) {
	w := t.Window(owner)
	w.Digest = w.Digest.Add(d)
	if w.FirstEvent == nil || at.Before(*w.FirstEvent) {
		w.FirstEvent = &at
	}
}

// Scanned notes a complete scan of a range: when it began and how many pages it had.
func (t *Tenant) Scanned(r window.Range, begun time.Time, pages int64, settle bool, now time.Time) {
	for day := r.From; day < r.To; day++ {
		w := t.Window(day)
		w.Scans++
		w.Pages = pages
		w.LastScan = &begun
		w.dirty = true
		if settle && w.Settled == nil {
			w.Settled = &now
		}
	}
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

// Dirty reports whether anything differs from the state topic; rows of a page that were compared always do.
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
	for _, day := range t.Windows() {
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
	err = decodeSegment(append(startSegment(), w.delta...), day, func(e entry, text string) {
		if len(cur)+maxEntryBytes > maxSegmentBytes {
			emit(cur)
			cur = startSegment()
		}
		cur = appendEntry(cur, &e, text)
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
