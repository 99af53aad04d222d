package poller_test

import (
	"context"
	"testing"
	"time"

	"pstncalls/internal/clock"
	"pstncalls/internal/graphfake"
	"pstncalls/internal/kafka"
	"pstncalls/internal/poller"
	"pstncalls/internal/schedule"
	"pstncalls/internal/window"
)

// slowToClaim takes its time between fence and claim, so that who is fenced sees its own claim as the newest for a while.
type slowToClaim struct{}

func (slowToClaim) Reached(_ int32, p kafka.Point) {
	if p == kafka.AtFenced {
		time.Sleep(500 * time.Millisecond)
	}
}

// TestTwoOwners lets three pollers believe, one after the other, that they own the same shard, in the middle of scans and while
// rows keep arriving. The deposed ones stand by.
func TestTwoOwners(t *testing.T) {
	today := window.Of(time.Now()).Start()
	w := newWorld(t, clock.System, schedule.Settings{Interval: 50 * time.Millisecond, Lookback: 7 * 24 * time.Hour}, window.Of(today)-2,
		graphfake.Config{Seed: 3, PageSize: 20, Tenants: []graphfake.TenantConfig{{ID: tenant, RowsPerDay: 600, Flat: true,
			From: today.Add(-48 * time.Hour), To: today, NoIDShare: 0.02, NullCallIDShare: 0.02}}})
	patient := setUp{change: func(c *poller.Config) { c.StandDown = time.Hour }} // however slow the machine is
	a := w.run("a", patient)
	w.until("a publishes", func() bool { return len(w.read(topics.Events)) > 0 })
	b := w.run("b", patient)
	deposed := func(r *replica) func() bool {
		rows := 0
		return func() bool {
			if rows++; rows%10 == 1 { // often enough that there is always something to commit, and few enough to be read in time
				id := w.add(1, today)[0]
				w.correct(id, func(r map[string]any) { r["duration"] = 6 })
			}
			return r.log.has("standing by")
		}
	}
	w.until("a stands by", deposed(a))
	c := w.run("c", setUp{observer: slowToClaim{}})
	w.until("b stands by", deposed(b))
	v := w.clean("three owners")
	if v.Rows < 1200 {
		t.Errorf("%s: too few rows to show anything", v)
	}
	// Those that stand by do not fence back: c still publishes, and the newest claim is c's.
	w.add(5, today)
	w.clean("after the take-overs")
	look, err := c.cluster.Look(context.Background(), kafka.ShardOf(tenant, 12), kafka.Look{})
	if err != nil || look.Claim.Instance != "c" {
		t.Errorf("the newest claim is %q (%v), want c", look.Claim.Instance, err)
	}
	if c.log.has("session ended") {
		t.Errorf("c was fenced by one that should stand by:\n%s", c.log)
	}
}
