// Package schedule owns when what is due: a pure function of the time, the windows and the settings.
//
// The open window is due every interval. A closed one is due again when its age has doubled, until the lookback: then once
// more, and that scan settles it. A window that was never read is due at once. The newest comes first, so today's calls do
// not wait for a backfill; those that have been due for an hour come before them, the longest first, so none starves.
package schedule

import (
	"slices"
	"time"

	"pstncalls/internal/window"
)

// Settings are the two times that the plan depends on.
type Settings struct {
	Interval time.Duration // between scans of the open window
	Lookback time.Duration // how long after its end a window is read again
}

// Window is what the plan has to know of a window.
type Window struct {
	Day      window.Day
	LastScan time.Time // when its last complete scan began; zero if there was none
	Settled  bool
}

// Never is the due time of a settled window.
var Never = time.Unix(1<<40, 0).UTC()

// Due returns when a window is to be read again.
func (s Settings) Due(w Window) time.Time {
	end := w.Day.End()
	final := end.Add(s.Lookback)
	switch {
	case w.Settled:
		return Never
	case w.LastScan.IsZero():
		return w.Day.Start()
	case w.LastScan.Before(end): // it was open then
		return w.LastScan.Add(s.Interval)
	case w.LastScan.Before(final):
		next := end.Add(2 * w.LastScan.Sub(end))
		if soonest := w.LastScan.Add(s.Interval); next.Before(soonest) {
			next = soonest
		}
		if next.After(final) {
			next = final
		}
		return next
	default: // a scan that could not settle it, because it was resumed
		return w.LastScan.Add(s.Interval)
	}
}

// Settles reports whether a complete scan of a window that began at begun is its last.
func (s Settings) Settles(d window.Day, begun time.Time) bool {
	return !begun.Before(d.End().Add(s.Lookback))
}

// Item is a window that is due.
type Item struct {
	Day  window.Day
	Due  time.Time
	Open bool // it contains now: it goes before everything else
}

// starving is how long a window may be due before it goes before younger ones.
const starving = time.Hour

// Plan returns the windows that are due at now, in the order in which they should be read, and when the next of the others
// will be.
func (s Settings) Plan(now time.Time, ws []Window) (due []Item, next time.Time) {
	next = Never
	today := window.Of(now)
	for _, w := range ws {
		at := s.Due(w)
		if at.After(now) {
			if at.Before(next) {
				next = at
			}
			continue
		}
		due = append(due, Item{Day: w.Day, Due: at, Open: w.Day >= today})
	}
	rank := func(i Item) int {
		switch {
		case i.Open:
			return 0
		case now.Sub(i.Due) > starving && !i.Due.Equal(i.Day.Start()): // one that was read before
			return 1
		}
		return 2
	}
	slices.SortFunc(due, func(a, b Item) int {
		if ra, rb := rank(a), rank(b); ra != rb {
			return ra - rb
		}
		if rank(a) == 1 && !a.Due.Equal(b.Due) {
			return a.Due.Compare(b.Due)
		}
		return int(b.Day - a.Day)
	})
	return due, next
}
