package poller

import (
	"slices"
	"time"

	"pstncalls/internal/schedule"
	"pstncalls/internal/state"
)

// The conditions: what an operator should know of, until it ends.
const (
	conditionSource     = "graph-unreadable"   // a tenant's rows cannot be read
	conditionUnanswered = "day-unanswered"     // Graph answers, but not for a day
	conditionClock      = "clock-off"          // this machine's clock and Graph's are more than clock.MaxDistance apart, or it is so far behind the last owner's
	conditionJump       = "clock-jumped"       // and no answer of Graph has confirmed it since
	conditionFlap       = "row-flapping"       // a row has reached revision 10 or a later one, or became a reject as often
	conditionStray      = "rows-out-of-range"  // Graph has answered with rows that were not asked for, and that are not known
	conditionManyRow    = "too-many-unsettled" // the ledgers hold more rows than a tenant should have
)

// Conditions are the names of all of them.
var Conditions = []string{conditionSource, conditionUnanswered, conditionClock, conditionJump, conditionFlap, conditionStray, conditionManyRow}

// shownFor is how long a condition is shown that nothing ends, because it is a thing that happened.
const shownFor = 24 * time.Hour

func (s *session) beginCondition(t *tenant, name, sentence string) {
	cs := t.Header.Conditions
	i := slices.IndexFunc(cs, func(c state.Condition) bool { return c.Name == name })
	if i >= 0 && cs[i].Sentence == sentence {
		return
	}
	t.SetHeader(func(h *state.Header) {
		if i >= 0 {
			h.Conditions[i].Sentence = sentence
			return
		}
		h.Conditions = append(h.Conditions, state.Condition{Name: name, Since: s.p.cfg.Clock.Now(), Sentence: sentence})
	})
	s.p.cfg.Metrics.Condition.WithLabelValues(t.ID, name).Set(1)
	s.urgent = s.urgent || i < 0
}

// happened begins a condition that is shown for a day after it happened last.
func (s *session) happened(t *tenant, name, sentence string) {
	s.beginCondition(t, name, sentence)
	until := s.p.cfg.Clock.Now().Add(shownFor)
	t.SetHeader(func(h *state.Header) {
		i := slices.IndexFunc(h.Conditions, func(c state.Condition) bool { return c.Name == name })
		h.Conditions[i].Until = &until
	})
}

// has reports whether a condition holds.
func (t *tenant) has(name string) bool {
	return slices.ContainsFunc(t.Header.Conditions, func(c state.Condition) bool { return c.Name == name })
}

// warnAgain tells the log every minute of an outage that lasts, however long the scans wait, and returns when it is to be called
// again.
func (s *session) warnAgain(t *tenant, now time.Time) time.Time {
	i := slices.IndexFunc(t.Header.Conditions, func(c state.Condition) bool { return c.Name == conditionSource })
	if i < 0 {
		return schedule.Never
	}
	if now.Sub(t.warned).Abs() >= sayAgain {
		t.warned = now
		t.log.Warn("rows cannot be read", "since", t.Header.Conditions[i].Since, "error", t.Header.Conditions[i].Sentence)
	}
	return t.warned.Add(sayAgain)
}

// endCondition reports whether the condition held.
func (s *session) endCondition(t *tenant, name string) bool {
	if !t.has(name) {
		return false
	}
	t.SetHeader(func(h *state.Header) {
		h.Conditions = slices.DeleteFunc(h.Conditions, func(c state.Condition) bool { return c.Name == name })
	})
	s.p.cfg.Metrics.Condition.WithLabelValues(t.ID, name).Set(0)
	s.urgent = true
	return true
}

// expireConditions ends those that have been shown for long enough.
func (s *session) expireConditions(t *tenant, now time.Time) {
	for _, c := range slices.Clone(t.Header.Conditions) {
		if c.Until != nil && (!c.Until.After(now) || c.Until.After(now.Add(shownFor))) { // or begun by a clock that was ahead
			s.endCondition(t, c.Name)
		}
	}
}
