package poller

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"pstncalls/internal/graph"
	"pstncalls/internal/schedule"
	"pstncalls/internal/state"
	"pstncalls/internal/status"
)

// The conditions of tenants, and of the shard where it is the session that knows. All are begun and ended here: in the state topic
// with the next commit, in the metric and the log at once. What they are called and mean stands in status.Definitions.

// shownFor is how long a condition is shown that nothing ends, because it is a thing that happened.
const shownFor = 24 * time.Hour

// about is a record with conditions: a tenant's, or the shard's.
type about struct {
	status.Subject
	log    *slog.Logger
	held   func() []state.Condition
	change func(func([]state.Condition) []state.Condition)
}

func (s *session) of(t *tenant) about {
	return about{status.Subject{Tenant: t.ID, Shard: s.kafka.Shard()}, t.log, func() []state.Condition { return t.Header.Conditions },
		func(f func([]state.Condition) []state.Condition) {
			t.SetHeader(func(h *state.Header) { h.Conditions = f(h.Conditions) })
		}}
}

func (s *session) ofShard() about {
	return about{status.Subject{Shard: s.kafka.Shard()}, s.log, func() []state.Condition { return s.shard.Conditions },
		func(f func([]state.Condition) []state.Condition) {
			s.shard.Change(func(r *state.Shard) { r.Conditions = f(r.Conditions) })
		}}
}

func find(cs []state.Condition, name string) int {
	return slices.IndexFunc(cs, func(c state.Condition) bool { return c.Name == name })
}

// begin begins a condition, or changes what it says. until is nil for one that something ends.
func (s *session) begin(on about, name, sentence string, until *time.Time) {
	i := find(on.held(), name)
	if i >= 0 && on.held()[i].Sentence == sentence && until == nil {
		return
	}
	on.change(func(cs []state.Condition) []state.Condition {
		if i < 0 {
			cs = append(cs, state.Condition{Name: name, Since: s.p.cfg.Clock.Now()})
		}
		c := &cs[len(cs)-1]
		if i >= 0 {
			c = &cs[i]
		}
		c.Sentence, c.Until = sentence, until
		return cs
	})
	s.board.Begin(on.log, on.Subject, on.held()[find(on.held(), name)])
	s.urgent = s.urgent || i < 0
}

// cease reports whether the condition held.
func (s *session) cease(on about, name string) bool {
	if find(on.held(), name) < 0 {
		return false
	}
	on.change(func(cs []state.Condition) []state.Condition {
		return slices.DeleteFunc(cs, func(c state.Condition) bool { return c.Name == name })
	})
	s.board.End(on.log, on.Subject, name)
	s.urgent = true
	return true
}

// expire ends those that have been shown for long enough.
func (s *session) expire(on about, now time.Time) {
	for _, c := range slices.Clone(on.held()) {
		if c.Until != nil && (!c.Until.After(now) || c.Until.After(now.Add(shownFor))) { // or begun by a clock that was ahead
			s.cease(on, c.Name)
		}
	}
}

// show shows those that the last owner has left.
func (s *session) show(on about) {
	for _, c := range on.held() {
		s.board.Show(on.Subject, c.Name)
	}
}

func (s *session) beginCondition(t *tenant, name, sentence string) {
	s.begin(s.of(t), name, sentence, nil)
}

func (s *session) endCondition(t *tenant, name string) bool { return s.cease(s.of(t), name) }

// lasts begins a condition that is shown for so long after it was begun last.
func (s *session) lasts(t *tenant, name, sentence string, d time.Duration) {
	until := s.p.cfg.Clock.Now().Add(d)
	s.begin(s.of(t), name, sentence, &until)
}

// happened begins a condition that is shown for a day after it happened last.
func (s *session) happened(t *tenant, name, sentence string) { s.lasts(t, name, sentence, shownFor) }

// has reports whether a condition holds.
func (t *tenant) has(name string) bool { return find(t.Header.Conditions, name) >= 0 }

// unread returns what keeps the tenant's rows from being read.
func (t *tenant) unread() (state.Condition, bool) {
	for _, name := range []string{status.GraphDenied, status.GraphUnreadable} {
		if i := find(t.Header.Conditions, name); i >= 0 {
			return t.Header.Conditions[i], true
		}
	}
	return state.Condition{}, false
}

const (
	throttledTimes = 3 // answers of 429
	throttledFor   = 15 * time.Minute
)

// unreadable begins the condition that an error of a scan is.
func (s *session) unreadable(t *tenant, err error) {
	var ge *graph.Error
	errors.As(err, &ge)
	if ge != nil && ge.Class == graph.Human {
		s.beginCondition(t, status.GraphDenied, err.Error())
		return
	}
	s.beginCondition(t, status.GraphUnreadable, err.Error())
	if ge == nil || !ge.Throttled() {
		return
	}
	now := s.p.cfg.Clock.Now()
	if n := len(t.throttled); n > 0 && now.Sub(t.throttled[n-1]).Abs() < time.Second {
		return // scans that asked at once were answered at once
	}
	t.throttled = append(recent(t.throttled, now, throttledFor), now)
	if len(t.throttled) >= throttledTimes {
		s.lasts(t, status.Throttled, fmt.Sprintf("Graph has answered 429 %d times within a quarter of an hour, and no more than %d requests a minute are made", len(t.throttled), t.source.Budget.Limit()), throttledFor)
	}
}

// recent returns the instants that are less than d ago.
func recent(at []time.Time, now time.Time, d time.Duration) []time.Time {
	return slices.DeleteFunc(at, func(t time.Time) bool { return now.Sub(t).Abs() >= d })
}

// warnAgain tells the log every minute of an outage that lasts, however long the scans wait, and returns when it is to be called
// again.
func (s *session) warnAgain(t *tenant, now time.Time) time.Time {
	c, ok := t.unread()
	if !ok {
		return schedule.Never
	}
	if now.Sub(t.warned).Abs() >= sayAgain {
		t.warned = now
		t.log.Warn("rows cannot be read", "since", c.Since, "error", c.Sentence)
	}
	return t.warned.Add(sayAgain)
}

// unconfigured notes the tenants of the shard that nobody polls here, so that one which was forgotten in the configuration is seen.
func (s *session) unconfigured(records map[string][]byte) {
	named := func(id string) bool {
		return slices.ContainsFunc(s.tenants, func(t *tenant) bool { return t.ID == id })
	}
	for _, st := range state.Strangers(named, records) {
		if slices.Contains(s.forgotten, st.ID) {
			continue
		}
		known := find(st.Header.Conditions, status.TenantUnconfigured) >= 0
		if !known {
			// What else its record says of conditions is of a time when it was polled.
			st.Header.Conditions = []state.Condition{{Name: status.TenantUnconfigured, Since: s.p.cfg.Clock.Now(),
				Sentence: fmt.Sprintf("the state has tenant %s, but the owner of its shard is not configured for it: it is not polled", st.ID)}}
			s.strangers = append(s.strangers, st)
			s.urgent = true
			s.board.Begin(s.log.With("tenant", st.ID), status.Subject{Tenant: st.ID, Shard: s.kafka.Shard()}, st.Header.Conditions[0])
			continue
		}
		s.board.Show(status.Subject{Tenant: st.ID, Shard: s.kafka.Shard()}, status.TenantUnconfigured)
	}
}
