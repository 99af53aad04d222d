package poller

import (
	"fmt"
	"time"

	"pstncalls/internal/clock"
	"pstncalls/internal/status"
)

// clockWatch finds jumps: it compares the clock with the machine's monotonic one.
type clockWatch struct {
	shown time.Time // what the clock showed
	at    time.Time // and when, monotonic
}

// rated is a clock that runs at another pace than the machine's.
type rated interface{ Rate() float64 }

// jumped reports whether the clock has been set since the last call.
func (w *clockWatch) jumped(c clock.Clock, now time.Time) bool {
	rate := 1.0
	if r, ok := c.(rated); ok {
		rate = r.Rate()
	}
	at := time.Now()
	passed := time.Duration(float64(at.Sub(w.at)) * rate)
	by := now.Round(0).Sub(w.shown) - passed // Round strips the monotonic reading
	first := w.at.IsZero()
	w.shown, w.at = now.Round(0), at
	return !first && by.Abs() > time.Duration(float64(clock.MaxDistance)*max(rate, 1))
}

// clockJumped takes the trust from all scans in progress: when they began is not known any more.
func (s *session) clockJumped(now time.Time) {
	s.log.Warn("the clock has jumped: nothing settles until an answer of Graph confirms it", "now", now)
	s.flushed = now
	for _, t := range s.tenants {
		t.probeAt = time.Time{}
		for _, sc := range t.scans {
			sc.astray = true
		}
		t.planAt = time.Time{}
		s.beginCondition(t, status.ClockJumped, "this machine's clock was set while the program ran: nothing settles until Graph's answers confirm it")
	}
}

// checkState compares our clock with what the last owner noted. Where it is far behind, perhaps nothing is due, and no answer of
// Graph would ever show it.
func (s *session) checkState(t *tenant, now time.Time) {
	last := t.Header.Start.Start()
	if r := t.Header.Requests; r != nil && r.At.After(last) {
		last = r.At
	}
	for _, day := range t.Windows() {
		if w := t.Window(day); w.LastScan != nil && w.LastScan.After(last) {
			last = *w.LastScan
		}
	}
	if last.Sub(now) > clock.MaxDistance {
		s.beginCondition(t, status.ClockOff, fmt.Sprintf("this machine's clock shows %s, and the last owner's showed %s: one of them is off, and nothing settles until Graph's answers confirm this one",
			now.Format(time.RFC3339), last.Format(time.RFC3339)))
	}
}

// checkClock compares our clock with the Date of a page's answer. What settles a window must have begun when we think it did.
func (s *session) checkClock(f fetched) {
	sc, t := f.scan, f.scan.tenant
	if f.page.Asked.Before(sc.begun) {
		sc.astray = true
	}
	if f.page.ServerDate.IsZero() {
		return
	}
	d := clock.Distance(f.page.Asked, f.page.Received, f.page.ServerDate)
	s.p.cfg.Metrics.Clock.WithLabelValues(t.ID).Set(d.Seconds())
	if d.Abs() > clock.MaxDistance {
		sc.astray = true
		where := "behind"
		if d < 0 {
			where = "ahead of"
		}
		s.beginCondition(t, status.ClockOff, fmt.Sprintf("this machine's clock is %s %s Graph's: days are cut by it, so nothing settles until it is set right", d.Abs().Round(10*time.Second), where))
		return
	}
	s.endCondition(t, status.ClockOff)
	s.endCondition(t, status.ClockJumped)
}
