// Package calllog owns the simulator's truth: which rows a tenant's PSTN call log holds, every version of each, and when each
// version is visible.
//
// Rows are not stored. Everything about the n-th row of a day follows from (seed, tenant, day, n): only its instants are kept, some
// 50 bytes a version, and its JSON is written anew each time that it is asked for. Rows added, corrected or removed at run time
// are stored, and hide the generated row of the same id.
//
// Invariants: no version is visible before its call has ended (for generated rows); the visible intervals [from, until) of a row's
// versions do not overlap and are in order; a row's id never changes; a generated row moves by one day at the most.
package calllog

import (
	"cmp"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"iter"
	"math"
	"slices"
	"sync"
	"time"

	"pstncalls/internal/window"
)

// Config describes one tenant's log. Shares are between 0 and 1, of the rows.
type Config struct {
	ID         string
	RowsPerDay int       // on average; more on weekdays, by day rather than by night
	From, To   time.Time // calls start in [From, To)
	Country    string    // ISO 3166-1 alpha-2, decides masking and currency; "": one of eight, by ID

	LateShare       float64 // rows that come up to MaxLateness after their end; the others within minutes to hours
	CorrectShare    float64 // rows that change later: charge, duration, display name; a quarter of them twice
	MoveShare       float64 // rows whose start moves to a neighbouring day
	NoIDShare       float64 // rows with a null, absent or empty id; they never change
	NullCallIDShare float64
	RejectShare     float64 // rows that no event can hold; CorrectShare of them are mended later
	SparseShare     float64 // days without any row

	MaxLateness time.Duration // between a call's end and the last version of its row; 0: 48 h
	Flat        bool          // every whole day has RowsPerDay rows exactly
}

// TrueRow is a row with all its versions, in the order in which they become visible.
type TrueRow struct {
	Tenant   string        `json:"tenant"`
	ID       string        `json:"id"`    // "" where the row has none
	Ident    string        `json:"ident"` // ID, or a name that only the simulator knows
	Versions []TrueVersion `json:"versions"`
}

// TrueVersion is what a row says while VisibleFrom <= now < VisibleUntil.
type TrueVersion struct {
	VisibleFrom  time.Time       `json:"visibleFrom"`
	VisibleUntil time.Time       `json:"visibleUntil,omitzero"` // zero: for ever
	Start        time.Time       `json:"start"`                 // where ranges find it, even if its startDateTime is null
	JSON         json.RawMessage `json:"json"`                  // with the properties of beta
}

// ref names a row: the n-th of the generated ones of a day, or the n-th added (day is addedDay).
type ref struct {
	day window.Day
	n   uint32
}

const addedDay = window.Day(math.MinInt32)

// Item is one version of a row, as lists of a day hold it. Instants are nanoseconds since 1970.
type Item struct {
	ref
	version     int32
	start       int64
	from, until int64      // visible in [from, until)
	first       int64      // from of the row's first version
	stored      *storedRow // nil: written from the seed
}

const forever = math.MaxInt64

// Log is one tenant's call log. It is safe for concurrent use.
type Log struct {
	cfg    Config
	nation nation
	seed   uint64
	ids    cipher.Block // (day, n) <-> id, so that an id leads back to its row

	mu     sync.Mutex
	made   map[window.Day]bool // days whose rows have been generated
	days   map[window.Day]*dayList
	stored map[ref]*storedRow
	byID   map[string]ref // ids of added rows
	added  []ref
}

// dayList holds the versions whose start lies in one day.
type dayList struct {
	items  []Item
	sorted bool // by start
}

// storedRow is a row touched at run time. It does not change: another one takes its place.
type storedRow struct {
	id, ident string
	versions  []storedVersion
}

type storedVersion struct {
	start, from, until int64
	json               []byte
}

