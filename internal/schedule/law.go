package schedule

import (
	"math"
	"time"
)

// term is a window in the law.
type term struct {
	pages  float64 // that a scan costs; quiet windows share one
	rate   float64 // rows an hour that are expected at its age
	lo, hi time.Duration
}

// every returns how often the window is read under the factor k.
func (t term) every(k float64) time.Duration {
	hours := k * math.Sqrt(t.pages/t.rate)
	if hours >= t.hi.Hours() { // compared as floats: as a Duration it may overflow
		return t.hi
	}
	return max(time.Duration(hours*float64(time.Hour)), t.lo)
}

// cost returns the pages an hour that the windows cost under the factor k; it never grows with k.
func cost(ts []term, k float64) float64 {
	sum := 0.0
	for _, t := range ts {
		sum += t.pages / t.every(k).Hours()
	}
	return sum
}

// solve returns the smallest factor under which the windows cost no more than share pages an hour; infinity, and so every window
// waits as long as it may, if none does.
func solve(ts []term, share float64) float64 {
	if cost(ts, 0) <= share {
		return 0
	}
	if cost(ts, math.Inf(1)) > share {
		return math.Inf(1)
	}
	lo, hi := 0.0, 0.0
	for _, t := range ts {
		hi = max(hi, t.hi.Hours()/math.Sqrt(t.pages/t.rate))
	}
	for range 60 {
		if mid := (lo + hi) / 2; cost(ts, mid) <= share {
			hi = mid
		} else {
			lo = mid
		}
	}
	return hi
}

// law returns the factor for the windows as they are. While there are closed days that were never read nothing is left over:
// windows wait for their doubling.
func (p *planner) law() float64 {
	if p.Behind() {
		return math.Inf(1)
	}
	ts, open := p.terms()
	hourly := p.hourly()
	return solve(ts, max(hourly/2-open, hourly/10))
}

// hourly returns the requests an hour that the budget has.
func (p *planner) hourly() float64 { return 60 * float64(max(p.PerMinute, 1)) }

// terms returns the windows in the law, and the pages an hour that the open window costs beside it, at every interval.
func (p *planner) terms() (ts []term, open float64) {
	open = 1
	for i := range p.days {
		w := &p.days[i].Window
		ph := p.phase(w)
		if ph == dense || ph == lookback && p.final(w.Day).After(p.Now) {
			ts = append(ts, p.term(w))
		}
		switch {
		case w.Day != p.today:
		case ph == dense:
			open = p.tailPages(w, p.Interval+p.back(w, p.Interval))
		default:
			open = pages(float64(w.Rows))
		}
	}
	return ts, open / p.Interval.Hours()
}

// Need returns the requests an hour that it costs to read the windows as seldom as is permitted, and those that the budget has. Days
// that were never read are left out: they are read once, with whatever is left.
func (s Settings) Need(in Input) (needed, budget float64) {
	p := outline(s, in)
	ts, open := p.terms()
	return cost(ts, math.Inf(1)) + open, p.hourly()
}

// term returns the window in the law; it must be dense or in its lookback.
func (p *planner) term(w *Window) term {
	t := term{pages: float64(max(w.Rows, 1)) / pageRows, lo: p.Interval}
	middle := w.Day.Start().Add(12 * time.Hour)
	if w.Day == p.today {
		middle = w.Day.Start().Add(p.Now.Sub(w.Day.Start()) / 2) // of the part that is over
		t.hi = 24 * time.Hour
	} else {
		t.hi = p.begun(w.LastScan).Sub(w.Day.End()) // the doubling
	}
	t.hi = max(t.hi, t.lo)
	t.rate = max(float64(w.Rows), p.mean, 1) * p.Lateness.PerHour(p.Now.Sub(middle))
	return t
}

// back returns how far before the scan before it, since ago, a tail reaches: as far as nine of ten rows are late, unless that
// would cost more than a quarter of the requests of an interval.
func (p *planner) back(w *Window, since time.Duration) time.Duration {
	back := min(max(p.Lateness.Quantile(0.9), minBack), maxBack)
	quarter := float64(p.PerMinute) * p.Interval.Minutes() / 4
	if most := quarter*pageRows/p.perHour(w) - since.Hours(); most < back.Hours() {
		back = max(time.Duration(most*float64(time.Hour)), minBack)
	}
	return back
}

// tailPages returns what the last part of the open window, as long as reach, is expected to cost.
func (p *planner) tailPages(w *Window, reach time.Duration) float64 {
	return pages(p.perHour(w) * reach.Hours())
}

// perHour returns the rows an hour of the open window, so far.
func (p *planner) perHour(w *Window) float64 {
	elapsed := max(p.Now.Sub(w.Day.Start()), minBack) // just after midnight there is nothing to divide by
	return float64(w.Rows) / elapsed.Hours()
}

// pages returns the requests that so many rows are expected to cost.
func pages(rows float64) float64 { return max(1, rows/pageRows) }
