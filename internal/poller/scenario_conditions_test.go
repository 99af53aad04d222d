//go:build synctests

package poller_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pstncalls/internal/graphfake"
	"pstncalls/internal/state"
	"pstncalls/internal/status"
)

// conditionPlays bring about each condition, and end it: in the state where it is there, in the metric, and with one line of the log
// for the beginning and one for the end.
var conditionPlays = map[string]func(*testing.T, string){
	status.GraphDenied:        ofGraph(graphfake.Fault{Kind: graphfake.Status, Status: 403}),
	status.GraphUnreadable:    ofGraph(graphfake.Fault{Kind: graphfake.Status, Status: 500}),
	status.Throttled:          ofGraph(graphfake.Fault{Kind: graphfake.Status, Status: 429, RetryAfter: "60"}),
	status.DayUnanswered:      on(quiet, playUnanswered),
	status.ClockOff:           on(quiet, playClockOff),
	status.ClockJumped:        on(quiet, playClockJumped),
	status.NoNewRows:          on(history{interval: time.Hour, lookback: dayLong, back: 2, pageSize: 1000}, playNoNewRows),
	status.BudgetTooSmall:     on(history{interval: 5 * time.Minute, lookback: dayLong, back: 1, pageSize: 1000, perMinute: 1}, playBudget),
	status.LookbackTooShort:   on(quiet, playLookback),
	status.RowsVanished:       on(quiet, playVanished),
	status.RowsRejected:       on(quiet, playRejected),
	status.RowFlapping:        on(quiet, playFlapping),
	status.RowsOutOfRange:     on(quiet, playOutOfRange),
	status.TooManyUnsettled:   on(quiet, playTooMany),
	status.TenantUnconfigured: on(quiet, playUnconfigured),
	status.NotCommitted:       on(quiet, playNotCommitted),
	status.FencedRepeatedly:   on(history{interval: time.Minute, lookback: dayLong, back: 1, pageSize: 1000}, playFenced),
	status.NoOwner:            on(quiet, playNoOwner),
	status.TransactionOpen:    on(quiet, playTransactionOpen),
	status.StateGrowing:       on(quiet, playStateGrowing),
}

// TestConditions plays every condition that there is.
func TestConditions(t *testing.T) {
	var named []string
	for _, d := range status.Definitions {
		named = append(named, d.Name)
		play := conditionPlays[d.Name]
		if play == nil {
			t.Errorf("nobody plays %s", d.Name)
			continue
		}
		t.Run(d.Name, func(t *testing.T) { play(t, d.Name) })
	}
	for name := range conditionPlays {
		if !slices.Contains(named, name) {
			t.Errorf("%s is played, and not defined", name)
		}
	}
}

// on plays on a tenant of 50 calls a day; before it begins there is no condition.
func on(h history, play func(s *scene, name string)) func(*testing.T, string) {
	return func(t *testing.T, name string) {
		calls := graphfake.TenantConfig{RowsPerDay: 50, Flat: true}
		to := 5
		switch name {
		case status.NoNewRows:
			to = 9
		case status.BudgetTooSmall:
			calls.RowsPerDay = 15_000
		}
		stage(t, h, -2, to, calls, func(s *scene) {
			if name != status.BudgetTooSmall {
				time.Sleep(2 * time.Hour)
				if cs := s.state().Header.Conditions; len(cs) > 0 {
					s.Errorf("before: %+v", cs)
				}
			}
			play(s, name)
		})
	}
}

// quiet is what most conditions are played on.
var quiet = history{interval: 10 * time.Minute, lookback: 2 * dayLong, back: 2, pageSize: 1000}

// begins waits until a condition is in the state, the metric and the log.
func (s *scene) begins(name string, most time.Duration) state.Condition {
	s.Helper()
	s.until(name, max(10*time.Second, most/100), most, func(t *state.Tenant) bool { return holds(t, name) })
	s.shows(name, 1)
	cs := s.state().Header.Conditions
	c := cs[slices.IndexFunc(cs, func(c state.Condition) bool { return c.Name == name })]
	s.Logf("%s: %s", name, c.Sentence)
	return c
}

// ends waits until a condition is over everywhere.
func (s *scene) ends(name string, most time.Duration) {
	s.Helper()
	s.until(name+" is over", max(10*time.Second, most/100), most, func(t *state.Tenant) bool { return !holds(t, name) })
	s.shows(name, 0)
}

// shows checks the metric, and that the log has told of each change once.
func (s *scene) shows(name string, want float64) {
	s.Helper()
	if got := s.metric(name); got != want {
		s.Errorf("the metric of %s is %v, want %v", name, got, want)
	}
	begun, ended := s.log.count("condition begins", "condition="+name), s.log.count("condition ended", "condition="+name)
	if d := cmp.Diff([]int{1, 1 - int(want)}, []int{begun, ended}); d != "" {
		s.Errorf("the log tells of %s beginning and ending (-want +got):\n%s", name, d)
	}
}

// metric returns the gauge of a condition, of whatever it is; 0 where there is none.
func (s *scene) metric(name string) (sum float64) {
	s.Helper()
	s.model.mu.Lock()
	defer s.model.mu.Unlock()
	registries := slices.Clone(s.watches)
	for _, p := range s.processes {
		registries = append(registries, p.metrics)
	}
	for _, r := range registries {
		families, err := r.Gather()
		if err != nil {
			s.Fatal(err)
		}
		for _, f := range families {
			if f.GetName() != "pstncalls_condition" {
				continue
			}
			for _, m := range f.GetMetric() {
				for _, l := range m.GetLabel() {
					if l.GetName() == "name" && l.GetValue() == name {
						sum += m.GetGauge().GetValue()
					}
				}
			}
		}
	}
	return sum
}

// ofGraph plays a condition that lasts as long as a fault of Graph, and a while.
func ofGraph(f graphfake.Fault) func(*testing.T, string) {
	return func(t *testing.T, name string) {
		stage(t, quiet, -2, 2, graphfake.TenantConfig{RowsPerDay: 50, Flat: true}, func(s *scene) {
			time.Sleep(2 * time.Hour)
			if cs := s.state().Header.Conditions; len(cs) > 0 {
				s.Errorf("before: %+v", cs)
			}
			f.Count = -1
			script := s.graph.Script(f)
			s.begins(name, 2*quiet.interval)
			script.Off()
			s.ends(name, 2*quiet.interval+15*time.Minute)
			if cs := s.state().Header.Conditions; len(cs) > 0 {
				s.Errorf("afterwards: %+v", cs)
			}
		})
	}
}