// New returns the log of a tenant. The same seed and configuration give the same log.
func New(seed uint64, cfg Config) *Log {
	if cfg.MaxLateness <= 0 {
		cfg.MaxLateness = 48 * time.Hour
	}
	h := fnv.New64a()
	h.Write([]byte(cfg.ID))
	seed = mix(seed, h.Sum64())
	var key [16]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic(err) // the key's length is right
	}
	return &Log{
		cfg: cfg, seed: seed, ids: block, nation: nationOf(cfg.Country, seed),
		made: map[window.Day]bool{}, days: map[window.Day]*dayList{},
		stored: map[ref]*storedRow{}, byID: map[string]ref{},
	}
}

// Visible yields the versions that start in [from, to) and are visible at now, by ascending start; ties are in a fixed order.
// The log is locked until the iteration ends.
func (l *Log) Visible(from, to, now time.Time) iter.Seq[Item] {
	return func(yield func(Item) bool) {
		l.mu.Lock()
		defer l.mu.Unlock()
		lo, hi, at := nanos(from), nanos(to), nanos(now)
		for _, d := range l.daysIn(from, to) {
			for _, it := range l.day(d) {
				if it.start >= lo && it.start < hi && it.from <= at && at < it.until && !yield(it) {
					return
				}
			}
		}
	}
}

// daysIn returns the days of [from, to) that may hold rows, in order.
func (l *Log) daysIn(from, to time.Time) []window.Day {
	first, last := window.Of(from), window.Of(to.Add(-1))
	days := make([]window.Day, 0, 8)
	if l.cfg.From.Before(l.cfg.To) {
		for d := max(first, window.Of(l.cfg.From)); d <= min(last, window.Of(l.cfg.To.Add(-1))); d++ {
			days = append(days, d)
		}
	}
	for d := range l.days { // rows added outside the configured range
		if d >= first && d <= last && !slices.Contains(days, d) {
			days = append(days, d)
		}
	}
	slices.Sort(days)
	return days
}

// day returns the versions that start in d. A row may come from the day before or after, so these are generated as well.
func (l *Log) day(d window.Day) []Item {
	for from := d - 1; from <= d+1; from++ {
		l.generate(from)
	}
	list := l.days[d]
	if list == nil {
		return nil
	}
	if !list.sorted {
		slices.SortFunc(list.items, func(a, b Item) int {
			return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(a.day, b.day), cmp.Compare(a.n, b.n), cmp.Compare(a.version, b.version))
		})
		list.sorted = true
	}
	return list.items
}

func (l *Log) generate(d window.Day) {
	if l.made[d] {
		return
	}
	l.made[d] = true
	for r := range l.rowsOf(d) {
		t := l.timesOf(r)
		l.place(r, t.items(r))
	}
}

// rowsOf yields the generated rows whose first version starts in d.
func (l *Log) rowsOf(d window.Day) iter.Seq[ref] {
	return func(yield func(ref) bool) {
		if !d.Start().Before(l.cfg.To) || !d.End().After(l.cfg.From) {
			return
		}
		lo, hi := l.cfg.From.UnixNano(), l.cfg.To.UnixNano()
		for n := range l.rowsIn(d) {
			r := ref{d, uint32(n)}
			if start := l.startOf(r); start >= lo && start < hi && !yield(r) {
				return
			}
		}
	}
}

// place puts a row's versions, and only these, into the lists of their days.
func (l *Log) place(r ref, items []Item) {
	for _, it := range items {
		d := window.Of(time.Unix(0, it.start))
		list := l.days[d]
		if list == nil {
			list = &dayList{}
			l.days[d] = list
		}
		list.items = append(list.items, it)
		list.sorted = false
	}
}

// displace takes a row's versions out of the lists of their days.
func (l *Log) displace(r ref, items []Item) {
	for _, it := range items {
		if list := l.days[window.Of(time.Unix(0, it.start))]; list != nil {
			list.items = slices.DeleteFunc(list.items, func(o Item) bool { return o.ref == r })
		}
	}
}

