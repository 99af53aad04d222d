//go:build synctests

package poller_test

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pstncalls/internal/graphfake"
	"pstncalls/internal/kafka"
	"pstncalls/internal/poller"
	"pstncalls/internal/state"
	"pstncalls/internal/window"
)

// holds reports whether a condition is in the state.
func holds(t *state.Tenant, name string) bool {
	return slices.ContainsFunc(t.Header.Conditions, func(c state.Condition) bool { return c.Name == name })
}

// polls notes the real instants of the requests whose range holds today, by the program's clock.
func (s *scene) polls() func(since time.Time) []time.Time {
	var at []time.Time
	s.graph.Script(graphfake.Fault{Kind: graphfake.Hook, Count: -1, Hook: func(r graphfake.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if today := window.Of(s.Now()).Start(); !r.From.After(today) && r.To.After(today) {
			at = append(at, time.Now())
		}
	}})
	return func(since time.Time) []time.Time {
		s.mu.Lock()
		defer s.mu.Unlock()
		return slices.DeleteFunc(slices.Clone(at), func(t time.Time) bool { return t.Before(since) })
	}
}

// steady checks that the open window was polled from an instant on as often as it has to be, and that nothing else was asked for
// without end.
func (s *scene) steady(what string, since time.Time, polled []time.Time, asked int) {
	s.Helper()
	last, worst := since, time.Duration(0)
	for _, at := range append(polled, time.Now()) {
		worst = max(worst, at.Sub(last))
		last = at
	}
	if most := s.h.interval + 30*time.Second; worst > most {
		s.Errorf("%s: the open window was not polled for %v, want %v at most", what, worst, most)
	}
	if most := int(3*time.Since(since)/s.h.interval) + 30; asked > most {
		s.Errorf("%s: %d requests in %v, want at most %d", what, asked, time.Since(since), most)
	}
	s.Logf("%s: %d requests in %v, %d of them for the open window, %v apart at most", what, asked, time.Since(since).Round(time.Second), len(polled), worst.Round(time.Second))
}

// TestClockSteps sets the clock of the machine while the program runs, and hours later right again. Nothing is lost, doubled or
// settled meanwhile, what is wrong is said until it is right, and polling neither stops nor runs wild.
func TestClockSteps(t *testing.T) {
	h := history{interval: 10 * time.Minute, lookback: dayLong, back: 3, pageSize: 100}
	for _, by := range []time.Duration{time.Hour, -time.Hour, dayLong, -dayLong} {
		t.Run(by.String(), func(t *testing.T) {
			stage(t, h, -3, 4, graphfake.TenantConfig{RowsPerDay: 50, Flat: true, LateShare: 0.2, MaxLateness: 6 * time.Hour}, func(s *scene) {
				polls := s.polls()
				s.until("the old days settle", time.Minute, time.Hour, func(t *state.Tenant) bool { return t.Settled(s.day(-3)) && t.Settled(s.day(-2)) })
				for _, step := range []struct {
					what string
					to   time.Duration
				}{{"while it is off", by}, {"when it is right again", 0}} {
					said := strings.Count(s.log.String(), "the clock has jumped")
					before := s.state()
					s.offs.Store(int64(step.to))
					since, asked := time.Now(), s.asked()
					time.Sleep(h.interval + 2*time.Minute)
					if n := strings.Count(s.log.String(), "the clock has jumped") - said; n != 1 {
						s.Errorf("%s: the log tells %d times that the clock has jumped", step.what, n)
					}
					if t := s.state(); holds(t, "clock-off") != (step.to != 0) || step.to == 0 && len(t.Header.Conditions) > 0 {
						s.Errorf("%s: conditions %+v", step.what, t.Header.Conditions)
					}
					time.Sleep(14*time.Hour - time.Since(since)) // the lookback of yesterday ends
					s.steady(step.what, since, polls(since), s.asked()-asked)
					t := s.state()
					for d := s.day(-3); d < s.day(5); d++ {
						if step.to != 0 && t.Settled(d) != before.Settled(d) {
							s.Errorf("%s: %s settles", step.what, d)
						}
					}
					if step.to == 0 && !t.Settled(s.day(-1)) {
						s.Errorf("%s: %s does not settle", step.what, s.day(-1))
					}
				}
				s.settleAll(4)
				s.clean()
			})
		})
	}
}

