package schedule

import (
	"time"

	"pstncalls/internal/state"
	"pstncalls/internal/window"
)

// Of returns the Input of a tenant as far as its state says it. Busy, and a budget that has changed since, are the caller's.
func Of(t *state.Tenant, now time.Time) Input {
	in := Input{Now: now, Held: int64(t.Rows()), Lateness: &Lateness{}}
	for day := t.Header.Start; day <= window.Of(now); day++ {
		w := t.Window(day)
		sw := Window{Day: day, Rows: w.Rows, Settled: w.Settled != nil}
		if w.LastScan != nil {
			sw.LastScan = *w.LastScan
		}
		if w.Tail != nil {
			sw.Tail = *w.Tail
		}
		in.Windows = append(in.Windows, sw)
	}
	if r := t.Header.Reading; r != nil {
		in.TimesCount = r.Times == state.TimesHonoured
	}
	if r := t.Header.Requests; r != nil {
		in.PerMinute = r.Limit
	}
	copy(in.Lateness.Counts[:], t.Header.Lateness)
	return in
}