func (s *storedRow) items(r ref) []Item {
	var items []Item
	for i, v := range s.versions {
		items = append(items, Item{ref: r, version: int32(i), start: v.start, from: v.from, until: v.until, first: s.versions[0].from, stored: s})
	}
	return items
}

// Truth yields every row with its versions: the generated ones by day, then the added ones. Rows that are never visible are left out.
func (l *Log) Truth() iter.Seq[TrueRow] {
	return func(yield func(TrueRow) bool) {
		if l.cfg.From.Before(l.cfg.To) {
			for d := window.Of(l.cfg.From); d <= window.Of(l.cfg.To.Add(-1)); d++ {
				for r := range l.rowsOf(d) {
					if row := l.trueRow(r); len(row.Versions) > 0 && !yield(row) {
						return
					}
				}
			}
		}
		l.mu.Lock()
		added := slices.Clone(l.added)
		l.mu.Unlock()
		for _, r := range added {
			if row := l.trueRow(r); len(row.Versions) > 0 && !yield(row) {
				return
			}
		}
	}
}

func (l *Log) trueRow(r ref) TrueRow {
	l.mu.Lock()
	s := l.store(r)
	l.mu.Unlock()
	row := TrueRow{Tenant: l.cfg.ID, ID: s.id, Ident: s.ident}
	for _, v := range s.versions {
		t := TrueVersion{VisibleFrom: instant(v.from), Start: instant(v.start), JSON: v.json}
		if v.until != forever {
			t.VisibleUntil = instant(v.until)
		}
		row.Versions = append(row.Versions, t)
	}
	return row
}

// store returns the row in its stored form; it does not keep it. l.mu is held.
func (l *Log) store(r ref) *storedRow {
	if s := l.stored[r]; s != nil {
		return &storedRow{id: s.id, ident: s.ident, versions: slices.Clone(s.versions)}
	}
	t := l.timesOf(r)
	s := &storedRow{ident: l.idOf(r)}
	if !t.noID {
		s.id = s.ident
	}
	for _, it := range t.items(r) {
		s.versions = append(s.versions, storedVersion{it.start, it.from, it.until, l.write(nil, t, it, Form{})})
	}
	return s
}

