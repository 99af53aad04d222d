package poller

import (
	"fmt"
	"time"

	"pstncalls/internal/schedule"
	"pstncalls/internal/state"
	"pstncalls/internal/status"
	"pstncalls/internal/window"
)

// What the arrival of new rows says: that none come any more, or that they come too late.

// lastPolled returns when the open window was last read, as far as the state says it.
func lastPolled(t *state.Tenant, now time.Time) (last time.Time) {
	for day := window.Of(now) - 1; day <= window.Of(now); day++ {
		w := t.Window(day)
		for _, at := range []*time.Time{w.LastScan, w.Tail} {
			if at != nil && at.After(last) {
				last = *at
			}
		}
	}
	return last
}

// gapAnew begins the time without a new row anew where the open window has not been read for a while: two intervals, and the ten
// minutes that the state may be behind.
func (s *session) gapAnew(t *tenant, now time.Time) {
	if a := t.Header.Arrivals; a != nil && now.Sub(t.polled).Abs() > 2*s.p.cfg.Schedule.Interval+scheduleEvery {
		t.arrivals(func(a *state.Arrivals) { a.Interrupted(now) })
	}
}

func (t *tenant) arrivals(change func(*state.Arrivals)) {
	t.SetHeader(func(h *state.Header) {
		var a state.Arrivals
		if h.Arrivals != nil {
			a = *h.Arrivals
		}
		change(&a)
		h.Arrivals = &a
	})
}

// arrived notes new rows of a scan. Those of days that are read for the first time have come long ago.
func (s *session) arrived(sc *scan, now time.Time) {
	t := sc.tenant
	if sc.kind == schedule.First {
		return
	}
	s.gapAnew(t, now)
	t.arrivals(func(a *state.Arrivals) { a.Arrived(now) })
	s.endCondition(t, status.NoNewRows)
}

// looked is told of a complete scan of the open window, or of its tail.
func (s *session) looked(t *tenant, now time.Time) {
	s.gapAnew(t, now)
	t.polled = now
	if a := t.Header.Arrivals; a != nil && a.Silent(now) {
		s.beginCondition(t, status.NoNewRows, fmt.Sprintf("the newest row came at %s; before, no more than %s went by without a new one, while somebody polled",
			a.Last.UTC().Format(time.DateTime), a.Longest()))
	}
}

const (
	edgeTimes = 3 // rows
	edgeFor   = 24 * time.Hour
)

// atEdge takes note of a new row that came in the last quarter of its window's lookback. The scan before must have been within the
// second half, as the doubling wants it: otherwise the row may have waited for somebody to poll.
func (s *session) atEdge(t *tenant, day window.Day, now time.Time) {
	lookback := s.p.cfg.Schedule.Lookback
	w := t.Window(day)
	if now.Before(day.End().Add(lookback-lookback/4)) || w.LastScan == nil || w.LastScan.Before(day.End().Add(lookback/2)) {
		return
	}
	t.edge = append(recent(t.edge, now, edgeFor), now)
	if len(t.edge) < edgeTimes {
		return
	}
	t.edge = t.edge[len(t.edge)-edgeTimes:]
	s.happened(t, status.LookbackTooShort, fmt.Sprintf("rows come as late as POLL_LOOKBACK (%s) reaches: within a day, %d or more were first seen in its last quarter, the last one of %s", lookback, edgeTimes, day))
}
