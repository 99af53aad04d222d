// Package verdict owns the judgement whether the events on a topic are the rows of the simulator's log: nothing lost, nothing
// doubled, nothing wrong.
//
// It shares no code with the program. Rows and events are both brought into a canonical form of their own (times cut to the
// millisecond, money as exact fractions, null as absent), of which 16 bytes of hash are kept: about 100 bytes a version or event.
package verdict

import (
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"pstncalls/internal/graphfake/calllog"
)

// Event is one event as the command tail prints it.
type Event struct {
	TenantID, RowID string
	Revision        int32
	Value           json.RawMessage // with Graph's names
	Partition       int32
	Offset          int64
}

// Reject names a row on the dead-letter topic.
type Reject struct{ TenantID, RowID string }

// Options says what is expected of the events. The zero value expects every version of every row.
type Options struct {
	AsOf   time.Time     // versions that became visible later need not have been published; zero: all have to be
	Settle time.Duration // nor those that were visible for less than this before AsOf or before they were replaced
	Since  time.Time     // nor rows of which a version starts earlier
	V1     bool          // the program read v1.0
}

// Verdict counts. Rows are the rows of the log that were expected or found, rejects among them; Revisions the events whose revision
// is not 0; Rejects the rows on the dead-letter topic.
type Verdict struct {
	Rows, Events, Revisions, Rejects int
	Lost, Doubled, Wrong             int
	Details                          []string // the first 20 findings; ids only
}

// OK reports whether nothing is lost, doubled or wrong.
func (v Verdict) OK() bool { return v.Lost == 0 && v.Doubled == 0 && v.Wrong == 0 }

// String returns the line that scripts read.
func (v Verdict) String() string {
	return fmt.Sprintf("verdict: rows=%d events=%d revisions=%d rejects=%d lost=%d doubled=%d wrong=%d",
		v.Rows, v.Events, v.Revisions, v.Rejects, v.Lost, v.Doubled, v.Wrong)
}

const maxDetails = 20

func (v *Verdict) note(count *int, format string, args ...any) {
	*count++
	if len(v.Details) < maxDetails {
		v.Details = append(v.Details, fmt.Sprintf(format, args...))
	}
}

// Compare judges events and rejects, each in any order between partitions. It returns the first error of events.
func Compare(truth []calllog.TrueRow, events iter.Seq2[Event, error], rejects []Reject, opt Options) (Verdict, error) {
	c := NewComparer(slices.Values(truth), opt)
	for e, err := range events {
		if err != nil {
			return Verdict{}, fmt.Errorf("events: %w", err)
		}
		c.Add(e)
	}
	for _, r := range rejects {
		c.AddReject(r)
	}
	return c.Verdict(), nil
}

// Comparer takes events one by one. It is not safe for concurrent use.
type Comparer struct {
	opt  Options
	rows map[string]*row       // by tenant and id
	anon map[string]*anonymous // rows without id, by tenant and content
	out  Verdict
}

// row is a row of the log, and what was found of it.
type row struct {
	versions []version
	due      int // the last version that has to have been published or rejected; -1: none
	found    []found
	rejected bool
}

type version struct {
	sum    sum
	reject bool // no event can hold it
}

type found struct {
	revision  int32
	partition int32
	offset    int64
	sum       sum
}

// anonymous counts the rows without id that have one content; nobody can tell them apart.
type anonymous struct {
	rows, found int
	due         bool
}

// NewComparer reads the truth once.
func NewComparer(truth iter.Seq[calllog.TrueRow], opt Options) *Comparer {
	c := &Comparer{opt: opt, rows: map[string]*row{}, anon: map[string]*anonymous{}}
	for t := range truth {
		if t.ID == "" {
			c.addAnonymous(t)
			continue
		}
		r := &row{due: -1}
		for i, v := range t.Versions {
			content, err := ofRow(v.JSON, opt.V1)
			r.versions = append(r.versions, version{content.sum(), err != nil})
			if opt.due(v) {
				r.due = i
			}
		}
		if slices.ContainsFunc(t.Versions, func(v calllog.TrueVersion) bool { return v.Start.Before(opt.Since) }) {
			r.due = -1
		}
		c.rows[key(t.Tenant, t.ID)] = r
	}
	return c
}

func (c *Comparer) addAnonymous(t calllog.TrueRow) {
	for _, v := range t.Versions {
		content, err := ofRow(v.JSON, c.opt.V1)
		if err != nil {
			continue // a reject that cannot be told from others
		}
		k := key(t.Tenant, string(sumOf(content)))
		a := c.anon[k]
		if a == nil {
			a = &anonymous{}
			c.anon[k] = a
		}
		a.rows++
		a.due = a.due || c.opt.due(v) && !v.Start.Before(c.opt.Since)
	}
}

func sumOf(c content) []byte {
	s := c.sum()
	return s[:]
}

func key(tenant, id string) string { return tenant + "\x00" + id }

// due reports whether the version was visible for so long that it has to have been seen.
func (o Options) due(v calllog.TrueVersion) bool {
	end := o.AsOf
	if !v.VisibleUntil.IsZero() && (end.IsZero() || v.VisibleUntil.Before(end)) {
		end = v.VisibleUntil
	}
	return end.IsZero() || !v.VisibleFrom.Add(o.Settle).After(end)
}

