package verify

import (
	"cmp"
	"fmt"
	"hash/maphash"
	"maps"
	"slices"
	"time"

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

// maxHeld is how many events of the days that differ are held in memory to name their rows, some 300 bytes each. Where there are more,
// they are read in as many parts, each of other rows; but not in more than maxParts.
var maxHeld int64 = 500_000

const maxParts = 8

// found is an event of a row on a day that differs.
type found struct {
	revision    int32
	fingerprint uint64
	place       Place
}

// roll is a part of the rows of the days that differ, as they are on the topic.
type roll struct {
	days        map[dayKey]map[string][]found
	part, parts uint64
	seed        maphash.Seed
}

// newRoll has no days where none differs, or where their events are too many: that is said at the days.
func newRoll(tenants []Tenant) *roll {
	r := &roll{days: map[dayKey]map[string][]found{}, seed: maphash.MakeSeed()}
	events := int64(0)
	for _, t := range tenants {
		for _, d := range t.Days {
			if d.Proof == Differs {
				r.days[dayKey{t.Tenant, d.Day}] = nil
				events += max(d.Topic.Events, d.State.Events)
			}
		}
	}
	r.parts = uint64(1 + events/maxHeld)
	if r.parts <= maxParts {
		return r
	}
	clear(r.days)
	for _, t := range tenants {
		for i := range t.Days {
			if d := &t.Days[i]; d.Proof == Differs {
				d.Why += fmt.Sprintf("; the days that differ hold more than %d events: name fewer with --from and --to to see the rows", maxParts*maxHeld)
			}
		}
	}
	return r
}

// begin forgets the part before.
func (r *roll) begin(part uint64) {
	r.part = part
	for k := range r.days {
		r.days[k] = map[string][]found{}
	}
}

// holds reports whether a row belongs to the part.
func (r *roll) holds(id string) bool {
	return r.parts == 1 || maphash.String(r.seed, id)%r.parts == r.part
}

func (r *roll) note(e event, place Place, marks, now map[int32]kafka.Mark) {
	rows := r.days[e.dayKey]
	// A commit made since is not this proof's; one that nobody has made is what it is about.
	if rows == nil || !r.holds(e.rowID) || e.shard == e.home && e.commit > marks[e.shard].N && e.commit <= now[e.shard].N {
		return
	}
	rows[e.rowID] = append(rows[e.rowID], found{e.revision, e.fingerprint, place})
}

// name adds to the days that differ what is wrong with which rows of the part. Of a day that may have lost events since it was counted,
// for they were removed, no row is named.
func (r *roll) name(tenants []Tenant, known map[string]*state.Tenant, removed time.Time) {
	for i := range tenants {
		t := &tenants[i]
		ledgers := r.ledgers(t.Tenant, known[t.Tenant])
		for j := range t.Days {
			d := &t.Days[j]
			k := dayKey{t.Tenant, d.Day}
			rows := r.days[k]
			if rows == nil {
				continue
			}
			if t := known[t.Tenant]; t != nil && !removed.IsZero() {
				if first := t.Window(d.Day).FirstEvent; first != nil && first.Before(removed.Add(clockSlack)) {
					d.Rows, d.there = nil, d.Topic.Events
					if r.part == r.parts-1 {
						d.Why += "; its rows are not named, for retention has removed events of that time since"
					}
					continue
				}
			}
			if r.part == 0 {
				d.there = 0
			}
			for _, fs := range rows {
				d.there += int64(len(fs))
			}
			if d.ledger {
				d.Rows = append(d.Rows, compare(rows, ledgers[k])...)
			} else {
				d.Rows = append(d.Rows, gaps(rows, known[t.Tenant] == nil)...)
			}
			if r.part < r.parts-1 {
				continue
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
	if t == nil {
		return out
	}
	for row := range t.Ledger {
		k := dayKey{id, row.Owner}
		if r.days[k] == nil || !r.holds(row.ID) {
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

// maxMissing is how many missing revisions of a row are named.
const maxMissing = 1000

// gaps names what can be seen without a ledger: an event that is there twice, and a revision that one above it proves to be missing.
func gaps(rows map[string][]found, unknown bool) (notes []RowNote) {
	for id, fs := range rows {
		if unknown {
			notes = append(notes, RowNote{RowID: id, What: Extra, Places: places(fs)})
			continue
		}
		at := byRevision(fs)
		// Not one by one: an event that somebody else wrote may claim two thousand million before it.
		next, missing := int32(0), 0
		for _, revision := range slices.Sorted(maps.Keys(at)) {
			for ; next < revision && missing < maxMissing; next++ {
				notes = append(notes, RowNote{RowID: id, Revision: next, What: Missing})
				missing++
			}
			if fs := at[revision]; len(fs) > 1 {
				notes = append(notes, RowNote{id, revision, Doubled, places(fs)})
			}
			next = revision + 1 // beyond the last of all it is not used
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
