package status

import (
	"fmt"
	"time"

	"pstncalls/internal/kafka"
	"pstncalls/internal/schedule"
	"pstncalls/internal/state"
)

// The conditions of shards that those who could write them are perhaps not there to write: whoever looks derives them from the
// state and from what the cluster says.

// Limits are from when on the state topic is said to grow.
type Limits struct {
	Bytes int64 // of a partition
	Times int64 // what is alive in it
}

// StateLimits are those of the program.
var StateLimits = Limits{Bytes: 512 << 20, Times: 8}

// openGrace is how long brokers may take to abort a transaction that has timed out.
const openGrace = 30 * time.Second

// commitsWithin returns the longest time that a healthy shard may go without a commit: what a poll notes is committed ten minutes
// later, and a successor may have to wait.
func commitsWithin(s schedule.Settings) time.Duration { return 2*s.Interval + 20*time.Minute }

// Derive returns the conditions of the shards, by shard. It needs of the state no more than the tenants' own records.
func Derive(sv *kafka.StateView, f kafka.Facts, s schedule.Settings, l Limits, now time.Time) (map[int32][]state.Condition, error) {
	polled := map[int32]bool{} // the shards that have tenants: whether there is one whose rows should come
	for key, value := range sv.State {
		if id, ok := state.TenantOf(key); ok && state.IsTenant(key) {
			h, err := state.HeaderOf(key, value)
			if err != nil {
				return nil, fmt.Errorf("tenant %s: %w", id, err)
			}
			shard := kafka.ShardOf(id, sv.Shards)
			polled[shard] = polled[shard] || readable(h, now)
		}
	}
	out := map[int32][]state.Condition{}
	for p := range sv.Shards {
		say := func(name string, since time.Time, format string, args ...any) {
			out[p] = append(out[p], state.Condition{Name: name, Since: since.UTC(), Sentence: fmt.Sprintf(format, args...)})
		}
		mark, marked := sv.Marks[p]
		late := marked && now.Sub(mark.At) > commitsWithin(s)
		active, has := polled[p]
		host, assigned := f.Assigned[p]
		switch {
		case !has:
		case f.Assigned != nil && !assigned:
			say(NoOwner, ownedUntil(sv, p, now), "it has tenants, and no member of the group %s has it", sv.Group)
		case f.Assigned == nil && late:
			say(NoOwner, mark.At, "it has tenants, and its last commit was at %s: nobody has it, or who has it cannot commit (which of them, the group would not say)", mark.At.UTC().Format(time.DateTime))
		case assigned && active && late:
			say(NotCommitted, mark.At, "the group has given it to a member at %s, but its last commit was at %s", host, mark.At.UTC().Format(time.DateTime))
		}
		if t, ok := f.Open[p]; ok && now.Sub(t.Began) > t.Timeout+openGrace {
			say(TransactionOpen, t.Began, "a transaction that began at %s and should have ended within %s is still open", t.Began.Format(time.DateTime), t.Timeout)
		}
		if n := f.Bytes[p]; n > l.Bytes && n > l.Times*sv.Live[p] {
			say(StateGrowing, now, "its partition takes %d MiB, and %d MiB are alive in it", n>>20, sv.Live[p]>>20)
		}
	}
	return out, nil
}

// ownedUntil returns since when, at the latest, nobody has the shard, as far as its state says it.
func ownedUntil(sv *kafka.StateView, p int32, now time.Time) time.Time {
	c, ok := sv.Claims[p]
	switch {
	case ok && c.Released != nil:
		return *c.Released
	case !sv.Marks[p].At.IsZero():
		return sv.Marks[p].At
	}
	return now
}

// readable reports whether an owner of the tenant has anything to commit: it has not where Graph gives it nothing.
func readable(h state.Header, now time.Time) bool {
	for _, c := range h.Conditions {
		switch c.Name {
		case GraphDenied, GraphUnreadable, DayUnanswered, TenantUnconfigured:
			return false
		}
	}
	return h.Requests == nil || h.Requests.Hold == nil || !h.Requests.Hold.After(now)
}

// Add adds conditions that were derived to the view.
func (v *View) Add(derived map[int32][]state.Condition, now time.Time) {
	for i := range v.Shards {
		s := &v.Shards[i]
		s.Conditions = append(s.Conditions, conditionViews(derived[s.Shard], now)...)
	}
}
