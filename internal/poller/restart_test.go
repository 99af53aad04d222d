package poller_test

import (
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pstncalls/internal/clock"
	"pstncalls/internal/graphfake"
	"pstncalls/internal/kafka"
	"pstncalls/internal/poller"
	"pstncalls/internal/schedule"
	"pstncalls/internal/state"
	"pstncalls/internal/window"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestLateAndCorrected lets days pass in seconds: rows come late, change and move until their windows have settled.
func TestLateAndCorrected(t *testing.T) {
	const lookback = 48 * time.Hour
	from := window.Of(time.Now()) - 30
	c := clock.NewScaled(from.Start().Add(12*time.Hour), 86_400)
	w := newWorld(t, c, schedule.Settings{Interval: time.Hour, Lookback: lookback}, from, graphfake.Config{Seed: 11, PageSize: 30,
		Tenants: []graphfake.TenantConfig{{ID: tenant, RowsPerDay: 100, From: from.Start(), To: (from + 3).Start(), MaxLateness: lookback - 12*time.Hour,
			LateShare: 0.1, CorrectShare: 0.1, MoveShare: 0.02, NoIDShare: 0.02, RejectShare: 0.02}}})
	r := w.run("a", setUp{})
	w.until("all windows settle", func() bool {
		s := w.state(r)
		for day := from; day < from+3; day++ {
			if s == nil || s.Window(day).Settled == nil {
				return false
			}
		}
		return true
	})
	v := w.verdict(time.Time{})
	if !v.OK() || v.Revisions == 0 || v.Rejects == 0 {
		t.Errorf("%s %q", v, v.Details)
	}
	late := 0
	for _, tr := range w.graph.Truth(tenant) {
		if first := tr.Versions[0]; first.VisibleFrom.After(window.Of(first.Start).End().Add(2 * time.Hour)) {
			late++
		}
	}
	if late == 0 {
		t.Error("no row came after its window's end: the test shows nothing")
	}
	t.Logf("%s, %d late", v, late)

	// The watermark only ever moves on, and says no more than what was read.
	var last time.Time
	for _, rec := range w.read(topics.Watermark) {
		at := completeUpTo(t, rec)
		if at.Before(last) || at.After(c.Now()) {
			t.Errorf("the watermark moved from %s to %s", last, at)
		}
		last = at
	}
	if last.Before((from + 3).Start()) {
		t.Errorf("all windows have settled, and the watermark is %s", last)
	}
}

// requests notes what is asked of a day.
type requests struct {
	mu    sync.Mutex
	skips []int
}

func (w *world) watch(day window.Day) *requests {
	q := &requests{}
	w.graph.Script(graphfake.Fault{Kind: graphfake.Hook, Count: -1, Day: day.Start().Add(time.Hour), Hook: func(r graphfake.Request) {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.skips = append(q.skips, r.Skip)
	}})
	return q
}

func (q *requests) get() []int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.Clone(q.skips)
}

// at calls a function when a point is reached for the n-th time.
type at struct {
	point kafka.Point
	left  atomic.Int64
	do    func()
}

func stopAt(p kafka.Point, n int64, do func()) *at {
	a := &at{point: p, do: do}
	a.left.Store(n)
	return a
}

func (a *at) Reached(_ int32, p kafka.Point) {
	if p == a.point && a.left.Add(-1) == 0 {
		a.do()
	}
}

// steps is the machine's clock, a distance away.
type steps struct{ offs atomic.Int64 }

func (s *steps) Now() time.Time { return time.Now().UTC().Add(time.Duration(s.offs.Load())) }

func (s *steps) Timer(d time.Duration) (<-chan time.Time, func()) { return clock.System.Timer(d) }

func (s *steps) step(d time.Duration) { s.offs.Add(int64(d)) }

func TestRestartPublishesNothing(t *testing.T) {
	today := window.Of(time.Now())
	w := newWorld(t, clock.System, schedule.Settings{Interval: 50 * time.Millisecond, Lookback: 7 * 24 * time.Hour}, today-2,
		graphfake.Config{Seed: 4, PageSize: 50, Tenants: []graphfake.TenantConfig{{ID: tenant, RowsPerDay: 300, Flat: true,
			From: (today - 2).Start(), To: today.Start(), NoIDShare: 0.05, RejectShare: 0.05}}})
	w.add(5, today.Start())
	r := w.run("a", setUp{})
	w.clean("before")
	r.stop()
	before := len(w.read(topics.Events)) + len(w.read(topics.DLQ))
	open := w.watch(today)
	again := w.run("b", setUp{change: func(c *poller.Config) { c.Schedule.Interval = 20 * time.Millisecond }})
	w.until("the open window is read again", func() bool { return len(open.get()) > 5 })
	again.stop()
	if after := len(w.read(topics.Events)) + len(w.read(topics.DLQ)); after != before {
		t.Errorf("a restart published %d records although nothing had changed", after-before)
	}
}

