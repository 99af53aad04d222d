package verify

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"pstncalls/internal/kafka"
	"pstncalls/internal/state"
	"pstncalls/internal/window"
)

// Proof is what is known of a day.
type Proof string

// The proofs.
const (
	Proved   Proof = "proved"   // rows, events and digest are those of the state
	Differs  Proof = "differs"  // they are not
	Unproven Proof = "unproven" // they are not, and retention has removed events that may be the missing ones; or it was not finished
)

// Day is one owner window of a tenant.
type Day struct {
	Day     window.Day `json:"day"`
	Proof   Proof      `json:"proof"`
	Why     string     `json:"why,omitempty"`
	State   Counts     `json:"state"`
	Topic   Counts     `json:"topic"`
	Rows    []RowNote  `json:"rows,omitempty"`  // what is wrong, as far as it can be named
	Graph   *Shown     `json:"graph,omitempty"` // what Graph shows, where it was asked
	ledger  bool
	byGraph bool  // it is by Graph alone that it differs
	unread  bool  // not all of its events may have been read
	there   int64 // events on the topic, with those that count for nothing
}

// Tenant is the proof of one tenant's days, oldest first.
type Tenant struct {
	Tenant string `json:"tenant"`
	Shard  int32  `json:"shard"`
	Commit int64  `json:"commit"` // of its shard: what is proved is the state and the events up to it
	Days   []Day  `json:"days"`
}

// clockSlack is how far the timestamps of two owners may be apart.
const clockSlack = 5 * time.Minute

// evidence is what a judgement needs.
type evidence struct {
	tenants map[string]*state.Tenant
	counted *tally
	marks   map[int32]kafka.Mark // of the state that was read
	now     map[int32]kafka.Mark // after the events were read
	shards  int32
	// removed is the publish time of the oldest event that is still there on a partition whose first events are gone; zero where no
	// partition has lost any.
	removed time.Time
	partial bool // not all of the events were read, and now is not known
}

// judge compares each day of the state, and each that has events, in the range.
func judge(ev evidence, wanted func(dayKey) bool) []Tenant {
	keys := map[dayKey]bool{}
	for k := range ev.counted.days {
		keys[k] = true
	}
	for k := range ev.counted.odd {
		keys[k] = true
	}
	for k, b := range ev.counted.beyond {
		if !ev.partial && b.commit > ev.now[kafka.ShardOf(k.tenant, ev.shards)].N {
			keys[k] = true
		}
	}
	byTenant := map[string]*Tenant{}
	for id, t := range ev.tenants {
		for _, day := range t.Windows() {
			keys[dayKey{id, day}] = true
		}
	}
	for k := range keys {
		if !wanted(k) {
			continue
		}
		t := byTenant[k.tenant]
		if t == nil {
			shard := kafka.ShardOf(k.tenant, ev.shards)
			t = &Tenant{Tenant: k.tenant, Shard: shard, Commit: ev.marks[shard].N}
			byTenant[k.tenant] = t
		}
		t.Days = append(t.Days, ev.day(k))
	}
	out := []Tenant{}
	for _, id := range slices.Sorted(maps.Keys(byTenant)) {
		t := byTenant[id]
		slices.SortFunc(t.Days, func(a, b Day) int { return cmp.Compare(a.Day, b.Day) })
		out = append(out, *t)
	}
	return out
}

func (ev evidence) day(k dayKey) Day {
	d := Day{Day: k.day, Proof: Differs, unread: ev.partial}
	if c := ev.counted.days[k]; c != nil {
		d.Topic = *c
		d.there = c.Events
	}
	var first *time.Time
	t := ev.tenants[k.tenant]
	if t != nil {
		w := t.Window(k.day)
		d.State, first, d.ledger = Counts{w.Rows, w.Events, w.Digest}, w.FirstEvent, t.HasLedger(k.day)
	}
	odd, newer := ev.counted.odd[k], ev.counted.beyond[k]
	made := ev.now[kafka.ShardOf(k.tenant, ev.shards)].N
	switch {
	case t == nil:
		d.Why = "the state knows nothing of this tenant"
	case odd > 0:
		d.Why = fmt.Sprintf("%d events are on another key, or name another shard, than this program gives them: somebody else wrote them", odd)
	case ev.partial && d.Topic.Events > d.State.Events: // whatever comes
		d.Why = fmt.Sprintf("%d events are there at least, %d were published", d.Topic.Events, d.State.Events)
	case ev.partial:
		d.Proof = Unproven
		d.Why = fmt.Sprintf("interrupted: %d of its %d events had been read", d.Topic.Events, d.State.Events)
	case newer.commit > made:
		d.Why = fmt.Sprintf("there is an event of commit %d (partition %d, offset %d), and its shard has made %d: somebody else wrote it, or the state was cut back",
			newer.commit, newer.place.Partition, newer.place.Offset, made)
	case d.State == d.Topic:
		d.Proof = Proved
	case first != nil && !ev.removed.IsZero() && first.Before(ev.removed.Add(clockSlack)) && d.Topic.Events < d.State.Events:
		d.Proof = Unproven
		d.Why = fmt.Sprintf("its first event was published at %s, and events up to %s are no longer on the topic",
			first.UTC().Format(time.DateTime), ev.removed.UTC().Format(time.DateTime))
	case d.Topic.Events != d.State.Events:
		d.Why = fmt.Sprintf("%d events are there, %d were published", d.Topic.Events, d.State.Events)
	default:
		d.Why = "the number of events is right; one of them is not as it was published, or one was lost and another is there twice"
	}
	return d
}