// Add adds a row that becomes visible at from. Its start is its startDateTime; where that cannot be read, from.
func (l *Log) Add(row map[string]any, from time.Time) error {
	b, err := json.Marshal(row)
	if err != nil {
		return fmt.Errorf("added row: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	id, _ := row["id"].(string)
	if _, ok := l.find(id); ok {
		return fmt.Errorf("added row: id %q is taken", id)
	}
	r := ref{addedDay, uint32(len(l.added))}
	s := &storedRow{id: id, ident: id, versions: []storedVersion{{startIn(row, from.UnixNano()), from.UnixNano(), forever, b}}}
	if id == "" {
		s.ident = fmt.Sprintf("added-%d", r.n)
	}
	l.byID[s.ident] = r
	l.added = append(l.added, r)
	l.stored[r] = s
	l.place(r, s.items(r))
	return nil
}

// Correct makes change's result the row's version from at on, in place of whatever would have become visible after at. id is the
// row's id, or Ident where it has none.
func (l *Log) Correct(id string, change func(map[string]any), at time.Time) error {
	return l.rewrite(id, at, func(s *storedRow) error {
		last := &s.versions[len(s.versions)-1]
		row, err := decode(last.json)
		if err != nil {
			return err
		}
		change(row)
		b, err := json.Marshal(row)
		if err != nil {
			return err
		}
		last.end(at)
		s.versions = append(s.versions, storedVersion{startIn(row, last.start), at.UnixNano(), forever, b})
		return nil
	})
}

// Remove makes the row invisible from at on.
func (l *Log) Remove(id string, at time.Time) error {
	return l.rewrite(id, at, func(s *storedRow) error {
		s.versions[len(s.versions)-1].end(at)
		return nil
	})
}

// Restore makes a removed row visible again from at on, unchanged: a version of its own.
func (l *Log) Restore(id string, at time.Time) error {
	return l.rewrite(id, at, func(s *storedRow) error {
		last := s.versions[len(s.versions)-1]
		if last.until > at.UnixNano() {
			return fmt.Errorf("still visible at %s", at.UTC().Format(time.RFC3339Nano))
		}
		last.from, last.until = at.UnixNano(), forever
		s.versions = append(s.versions, last)
		return nil
	})
}

// end ends the version's visibility at an instant, unless it has ended before: a removed row does not come back by it.
func (v *storedVersion) end(at time.Time) { v.until = min(v.until, at.UnixNano()) }

// rewrite applies f to the row, cut down to the versions visible before at.
func (l *Log) rewrite(id string, at time.Time, f func(*storedRow) error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	r, ok := l.find(id)
	if !ok {
		return fmt.Errorf("row %q: not in the log", id)
	}
	s := l.store(r)
	old := s.items(r)
	s.versions = slices.DeleteFunc(s.versions, func(v storedVersion) bool { return v.from >= at.UnixNano() })
	if len(s.versions) == 0 {
		return fmt.Errorf("row %q: not visible before %s", id, at.UTC().Format(time.RFC3339Nano))
	}
	if err := f(s); err != nil {
		return fmt.Errorf("row %q: %w", id, err)
	}
	if r.day != addedDay {
		l.generate(r.day) // else it would be generated later, beside the stored one
	}
	l.displace(r, old)
	l.stored[r] = s
	l.place(r, s.items(r))
	return nil
}

// find returns the row with this id or ident.
func (l *Log) find(id string) (ref, bool) {
	if r, ok := l.byID[id]; ok {
		return r, true
	}
	r, ok := l.refOf(id)
	if !ok || int(r.n) >= l.rowsIn(r.day) {
		return ref{}, false
	}
	start := l.startOf(r)
	return r, start >= l.cfg.From.UnixNano() && start < l.cfg.To.UnixNano()
}

// Append appends the JSON of a version to b.
func (l *Log) Append(b []byte, it Item, f Form) []byte {
	if it.stored != nil {
		return append(b, f.reduce(it.stored.versions[it.version].json)...)
	}
	return l.write(b, l.timesOf(it.ref), it, f)
}

// ByVisible orders by the instant at which the row first became visible, so that late rows come last.
func ByVisible(a, b Item) int { return cmp.Or(cmp.Compare(a.first, b.first), ByStart(a, b)) }

// ByStart orders by start.
func ByStart(a, b Item) int {
	return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(a.day, b.day), cmp.Compare(a.n, b.n))
}

// ByHash returns an order that looks random: the same for the same salt.
func ByHash(salt uint64) func(a, b Item) int {
	return func(a, b Item) int {
		return cmp.Or(cmp.Compare(hashRef(salt, a.ref), hashRef(salt, b.ref)), ByStart(a, b))
	}
}

// nanos is t.UnixNano, at the ends of its range where t lies beyond.
func nanos(t time.Time) int64 {
	switch {
	case t.Year() < 1700:
		return math.MinInt64
	case t.Year() > 2200:
		return math.MaxInt64
	}
	return t.UnixNano()
}

func instant(ns int64) time.Time { return time.Unix(0, ns).UTC() }

// SortByID sorts the items by id; those without by the name that stands for it.
func (l *Log) SortByID(items []Item) {
	ids := make(map[ref]string, len(items))
	for _, it := range items {
		if it.stored != nil {
			ids[it.ref] = it.stored.ident
		} else {
			ids[it.ref] = l.idOf(it.ref)
		}
	}
	slices.SortFunc(items, func(a, b Item) int { return cmp.Compare(ids[a.ref], ids[b.ref]) })
}
