//go:build synctests

package poller_test

import (
	"slices"
	"time"

	"pstncalls/internal/graphfake"
	"pstncalls/internal/window"
)

// slack is how much later than due a scan may be complete: requests wait for the budget and for each other.
const slack = time.Hour

// spans returns what pages could show of a row, and which of it they had to.
func (m *model) spans(t graphfake.TrueRow) []span {
	var out []span
	for _, v := range t.Versions {
		until := v.VisibleUntil
		if until.IsZero() {
			until = never
		}
		for i, su := range m.setUps {
			from, to := v.VisibleFrom, until
			if i > 0 && su.at.After(from) {
				from = su.at
			}
			if i+1 < len(m.setUps) && m.setUps[i+1].at.Before(to) {
				to = m.setUps[i+1].at
			}
			// A row may vanish while the first page of a new set-up is read, in the same instant of virtual time.
			if !from.Before(to) && !(i > 0 && from.Equal(to) && su.at.Equal(until)) {
				continue
			}
			s := span{content: contentOf(v.JSON, su.setUpOf), from: from, until: to, day: window.Of(v.Start)}
			if n := len(out); n > 0 && out[n-1].content == s.content && out[n-1].day == s.day && out[n-1].until.Equal(from) {
				out[n-1].until = to
				continue
			}
			out = append(out, s)
		}
	}
	for i := range out {
		s := &out[i]
		by, ok := m.readBy(s.from, s.day)
		s.by, s.must = by, ok && by.Before(s.until) && by.Before(time.Now())
	}
	return out
}

// seenUntil returns how long after its end a version may still be published: the page that showed it has to be committed.
func (m *model) seenUntil(until time.Time) time.Time {
	late := until.Add(2 * time.Minute)
	for _, t := range m.frozen {
		if t.from.Before(late) && t.to.After(until) {
			late = t.to.Add(2 * time.Minute)
		}
	}
	return late
}

// readings prepares readBy: changes of a day's rows while scans may be slow are shifts as well.
func (m *model) readings() {
	slices.SortFunc(m.trouble, func(a, b interval) int { return a.from.Compare(b.from) })
	m.moved = map[window.Day][]moved{}
	for _, s := range m.shifts {
		m.moved[s.day] = append(m.moved[s.day], moved{s.at, false})
	}
	during := func(at time.Time) (trouble, down bool) {
		for _, tr := range m.trouble {
			switch {
			case tr.from.IsZero() || at.Before(tr.from):
			case tr.down:
				down = down || !at.After(tr.to)
			case !at.After(tr.to.Add(10 * time.Minute)):
				return true, false
			}
		}
		return down, down
	}
	for _, t := range m.graph.Truth(tenant) {
		for _, v := range t.Versions {
			for _, at := range []time.Time{v.VisibleFrom, v.VisibleUntil} {
				trouble, down := during(at)
				if !trouble {
					continue
				}
				day := window.Of(v.Start)
				for d := day - 1; d <= day+1; d++ {
					m.moved[d] = append(m.moved[d], moved{at, down})
				}
			}
		}
	}
	for _, at := range m.moved {
		slices.SortFunc(at, func(a, b moved) int { return a.at.Compare(b.at) })
	}
}

// moved is a change of a day's rows while a scan may stand between two of its pages; down: because no process runs, so that the
// scan that goes on is a resumed one, which settles nothing.
type moved struct {
	at   time.Time
	down bool
}

// due returns when a scan of the day, begun after an instant, is due at the latest, by the doubling law. ok is false if there
// need not be another.
func (m *model) due(after time.Time, day window.Day) (at time.Time, ok bool) {
	end := day.End()
	final := end.Add(m.h.lookback)
	switch {
	case day < m.day(-m.h.back):
		return at, false
	case !after.After(m.birth):
		return m.birth, true
	case !after.Before(final):
		return at, false
	case after.Before(end):
		return after.Add(m.h.interval), true
	}
	age := after.Sub(end)
	at = end.Add(max(2*age, age+m.h.interval))
	if at.After(final) {
		at = final
	}
	return at, true
}

// readBy returns until when the day has been read by a scan that began after an instant and showed all rows that were visible
// throughout.
func (m *model) readBy(after time.Time, day window.Day) (time.Time, bool) {
	due, ok := m.due(after, day)
	by := due.Add(slack)
	moved := m.moved[day]
	for again := ok; again; {
		again = false
		for _, t := range m.trouble {
			if t.from.Before(by) && t.to.After(due) && t.to.Add(slack).After(by) {
				by, again = t.to.Add(slack), true
			}
		}
		for len(moved) > 0 && moved[0].at.Before(by) {
			if mv := moved[0]; mv.at.After(after) {
				next, ok := m.due(mv.at.Add(time.Minute), day)
				switch {
				case ok:
					due = next
				case mv.down: // after its final scan was resumed there is another
					due = mv.at
				default:
					return by, false
				}
				if next := due.Add(slack); next.After(by) {
					by, again = next, true
				}
			}
			moved = moved[1:]
		}
	}
	return by, ok
}

// clockOff reports whether the program's clock was off, or what it had noted then could still count, in a span of time.
func (m *model) clockOff(from, to time.Time) bool {
	return slices.ContainsFunc(m.stepped, func(c interval) bool { return c.from.Before(to) && from.Before(c.to) })
}
