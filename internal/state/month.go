package state

import (
	"cmp"
	"fmt"
	"math/bits"
	"slices"
	"strconv"
	"time"

	"pstncalls/internal/window"
)

// Month is the record of the settled days of a month whose ledgers have been dropped. Reopen takes a day out of it; nothing else changes one.
type Month struct {
	V       int                   `json:"v"`
	Settled Bits                  `json:"settled"`        // bit n-1: day n is settled
	Days    map[string]SettledDay `json:"days,omitempty"` // by day, "02"; those without any event or reject are left out

	dirty bool
}

// SettledDay is what is kept of a settled day: enough to prove the events topic against.
type SettledDay struct {
	Rows     int64      `json:"rows,omitempty"`
	Events   int64      `json:"events,omitempty"`
	Rejects  int64      `json:"rejects,omitempty"`
	Vanished int64      `json:"vanished,omitempty"`
	Digest   Digest     `json:"digest"`
	First    *time.Time `json:"first,omitempty"` // the smallest record timestamp of its events
}

// Bits are the days of a month, as 8 hex digits.
type Bits uint32

// MarshalText implements encoding.TextMarshaler.
func (b Bits) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%08x", uint32(b)), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (b *Bits) UnmarshalText(text []byte) error {
	v, err := strconv.ParseUint(string(text), 16, 32)
	if err != nil || len(text) != 8 {
		return fmt.Errorf("want 8 hex digits, got %q", text)
	}
	*b = Bits(v)
	return nil
}

// month is a month by its first day.
type month window.Day

// monthOf returns the month of a day, and the day's place in it from 0.
func monthOf(d window.Day) (m month, place int) {
	place = d.Start().Day() - 1
	return month(d) - month(place), place
}

// parseMonth reads a month as String prints it.
func parseMonth(s string) (month, error) {
	d, err := window.Parse(s + "-01")
	return month(d), err
}

// String returns the month as 2026-11.
func (m month) String() string { return window.Day(m).Start().Format("2006-01") }

// days returns how many days the month has.
func (m month) days() int {
	return int(window.Of(window.Day(m).Start().AddDate(0, 1, 0)) - window.Day(m))
}

func (m *Month) has(place int) bool { return m.Settled&(1<<place) != 0 }

func dayName(place int) string { return fmt.Sprintf("%02d", place+1) }

// check reports what is wrong with a month record.
func (m *Month) check(days int) error {
	if m.Settled>>days != 0 {
		return fmt.Errorf("the month has %d days, its settled ones are %08x", days, uint32(m.Settled))
	}
	for day, d := range m.Days {
		n, err := strconv.Atoi(day)
		switch {
		case err != nil || n < 1 || n > days || dayName(n-1) != day:
			return fmt.Errorf("day %q is no day of the month", day)
		case !m.has(n - 1):
			return fmt.Errorf("day %s has counts and is not settled", day)
		case d.Rows < 0 || d.Events < d.Rows || d.Rejects < 0 || d.Vanished < 0 || d.Events > 0 && d.First == nil:
			return fmt.Errorf("day %s: its counts contradict each other", day)
		}
	}
	return nil
}

// settledDay returns a day whose ledger has been dropped.
func (t *Tenant) settledDay(d window.Day) (SettledDay, bool) {
	of, place := monthOf(d)
	m := t.months[of]
	if m == nil || !m.has(place) {
		return SettledDay{}, false
	}
	return m.Days[dayName(place)], true
}

// SettledDays returns what is kept of the settled days whose ledgers have been dropped.
func (t *Tenant) SettledDays() map[window.Day]SettledDay {
	out := map[window.Day]SettledDay{}
	for of, m := range t.months {
		for place := range of.days() {
			if m.has(place) {
				out[window.Day(of)+window.Day(place)] = m.Days[dayName(place)]
			}
		}
	}
	return out
}

// Settled reports whether a day is settled: nothing looks at it again.
func (t *Tenant) Settled(d window.Day) bool {
	if w := t.windows[d]; w != nil {
		return w.Settled != nil
	}
	_, dropped := t.settledDay(d)
	return dropped
}

// countDropped returns how many days the month records hold.
func (t *Tenant) countDropped() (n int) {
	for _, m := range t.months {
		n += bits.OnesCount32(uint32(m.Settled))
	}
	return n
}

// maxAhead is how many days ahead a row's home may lie to be waited for: a clock that steps back must not make it a new row, and
// one that is dated into a far year must not keep its owner's ledger for ever.
const maxAhead = 400

// ledgerLife is how much longer than the lookback a ledger lives: rows move into younger windows.
const ledgerLife = 48 * time.Hour

// Drop takes the ledgers of settled windows out of the state, and leaves a mark in their month's record: those whose age is
// lookback + 2 days, if the two days after them have settled, and all from there to a day into which one of their rows has
// moved. It returns how many went.
func (t *Tenant) Drop(now time.Time, lookback time.Duration) int {
	needed := map[window.Day]bool{} // by a row that would be new, if its owner's ledger went
	for key, home := range t.rows.away {
		owner := t.rows.find(key).day()
		last := max(home, owner)
		if home > window.Of(now)+maxAhead {
			continue // it will be a new row, should that day ever come
		}
		for day := max(min(home, owner), t.Header.Start); day <= last; day++ {
			needed[owner] = needed[owner] || day != owner && !t.Settled(day)
		}
	}
	reading := false // a day that was reopened
	for _, w := range t.windows {
		reading = reading || w.Reopened != nil && w.Settled == nil
	}
	gone := map[window.Day]*Window{}
	for day, w := range t.windows {
		if reading && w.Reopened != nil {
			continue
		}
		old := now.Sub(day.End()) >= lookback+ledgerLife
		if w.Settled != nil && old && t.Settled(day+1) && t.Settled(day+2) && !needed[day] {
			gone[day] = w
		}
	}
	if len(gone) == 0 {
		return 0
	}
	t.rows = t.rows.keep(func(e *entry) bool { return gone[e.day()] == nil })
	for day, w := range gone {
		of, place := monthOf(day)
		m := t.months[of]
		if m == nil {
			m = &Month{V: Version}
			t.months[of] = m
		}
		m.Settled |= 1 << place
		if w.Events+w.Rejects > 0 {
			if m.Days == nil {
				m.Days = map[string]SettledDay{}
			}
			m.Days[dayName(place)] = SettledDay{Rows: w.Rows, Events: w.Events, Rejects: w.Rejects, Vanished: w.Vanished,
				Digest: w.Digest, First: w.FirstEvent}
		}
		m.dirty = true
		for _, s := range w.segments {
			t.deleted = append(t.deleted, ledgerKey(t.ID, day, s.seq))
		}
		t.deleted = append(t.deleted, windowKey(t.ID, day))
		delete(t.windows, day)
	}
	t.Header.Dropped += len(gone)
	t.headerDirty = true
	slices.SortFunc(t.deleted, cmp.Compare[string])
	return len(gone)
}