// TestClockStepsThere lets the clock be off from the start, and the step bring it right: what the program has not seen is read at
// once, and what it has said ends.
func TestClockStepsThere(t *testing.T) {
	h := history{interval: 10 * time.Minute, lookback: dayLong, back: 3, pageSize: 100}
	for _, by := range []time.Duration{time.Hour, -time.Hour, dayLong, -dayLong} {
		t.Run(by.String(), func(t *testing.T) {
			stage(t, h, -3, 4, graphfake.TenantConfig{RowsPerDay: 50, Flat: true}, func(s *scene) {
				s.offs.Store(int64(by))
				s.pause(op{kind: opStop, dur: time.Minute})
				time.Sleep(2 * time.Hour)
				if t := s.state(); !holds(t, "clock-off") {
					s.Errorf("conditions %+v by a clock that is %v off", t.Header.Conditions, by)
				}
				s.offs.Store(0)
				since := time.Now()
				s.until("the conditions end", time.Minute, h.interval+2*time.Minute, func(t *state.Tenant) bool { return len(t.Header.Conditions) == 0 })
				s.until("today is complete", time.Minute, h.interval+2*time.Minute, func(t *state.Tenant) bool {
					return !t.CompleteUpTo(time.Now()).Before(since)
				})
				s.settleAll(4)
				s.clean()
			})
		})
	}
}

// TestFrozenForAnHour stops the owner where it stands, as a debugger or a host without memory does: both its clocks go on. In a
// transaction it is fenced out by the broker meanwhile. Nothing is lost or doubled, and it goes on at once.
func TestFrozenForAnHour(t *testing.T) {
	h := history{interval: 10 * time.Minute, lookback: dayLong, back: 2, pageSize: 1000}
	for _, at := range []kafka.Point{poller.AtPage, kafka.AtProduced, kafka.AtCommitted} {
		t.Run(string(at), func(t *testing.T) {
			stage(t, h, -2, 2, graphfake.TenantConfig{RowsPerDay: 100, Flat: true}, func(s *scene) {
				polls := s.polls()
				time.Sleep(3 * time.Hour)
				s.mu.Lock()
				s.armed = append(s.armed, &armed{op: op{kind: opFreeze, what: string(at), dur: time.Hour}, left: 1})
				s.mu.Unlock()
				thaws := func() bool {
					s.model.mu.Lock()
					defer s.model.mu.Unlock()
					return len(s.frozen) > 0
				}
				s.until("it thaws", time.Minute, 3*time.Hour, func(*state.Tenant) bool { return thaws() })
				since, asked := time.Now(), s.asked()
				time.Sleep(2 * time.Hour)
				s.steady("after it", since, polls(since), s.asked()-asked)
				if t := s.state(); len(t.Header.Conditions) > 0 {
					s.Errorf("conditions %+v", t.Header.Conditions)
				}
				if s.log.has("the clock has jumped") {
					s.Error("a pause in which both clocks went on is taken for a jump")
				}
				s.settleAll(2)
				s.clean()
			})
		})
	}
}

// TestSuspendedForAnHour suspends the machine: when it wakes up, an hour has gone by for everybody else, and its own wall clock
// knows, but its monotonic clock does not. That is said until Graph confirms it, and then all is as ever.
func TestSuspendedForAnHour(t *testing.T) {
	t.Parallel()
	h := history{interval: 10 * time.Minute, lookback: dayLong, back: 3, pageSize: 100}
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(12 * time.Hour)
		m, err := newModel(&h)
		if err != nil {
			t.Fatal(err)
		}
		m.graph = graphfake.New(graphfake.Config{Seed: 1, PageSize: h.pageSize, Now: m.Now, Tenants: []graphfake.TenantConfig{{ID: tenant,
			RowsPerDay: 50, Flat: true, From: m.day(-3).Start(), To: m.day(3).Start()}}})
		s := &scene{T: t, model: m}
		polls := s.polls()
		m.startMain()
		time.Sleep(3 * time.Hour)
		script := m.graph.Script(graphfake.Fault{Kind: graphfake.Status, Status: 503, Count: -1}) // no answer confirms it yet
		s.offs.Store(int64(time.Hour))
		s.until("it says that the clock has jumped", time.Minute, 3*time.Minute, func(t *state.Tenant) bool { return holds(t, "clock-jumped") })
		script.Off()
		since := time.Now()
		s.until("Graph confirms it", time.Minute, 3*time.Minute, func(t *state.Tenant) bool { return len(t.Header.Conditions) == 0 })
		asked := len(polls(since))
		time.Sleep(2 * time.Hour)
		s.steady("after it", since, polls(since), len(polls(since))-asked)
		if s.log.has("clock-off") {
			t.Error("the clock is right, and said to be off")
		}
		s.settleAll(3)
		s.clean()
		m.close()
		for _, f := range m.findings {
			t.Errorf("%s: %s", f.class, f.text)
		}
	})
}
