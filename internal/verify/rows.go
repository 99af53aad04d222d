package verify

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"pstncalls/internal/kafka"
	"pstncalls/internal/state"
)

// What is wrong with a row.
const (
	Missing = "missing" // it was published, by the state, and is not on the topic
	Extra   = "extra"   // it is on the topic, and was never published
	Doubled = "doubled" // it is on the topic twice
	Stale   = "stale"   // the newest event on the topic is not the newest that was published
)

// RowNote is a row that a day's proof fails on.
type RowNote struct {
	RowID    string  `json:"rowId"`
	Revision int32   `json:"revision"`
	What     string  `json:"what"`
	Places   []Place `json:"places,omitempty"` // of its events, where there are any
}

// maxNamed is how many events of the days that differ are held in memory to name their rows.
const maxNamed = 2_000_000

// found is an event of a row on a day that differs.
type found struct {
	revision    int32
	fingerprint uint64
	place       Place
}

// roll is the rows of the days that differ, as they are on the topic.
type roll struct {
	days map[dayKey]map[string][]found
	n    int
	full bool // there are more than maxNamed events: nothing is named
}

func newRoll(tenants []Tenant) *roll {
	r := &roll{days: map[dayKey]map[string][]found{}}
	for _, t := range tenants {
		for _, d := range t.Days {
			if d.Proof == Differs {
				r.days[dayKey{t.Tenant, d.Day}] = map[string][]found{}
			}
		}
	}
	return r
}

func (r *roll) note(rec *kafka.Record, marks, now map[int32]kafka.Mark, shards int32) {
	e, err := parse(rec)
	if err != nil || r.full {
		return
	}
	rows, ok := r.days[e.dayKey]
	// A commit made since is not this proof's; one that nobody has made is what it is about.
	if !ok || e.shard == kafka.ShardOf(e.tenant, shards) && e.commit > marks[e.shard].N && e.commit <= now[e.shard].N {
		return
	}
	if r.n++; r.n > maxNamed {
		r.full, r.days = true, nil
		return
	}
	rows[e.rowID] = append(rows[e.rowID], found{e.revision, e.fingerprint, Place{rec.Partition, rec.Offset}})
}

// name adds to the days that differ what is wrong with which rows.
func (r *roll) name(tenants []Tenant, known map[string]*state.Tenant) {
	for i := range tenants {
		t := &tenants[i]
		ledgers := r.ledgers(t.Tenant, known[t.Tenant])
		for j := range t.Days {
			d := &t.Days[j]
			if d.Proof != Differs {
				continue
			}
			if r.full {
				d.Why += fmt.Sprintf("; the days that differ hold more than %d events: name fewer with --from and --to to see the rows", maxNamed)
				continue
			}
			k := dayKey{t.Tenant, d.Day}
			d.there = 0
			for _, fs := range r.days[k] {
				d.there += int64(len(fs))
			}
			if d.ledger {
				d.Rows = compare(r.days[k], ledgers[k])
			} else {
				d.Rows = gaps(r.days[k], known[t.Tenant] == nil)
			}
			slices.SortFunc(d.Rows, func(a, b RowNote) int {
				return cmp.Or(cmp.Compare(a.RowID, b.RowID), cmp.Compare(a.Revision, b.Revision))
			})
			if len(d.Rows) == 0 {
				d.Why += "; which rows, --graph can say"
			}
		}
	}
}

// ledgers are those of a tenant's days that differ.
func (r *roll) ledgers(id string, t *state.Tenant) map[dayKey]map[string]state.LedgerRow {
	out := map[dayKey]map[string]state.LedgerRow{}
	if t == nil || r.full {
		return out
	}
	for row := range t.Ledger {
		k := dayKey{id, row.Owner}
		if _, ok := r.days[k]; !ok {
			continue
		}
		if out[k] == nil {
			out[k] = map[string]state.LedgerRow{}
		}
		out[k][row.ID] = row
	}
	return out
}

// compare names what differs between the topic and a ledger.
func compare(rows map[string][]found, ledger map[string]state.LedgerRow) (notes []RowNote) {
	for id, fs := range rows {
		row, known := ledger[id]
		if !known {
			notes = append(notes, RowNote{RowID: id, What: Extra, Places: places(fs)})
			continue
		}
		at := byRevision(fs)
		for revision, fs := range at {
			switch {
			case revision > row.Revision:
				notes = append(notes, RowNote{id, revision, Extra, places(fs)})
			case len(fs) > 1:
				notes = append(notes, RowNote{id, revision, Doubled, places(fs)})
			case revision == row.Revision && fs[0].fingerprint != row.Fingerprint && !row.Rejected:
				notes = append(notes, RowNote{id, revision, Stale, places(fs)})
			}
		}
		for revision := range row.Revision + 1 {
			if len(at[revision]) == 0 {
				notes = append(notes, RowNote{RowID: id, Revision: revision, What: Missing})
			}
		}
	}
	for id, row := range ledger {
		if len(rows[id]) > 0 {
			continue
		}
		for revision := range row.Revision + 1 {
			notes = append(notes, RowNote{RowID: id, Revision: revision, What: Missing})
		}
	}
	return notes
}

// gaps names what can be seen without a ledger: an event that is there twice, and a revision that one above it proves to be missing.
func gaps(rows map[string][]found, unknown bool) (notes []RowNote) {
	for id, fs := range rows {
		if unknown {
			notes = append(notes, RowNote{RowID: id, What: Extra, Places: places(fs)})
			continue
		}
		at := byRevision(fs)
		last := slices.Max(slices.Collect(maps.Keys(at)))
		for revision := range last + 1 {
			switch fs := at[revision]; len(fs) {
			case 0:
				notes = append(notes, RowNote{RowID: id, Revision: revision, What: Missing})
			case 1:
			default:
				notes = append(notes, RowNote{id, revision, Doubled, places(fs)})
			}
		}
	}
	return notes
}

func byRevision(fs []found) map[int32][]found {
	at := map[int32][]found{}
	for _, f := range fs {
		at[f.revision] = append(at[f.revision], f)
	}
	return at
}

func places(fs []found) (ps []Place) {
	for _, f := range fs {
		ps = append(ps, f.place)
	}
	return ps
}
