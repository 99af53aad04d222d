package poller_test

import (
	"testing"
	"time"

	"pstncalls/internal/graphfake"
	"pstncalls/internal/schedule"
	"pstncalls/internal/window"
)

// TestLagAcrossMidnight lets an outage last into a day of which nothing was ever read: its lag grows from midnight on.
func TestLagAcrossMidnight(t *testing.T) {
	c := &steps{}
	today := window.Of(c.Now())
	w := newWorld(t, c, schedule.Settings{Interval: 30 * time.Millisecond, Lookback: 7 * 24 * time.Hour}, today,
		graphfake.Config{Tenants: []graphfake.TenantConfig{{ID: tenant}}})
	w.add(5, today.Start())
	r := w.run("a", setUp{})
	w.clean("before the outage")
	w.graph.Script(graphfake.Fault{Kind: graphfake.Status, Status: 500, Count: -1})
	midnight := today.End()
	c.step(midnight.Add(2 * time.Hour).Sub(c.Now()))
	w.until("the lag is two hours", func() bool {
		lag := time.Duration(r.lag() * float64(time.Second))
		return lag >= 2*time.Hour && lag <= c.Now().Sub(midnight)
	})
}

// lag returns the open window's lag in seconds; -1 where it is not shown.
func (r *replica) lag() float64 {
	r.w.Helper()
	families, err := r.metrics.Gather()
	if err != nil {
		r.w.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "pstncalls_open_window_lag_seconds" {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	return -1
}
