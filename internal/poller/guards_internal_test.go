package poller

import (
	"testing"
	"time"

	"pstncalls/internal/schedule"
	"pstncalls/internal/state"
	"pstncalls/internal/window"
)

// A day settles with a scan that has shown it whole: nothing looks at it again.
func TestSettling(t *testing.T) {
	const day, lookback = window.Day(20000), 48 * time.Hour
	old := day.End().Add(lookback)
	for name, tt := range map[string]struct {
		before time.Time // when a complete scan began
		change func(*scan)
		want   bool
	}{
		"one page":                                {time.Time{}, func(*scan) {}, true},
		"resumed":                                 {old, func(sc *scan) { sc.resumed = true }, false},
		"a row left, perhaps older than known":    {old, func(sc *scan) { sc.stale = true }, false},
		"the clock was off":                       {old, func(sc *scan) { sc.astray = true }, false},
		"within the lookback":                     {old, func(sc *scan) { sc.begun = old.Add(-1) }, false},
		"several pages for the first time":        {time.Time{}, func(sc *scan) { sc.pages = 2 }, false},
		"several pages again":                     {old, func(sc *scan) { sc.pages = 2 }, true},
		"several pages again, and news":           {old, func(sc *scan) { sc.pages, sc.changed[day] = 2, true }, false},
		"several pages again, resumed":            {old, func(sc *scan) { sc.pages, sc.resumed = 2, true }, false},
		"several pages, before while it was open": {day.End().Add(-1), func(sc *scan) { sc.pages = 2 }, false},
	} {
		rng := window.Range{From: day, To: day + 1}
		known := &tenant{Tenant: state.New("contoso", day)}
		if !tt.before.IsZero() {
			known.BeginScan(rng)
			known.Complete(state.Scanned{Range: rng, Begun: tt.before, Pages: 1})
		}
		s := &session{p: New(Config{Schedule: schedule.Settings{Interval: time.Minute, Lookback: lookback}})}
		sc := &scan{tenant: known, rng: rng, begun: old, pages: 1, changed: map[window.Day]bool{}}
		tt.change(sc)
		if got := len(s.settling(sc)) == 1; got != tt.want {
			t.Errorf("%s: settles %t, want %t", name, got, tt.want)
		}
	}
}