// TestRestartInADenseDay interrupts the scan that would settle a day: another one goes on at the stored page, unless its set-up
// is another, and does not settle the day.
func TestRestartInADenseDay(t *testing.T) {
	tests := []struct {
		name   string
		change func(*poller.Config)
		goesOn bool
	}{
		{"same set-up", nil, true},
		{"other API version", func(c *poller.Config) { c.APIVersion = "v1.0" }, false},
		{"other privacy rules", func(c *poller.Config) { c.Privacy = privacy(t, "callerNumber=drop") }, false},
		{"other endpoint", func(c *poller.Config) { c.Endpoint += "/other" }, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := &steps{}
			day := window.Of(c.Now()) - 1
			w := newWorld(t, c, schedule.Settings{Interval: 100 * time.Millisecond, Lookback: 48 * time.Hour}, day,
				graphfake.Config{Seed: 6, PageSize: 20, Tenants: []graphfake.TenantConfig{{ID: tenant, RowsPerDay: 200, Flat: true,
					From: day.Start(), To: (day + 1).Start()}}})
			first := w.run("a", setUp{})
			w.until("the day is read", func() bool { s := w.state(first); return s != nil && s.Window(day).LastScan != nil })
			first.stop()

			c.step(72 * time.Hour)
			asked, answer := make(chan struct{}), make(chan struct{})
			w.graph.Script(graphfake.Fault{Kind: graphfake.Hook, Day: day.Start(), Page: 6, Hook: func(graphfake.Request) {
				close(asked)
				<-answer
			}})
			second := w.run("b", setUp{})
			<-asked
			second.cancel()
			close(answer)
			second.stop()
			saved := w.state(second).Scans()
			i := slices.IndexFunc(saved, func(s *state.Scan) bool { return s.Range.Contains(day) })
			if i < 0 {
				t.Fatal("no scan of the day was interrupted")
			}

			q := w.watch(day)
			third := w.run("c", setUp{change: tt.change})
			w.until("the day settles", func() bool {
				for line := range strings.Lines(third.log.String()) { // the record follows only with the next commit
					if strings.Contains(line, "scan complete") && strings.Contains(line, "range=\"["+day.String()) && !strings.Contains(line, "settled=0") {
						return true
					}
				}
				return false
			})
			third.stop()
			if went := third.log.has("going on with a scan"); went != tt.goesOn {
				t.Errorf("it goes on with the scan: %v, want %v", went, tt.goesOn)
			}
			if !slices.Contains(q.get(), 0) {
				t.Error("a resumed scan settled the day")
			}
		})
	}
}

// nineDays is a world of nine closed days and today, where something is due all the time.
func nineDays(t *testing.T, c clock.Clock) *world {
	t.Helper()
	day := window.Of(c.Now())
	return newWorld(t, c, schedule.Settings{Interval: 20 * time.Millisecond, Lookback: 7 * 24 * time.Hour}, day-9,
		graphfake.Config{Seed: 6, PageSize: 20, Tenants: []graphfake.TenantConfig{{ID: tenant, RowsPerDay: 30, Flat: true,
			From: (day - 9).Start(), To: day.Start()}}})
}

func polite(c *poller.Config) { c.PoliteSuccessor = true }

// TestSuccessorIsPolite ends an owner in order or not: what its successor may ask in the first minute follows from that.
func TestSuccessorIsPolite(t *testing.T) {
	tests := []struct {
		name  string
		crash bool
		later time.Duration
		want  int // requests; -1: no restriction
	}{
		{"after a crash", true, 2 * time.Minute, 3},
		{"after a crash of a young owner", true, 0, 0},
		{"after a hand-over", false, 0, -1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := &steps{}
			w := nineDays(t, c)
			u := setUp{change: polite}
			if tt.crash {
				u.observer = stopAt(poller.AtPage, 9, runtime.Goexit)
			}
			first := w.run("a", u)
			if tt.crash {
				<-first.done
			} else {
				w.clean("before the hand-over")
				first.stop()
			}
			spent, served := first.budget.LastMinute(), w.graph.Requests(200)
			c.step(tt.later)
			second := w.run("b", setUp{change: polite})
			w.until("the successor owns the shard", func() bool { return second.log.has("owner of the shard") })
			if tt.want < 0 {
				w.until("it asks on", func() bool { return w.graph.Requests(200) > served+3 })
				// The predecessor's last answer may have been counted after served was read.
				if own := w.graph.Requests(200) - served - 1; second.budget.LastMinute() < min(spent, 50)+own { // what is beyond Graph's limit is not handed over
					t.Errorf("it counts %d requests: want its own %d and the predecessor's %d, 50 at most", second.budget.LastMinute(), own, spent)
				}
				return
			}
			w.until("it has asked what it may", func() bool { return second.budget.LastMinute() >= tt.want })
			time.Sleep(150 * time.Millisecond) // several intervals
			if n := second.budget.LastMinute(); n != tt.want {
				t.Errorf("%d requests in its first minute, want %d", n, tt.want)
			}
		})
	}
}

// TestStumblingSuccessor lets the successor of a crashed owner fail between its claim and its first session: the claim that it
// finds then is its own, and the rule for successors holds all the same.
func TestStumblingSuccessor(t *testing.T) {
	c := &steps{}
	w := nineDays(t, c)
	first := w.run("a", setUp{change: polite, observer: stopAt(poller.AtPage, 9, runtime.Goexit)})
	<-first.done
	c.step(2 * time.Minute)
	second := w.run("b", setUp{change: polite, observer: stopAt(kafka.AtClaimed, 1, func() {
		w.kafka.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.ListOffsets}, Err: kerr.UnknownServerError, Count: 1})
	})})
	w.until("it stumbles, and owns the shard", func() bool { return second.log.has("session ended") && second.log.has("owner of the shard") })
	time.Sleep(300 * time.Millisecond) // many intervals
	if n := second.budget.LastMinute(); n > 3 {
		t.Errorf("%d requests in its first minute, want at most 3", n)
	}
}
