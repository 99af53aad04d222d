package verify

import (
	"testing"
	"time"

	"pstncalls/internal/kafka"
	"pstncalls/internal/state"
	"pstncalls/internal/window"
)

// TestRetentionExplains has a day with too few events: retention explains that only if the day's first event may be among the
// removed ones.
func TestRetentionExplains(t *testing.T) {
	const day = window.Day(20000)
	published := day.End().Truncate(time.Second)
	tenant := state.New("contoso", day)
	d := tenant.Observe(state.Seen{ID: "a", HasID: true, Fingerprint: 1, Day: day}, state.Page{Range: window.Range{From: day, To: day + 1}, Busy: func(window.Day) bool { return false }})
	tenant.Published(d.Owner, state.HashEvent(d.RowID, 0, 1, nil), published)
	for removed, want := range map[time.Time]Proof{
		{}:                                 Differs,
		published.Add(time.Hour):           Unproven,
		published.Add(-clockSlack / 2):     Unproven, // two owners' clocks
		published.Add(-clockSlack):         Differs,
		published.Add(-clockSlack - 1e9*1): Differs,
	} {
		ev := evidence{tenants: map[string]*state.Tenant{"contoso": tenant}, counted: newTally(12, nil), marks: map[int32]kafka.Mark{}, shards: 12, removed: removed}
		if got := ev.day(dayKey{"contoso", day}); got.Proof != want {
			t.Errorf("first event at %s, removed up to %s: %s (%s), want %s", published, removed, got.Proof, got.Why, want)
		}
		two := newTally(12, nil)
		two.days[dayKey{"contoso", day}] = &Counts{Rows: 2, Events: 2}
		ev.counted = two
		if got := ev.day(dayKey{"contoso", day}); got.Proof != Differs {
			t.Errorf("too many events, removed up to %s: %s, want %s", removed, got.Proof, Differs)
		}
	}
}

// TestPartialEvidence has what is certain although not all was read, and what is not.
func TestPartialEvidence(t *testing.T) {
	const day = window.Day(20000)
	tenant := state.New("contoso", day)
	d := tenant.Observe(state.Seen{ID: "a", HasID: true, Fingerprint: 1, Day: day}, state.Page{Range: window.Range{From: day, To: day + 1}, Busy: func(window.Day) bool { return false }})
	digest := state.HashEvent(d.RowID, 0, 1, nil)
	tenant.Published(d.Owner, digest, day.End())
	k := dayKey{"contoso", day}
	for name, tt := range map[string]struct {
		counted func(*tally)
		want    Verdict
	}{
		"nothing read":              {func(*tally) {}, Verdict{Days: 1, Unproven: 1}},
		"as many as were published": {func(c *tally) { c.days[k] = &Counts{Rows: 1, Events: 1, Digest: digest} }, Verdict{Days: 1, Rows: 1, Unproven: 1}},
		"too many":                  {func(c *tally) { c.days[k] = &Counts{Rows: 2, Events: 2} }, Verdict{Days: 1, Rows: 2, Differs: 1, Extra: 1}},
		"one of somebody else's":    {func(c *tally) { c.odd[k] = 1 }, Verdict{Days: 1, Differs: 1}},
		"one of a later commit":     {func(c *tally) { c.beyond[dayKey{"contoso", day + 1}] = beyond{commit: 7} }, Verdict{Days: 1, Unproven: 1}},
	} {
		ev := evidence{tenants: map[string]*state.Tenant{"contoso": tenant}, counted: newTally(12, nil), marks: map[int32]kafka.Mark{}, shards: 12, partial: true}
		tt.counted(ev.counted)
		if got := sum(judge(ev, func(dayKey) bool { return true })); got != tt.want {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
	}
}