// Add takes one event.
func (c *Comparer) Add(e Event) {
	c.out.Events++
	if e.Revision > 0 {
		c.out.Revisions++
	}
	content, me, err := ofEvent(e.Value)
	if err != nil {
		c.out.note(&c.out.Wrong, "wrong: row %s revision %d: value cannot be read: %s", e.RowID, e.Revision, fieldOf(err))
		content = nil // as a version of its row it equals none
	}
	if err == nil && !me.agrees(e) {
		c.out.note(&c.out.Wrong, "wrong: row %s revision %d: tenant, row id or revision differ from the value's", e.RowID, e.Revision)
		return
	}
	if me.ID == nil || *me.ID == "" {
		if a := c.anon[key(e.TenantID, string(sumOf(content)))]; a != nil {
			c.addFound(a, e)
			return
		}
	}
	r := c.rows[key(e.TenantID, e.RowID)]
	switch {
	case r == nil && err == nil:
		c.out.note(&c.out.Wrong, "wrong: row %s revision %d: no such row, or content of no row without id", e.RowID, e.Revision)
	case r != nil:
		f := found{e.Revision, e.Partition, e.Offset, content.sum()}
		if content == nil {
			f.sum = sum{}
		}
		r.found = append(r.found, f)
	}
}

func (c *Comparer) addFound(a *anonymous, e Event) {
	a.found++
	switch {
	case e.Revision != 0:
		c.out.note(&c.out.Wrong, "wrong: row %s without id has revision %d", e.RowID, e.Revision)
	case a.found > a.rows:
		c.out.note(&c.out.Doubled, "doubled: row %s without id", e.RowID)
	}
}

// AddReject takes one record of the dead-letter topic. A row may be there more than once: each changed version is rejected anew.
func (c *Comparer) AddReject(j Reject) {
	r := c.rows[key(j.TenantID, j.RowID)]
	switch {
	case r == nil:
		c.out.note(&c.out.Wrong, "wrong: reject of row %s: no such row", j.RowID)
	case !slices.ContainsFunc(r.versions, func(v version) bool { return v.reject }):
		c.out.note(&c.out.Wrong, "wrong: row %s was rejected, but it is sound", j.RowID)
	case !r.rejected:
		r.rejected = true
		c.out.Rejects++
	}
}

// Verdict judges what has been added so far. The comparer may be used further.
func (c *Comparer) Verdict() Verdict {
	v := c.out
	v.Details = slices.Clone(v.Details)
	for _, k := range slices.Sorted(maps.Keys(c.rows)) { // in order, so that the details are the same each time
		_, id, _ := strings.Cut(k, "\x00")
		c.rows[k].judge(&v, id)
	}
	for _, a := range c.anon {
		if a.due || a.found > 0 {
			v.Rows += a.rows
		}
		if a.due && a.found == 0 {
			v.note(&v.Lost, "lost: a row without id")
		}
	}
	return v
}

func (r *row) judge(v *Verdict, id string) {
	if r.due >= 0 || len(r.found) > 0 || r.rejected {
		v.Rows++
	}
	slices.SortStableFunc(r.found, func(a, b found) int { return int(a.revision) - int(b.revision) })
	at, next := -1, int32(0) // the version that the last event shows; the revision that has to follow
	var last *found
	for i := range r.found {
		f := &r.found[i]
		if last != nil && f.revision == last.revision {
			v.note(&v.Doubled, "doubled: row %s revision %d", id, f.revision)
			continue
		}
		if f.revision != next {
			v.note(&v.Wrong, "wrong: row %s has revision %d where %d has to come", id, f.revision, next)
		}
		if last != nil && last.partition == f.partition && last.offset > f.offset {
			v.note(&v.Wrong, "wrong: row %s revision %d stands before revision %d", id, f.revision, last.revision)
		}
		switch to := r.follow(at, f.sum); {
		case to >= 0:
			at = to
		case last != nil && f.sum == last.sum:
			v.note(&v.Doubled, "doubled: row %s revision %d says the same as the one before", id, f.revision)
		case f.sum == sum{}:
			// Counted when it was added.
		case r.is(f.sum):
			v.note(&v.Wrong, "wrong: row %s revision %d goes back to an older version", id, f.revision)
		default:
			v.note(&v.Wrong, "wrong: row %s revision %d equals no version of the row", id, f.revision)
		}
		last, next = f, f.revision+1
	}
	r.judgeLost(v, id, last)
}

// follow returns the version after at that an event with this content may show, or -1. What was not seen may be skipped; a
// content published already may come again only if something else, which had no event, was seen between.
func (r *row) follow(at int, s sum) int {
	rejects, others := false, false
	for i := at + 1; i < len(r.versions); i++ {
		version := r.versions[i]
		switch {
		case version.reject:
			rejects = true
		case version.sum != s:
			others = true
		case at < 0 || r.versions[at].sum != s || rejects || !others:
			return i
		}
	}
	return -1
}

// is reports whether some version has this content.
func (r *row) is(s sum) bool {
	return slices.ContainsFunc(r.versions, func(v version) bool { return !v.reject && v.sum == s })
}

func (r *row) judgeLost(v *Verdict, id string, last *found) {
	if r.due < 0 {
		return
	}
	for _, version := range r.versions[r.due:] {
		if version.reject && r.rejected || !version.reject && last != nil && version.sum == last.sum {
			return
		}
	}
	switch {
	case r.versions[r.due].reject:
		v.note(&v.Lost, "lost: row %s is not among the rejects", id)
	case last == nil:
		v.note(&v.Lost, "lost: row %s has no event", id)
	default:
		v.note(&v.Lost, "lost: row %s: its last version was never published", id)
	}
}

// agrees reports whether the value names the same tenant, row and revision as the event, where it names them.
func (s self) agrees(e Event) bool {
	return (s.TenantID == nil || *s.TenantID == e.TenantID) && (s.RowID == nil || *s.RowID == e.RowID) &&
		(s.Revision == nil || *s.Revision == e.Revision)
}

// fieldOf returns an error's text up to the first colon: the field's name, without anything of its value.
func fieldOf(err error) string {
	name, _, _ := strings.Cut(err.Error(), ":")
	return name
}
