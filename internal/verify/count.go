package verify

import (
	"pstncalls/internal/kafka"
	"pstncalls/internal/state"
	"pstncalls/internal/window"
)

// Counts is what a day holds, by the state or by the topic.
type Counts struct {
	Rows   int64        `json:"rows"`
	Events int64        `json:"events"` // all revisions
	Digest state.Digest `json:"digest"`
}

// Place is where a record lies on the events topic.
type Place struct {
	Partition int32 `json:"partition"`
	Offset    int64 `json:"offset"`
}

// Foreign is a record that is no event of this program.
type Foreign struct {
	Place
	Why string `json:"why"`
}

// dayKey is a day of a tenant.
type dayKey struct {
	tenant string
	day    window.Day
}

// beyond is the newest commit after the state's that a day has events of.
type beyond struct {
	commit int64
	place  Place
}

const maxForeign = 20 // so many are told one by one

// tally is what was counted of some partitions.
type tally struct {
	parser  *parser
	days    map[dayKey]*Counts
	odd     map[dayKey]int64 // events that cannot have been published as they are
	beyond  map[dayKey]beyond
	foreign int64
	past    int64     // events of tenants that have been forgotten since
	first   []Foreign // of foreign
	records int64
}

func newTally(shards int32, forgotten map[string]int64) *tally {
	return &tally{parser: newParser(shards, forgotten), days: map[dayKey]*Counts{}, odd: map[dayKey]int64{}, beyond: map[dayKey]beyond{}}
}

// note counts a record. marks are the state's commit numbers by shard.
func (t *tally) note(rec *kafka.Record, marks map[int32]kafka.Mark, wanted func(dayKey) bool) {
	t.records++
	place := Place{rec.Partition, rec.Offset}
	e, err := t.parser.parse(rec)
	if err != nil {
		t.foreign++
		if len(t.first) < maxForeign {
			t.first = append(t.first, Foreign{place, err.Error()})
		}
		return
	}
	switch {
	case e.forgotten:
		t.past++
	case !wanted(e.dayKey):
	case e.shard != e.home || e.misplaced:
		t.odd[e.dayKey]++
	case e.commit > marks[e.shard].N:
		if b := t.beyond[e.dayKey]; e.commit > b.commit {
			t.beyond[e.dayKey] = beyond{e.commit, place}
		}
	default:
		t.count(e)
	}
}

func (t *tally) count(e event) {
	c := t.days[e.dayKey]
	if c == nil {
		c = &Counts{}
		t.days[e.dayKey] = c
	}
	if e.revision == 0 {
		c.Rows++
	}
	c.Events++
	c.Digest = c.Digest.Add(state.HashEvent(e.rowID, e.revision, e.fingerprint, e.avro))
}

func (c *Counts) add(o *Counts) {
	c.Rows += o.Rows
	c.Events += o.Events
	c.Digest = c.Digest.Add(o.Digest)
}

// add takes in what another tally has counted.
func (t *tally) add(o *tally) {
	for k, c := range o.days {
		sum := t.days[k]
		if sum == nil {
			t.days[k] = c
			continue
		}
		sum.add(c)
	}
	for k, n := range o.odd {
		t.odd[k] += n
	}
	for k, b := range o.beyond {
		if b.commit > t.beyond[k].commit {
			t.beyond[k] = b
		}
	}
	t.foreign += o.foreign
	t.past += o.past
	t.first = append(t.first, o.first[:min(len(o.first), maxForeign-len(t.first))]...)
	t.records += o.records
}
