package verify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"reflect"
	"slices"
	"sync"
	"time"

	"pstncalls/internal/clock"
	"pstncalls/internal/graph"
	"pstncalls/internal/kafka"
	"pstncalls/internal/row"
	"pstncalls/internal/state"
	"pstncalls/internal/window"
	"pstncalls/schema"
)

// What is wrong with a row beside what the topics alone can show.
const (
	Altered = "altered" // its newest event is not what was published: the fingerprint is Graph's row's, and the value is not
)

// Pager reads pages of a range of calls; *graph.Client is one.
type Pager interface {
	Pages(ctx context.Context, r graph.Request) iter.Seq2[*graph.Page, error]
}

// GraphOptions say how Graph is read.
type GraphOptions struct {
	Pager   func(tenant string) (Pager, error)
	Privacy *row.Privacy
	Source  string // Graph's root with the version, as ce_source begins
	Clock   clock.Clock
	// Progress is told after each request; nil: nobody.
	Progress func(tenant string, days window.Range, pages, rows int)
	// Said is told of an error that is waited for; nil: nobody.
	Said func(tenant string, err error, wait time.Duration)
}

// Shown is what Graph shows of a day, beside the topic.
type Shown struct {
	Rows     int64     `json:"rows"`     // that Graph shows with a start on this day
	Rejects  int64     `json:"rejects"`  // of them: cannot become events
	Other    int64     `json:"other"`    // were published from another endpoint or API version: not compared
	Vanished int64     `json:"vanished"` // on the topic, and not shown any more, which the state knows
	Recent   []RowNote `json:"recent,omitempty"`
	Why      string    `json:"why,omitempty"` // Graph did not answer for the day
}

// newest is a row's newest event.
type newest struct {
	revision    int32
	fingerprint uint64
	source      string
	call        *schema.PstnCall
	place       Place
}

// Graph compares what Graph shows of the days of the report with the newest events of their rows, and adds
// what it finds to the report. Days that differ from what is on the topic are read a second time: pages shift while they are
// read. What the next scan will publish anyway, because the window has not settled, is told apart. After an error the report is partial.
func Graph(ctx context.Context, c *kafka.Cluster, view *kafka.StateView, g GraphOptions, r *Report) error {
	err := compareAll(ctx, c, view, g, r)
	if err == nil {
		r.end("")
		return nil
	}
	days, compared, what := 0, 0, "ended by an error"
	if ctx.Err() != nil {
		what = "interrupted"
	}
	for _, t := range r.Tenants {
		for _, d := range t.Days {
			days++
			if d.Graph != nil {
				compared++
			}
		}
	}
	r.end(fmt.Sprintf("%s after %d of %d days were compared with Graph: the others are judged by the topics alone", what, compared, days))
	return err
}

func compareAll(ctx context.Context, c *kafka.Cluster, view *kafka.StateView, g GraphOptions, r *Report) error {
	tenants, err := load(view)
	if err != nil {
		return err
	}
	log, err := openLog(ctx, c, view)
	if err != nil {
		return err
	}
	for i := range r.Tenants {
		t := &r.Tenants[i]
		if tenants[t.Tenant] == nil || len(t.Days) == 0 {
			continue
		}
		days := window.Range{From: t.Days[0].Day, To: t.Days[len(t.Days)-1].Day + 1}
		rows, err := log.newest(ctx, t.Tenant, days)
		if err != nil {
			return err
		}
		p, err := g.Pager(t.Tenant)
		if err != nil {
			return fmt.Errorf("tenant %s: %w", t.Tenant, err)
		}
		cmp := &comparison{GraphOptions: g, tenant: tenants[t.Tenant], pager: p, convert: row.NewConverter(g.Privacy), rows: rows}
		if err := cmp.tenantDays(ctx, t.Days); err != nil {
			return fmt.Errorf("tenant %s: %w", t.Tenant, err)
		}
	}
	return nil
}

// newest reads the newest events of the rows whose owner window, or whose call's start, lies in the days. All corrections are
// held as well: a row may have come from another day, or left.
func (l *eventLog) newest(ctx context.Context, tenant string, days window.Range) (map[string]newest, error) {
	rows := map[string]newest{}
	var mu sync.Mutex
	err := l.each(ctx, func(recs iter.Seq2[kafka.Record, error], _ int32) error {
		for rec, err := range recs {
			if err != nil {
				return err
			}
			h, err := schema.ParseHeaders(rec.Headers)
			if err != nil || h.TenantID != tenant || h.Commit <= l.forgotten[tenant] {
				continue
			}
			call, err := schema.Decode(rec.Value)
			if err != nil || h.Revision == 0 && !days.Contains(ownerOf(h)) && (call.StartDateTime == nil || !days.Contains(window.Of(*call.StartDateTime))) {
				continue
			}
			mu.Lock()
			if old, ok := rows[h.RowID]; !ok || h.Revision > old.revision {
				rows[h.RowID] = newest{h.Revision, h.Fingerprint, h.Source, call, Place{rec.Partition, rec.Offset}}
			}
			mu.Unlock()
		}
		return nil
	})
	return rows, err
}

func ownerOf(h schema.Headers) window.Day {
	d, _ := window.Parse(h.Owner) // ParseHeaders has read it
	return d
}

// comparison is that of one tenant.
type comparison struct {
	GraphOptions
	tenant  *state.Tenant
	pager   Pager
	convert *row.Converter
	rows    map[string]newest
}

// most days of a request: Graph refuses more than 90.
const mostDays = 30

func (c *comparison) tenantDays(ctx context.Context, days []Day) error {
	for len(days) > 0 {
		n := 1
		for n < len(days) && n < mostDays && days[n].Day == days[0].Day+window.Day(n) {
			n++
		}
		if err := c.chunk(ctx, days[:n]); err != nil {
			return err
		}
		days = days[n:]
	}
	return nil
}

// chunk compares neighbouring days, and those that differ once more, each alone.
func (c *comparison) chunk(ctx context.Context, days []Day) error {
	r := window.Range{From: days[0].Day, To: days[len(days)-1].Day + 1}
	shown, err := c.read(ctx, r)
	for i := range days {
		d := &days[i]
		notes, recent, at := c.judge(d.Day, shown[d.Day])
		switch {
		case err == nil && len(notes)+len(recent) > 0:
			again, failed := c.read(ctx, window.Range{From: d.Day, To: d.Day + 1})
			if failed == nil {
				second, recentToo, seen := c.judge(d.Day, again[d.Day])
				notes, recent, at = both(notes, second), both(recent, recentToo), seen
			}
			if err := c.unanswered(ctx, &at, failed); err != nil {
				return err
			}
		case err != nil:
			notes, recent = nil, nil
			if err := c.unanswered(ctx, &at, err); err != nil {
				return err
			}
		}
		at.Recent = recent
		d.Graph = &at
		for _, n := range notes { // what the topics alone have shown already is not told twice
			if !slices.ContainsFunc(d.Rows, func(m RowNote) bool { return m.RowID == n.RowID && m.What == n.What }) {
				d.Rows = append(d.Rows, n)
			}
		}
		switch {
		case len(notes) > 0 && d.Proof != Differs:
			d.Proof, d.byGraph, d.Why = Differs, true, "the topic is as the state says, and Graph shows something else"
		case at.Why != "" && d.Proof == Proved:
			d.Proof, d.Why = Unproven, at.Why
		}
	}
	return nil
}

// unanswered notes why a day could not be compared; an error that concerns all days ends the comparison.
func (c *comparison) unanswered(ctx context.Context, s *Shown, err error) error {
	var ge *graph.Error
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return err
	case errors.As(err, &ge) && ge.Class == graph.Human:
		return err
	}
	*s = Shown{Why: err.Error()}
	return nil
}

// both are the notes of two readings that agree.
func both(a, b []RowNote) (out []RowNote) {
	for _, n := range a {
		if slices.ContainsFunc(b, func(m RowNote) bool { return m.RowID == n.RowID && m.What == n.What }) {
			out = append(out, n)
		}
	}
	return out
}

// attempts are made of one range before it counts as unanswered.
const attempts = 6

// read returns the rows that Graph shows, by the day of their start.
func (c *comparison) read(ctx context.Context, r window.Range) (map[window.Day][]row.Row, error) {
	for n := 1; ; n++ {
		out, pages, rows := map[window.Day][]row.Row{}, 0, 0
		var failed error
		for page, err := range c.pager.Pages(ctx, graph.Request{From: r.From.Start(), To: r.To.Start()}) {
			if err != nil {
				failed = err
				break
			}
			pages++
			rows += len(page.Rows)
			for _, raw := range page.Rows {
				if x := c.convert.Convert(raw); !x.Start.IsZero() {
					out[window.Of(x.Start)] = append(out[window.Of(x.Start)], x)
				}
			}
			if c.Progress != nil {
				c.Progress(c.tenant.ID, r, pages, rows)
			}
		}
		if failed == nil {
			return out, nil
		}
		var ge *graph.Error
		if ctx.Err() != nil || n == attempts || errors.As(failed, &ge) && (ge.Class == graph.Human || ge.Class == graph.Permanent) {
			return nil, failed
		}
		wait := time.Second << n
		if ge != nil {
			wait = max(wait, ge.RetryAfter)
		}
		if c.Said != nil {
			c.Said(c.tenant.ID, failed, wait)
		}
		if err := clock.Sleep(ctx, c.Clock, wait); err != nil {
			return nil, err
		}
	}
}

// judge compares what Graph shows of a day with the newest events. recent is what the next scan will see to: if the window has not
// settled, what differs from the ledger. What is there as the ledger says, no scan publishes again.
func (c *comparison) judge(day window.Day, shown []row.Row) (notes, recent []RowNote, s Shown) {
	seen := map[string]bool{}
	note := func(n RowNote, scanned bool) {
		if scanned && !c.tenant.Settled(day) {
			recent = append(recent, n)
		} else {
			notes = append(notes, n)
		}
	}
	for _, x := range shown {
		s.Rows++
		id, known, ok := c.find(x)
		if ok {
			seen[id] = true
		}
		switch {
		case x.Reject != nil:
			s.Rejects++
		case !ok:
			note(RowNote{RowID: x.ID, What: Missing}, c.isNew(x))
		case known.source != c.Source:
			s.Other++
		case known.fingerprint != x.Fingerprint:
			note(RowNote{id, known.revision, Stale, []Place{known.place}}, c.isNew(x))
		case !same(known.call, x.Call):
			notes = append(notes, RowNote{id, known.revision, Altered, []Place{known.place}})
		}
	}
	gone := c.vanished(day)
	left := c.tenant.Window(day).Vanished
	for id, e := range c.rows {
		if seen[id] || e.call.StartDateTime == nil || window.Of(*e.call.StartDateTime) != day {
			continue
		}
		switch {
		case gone[id], !c.tenant.HasLedger(day) && left > 0:
			left--
			s.Vanished++
		default:
			_, published := c.tenant.InLedger(id)
			note(RowNote{id, e.revision, Extra, []Place{e.place}}, published)
		}
	}
	byID := func(a, b RowNote) int { return cmp.Compare(a.RowID, b.RowID) }
	slices.SortFunc(notes, byID)
	slices.SortFunc(recent, byID)
	return notes, recent, s
}

// isNew reports whether a scan would publish a row, as far as there is a ledger.
func (c *comparison) isNew(x row.Row) bool {
	ids := []string{x.ID}
	if !x.HasID {
		ids = append(ids, withFingerprint(x))
	}
	return !slices.ContainsFunc(ids, func(id string) bool {
		r, published := c.tenant.InLedger(id)
		return published && r.Fingerprint == x.Fingerprint
	})
}

// withFingerprint is the id of a row without one whose hash is another row's (design section 11).
func withFingerprint(x row.Row) string { return fmt.Sprintf("%s.%016x", x.ID, x.Fingerprint) }

// find returns the newest event of a row; one without an id of Graph's goes by its content (design section 11).
func (c *comparison) find(x row.Row) (id string, e newest, ok bool) {
	e, ok = c.rows[x.ID]
	if x.HasID || ok && e.fingerprint == x.Fingerprint {
		return x.ID, e, ok
	}
	id = withFingerprint(x)
	e, ok = c.rows[id]
	return id, e, ok
}

// vanished are the rows of the ledgers that a complete scan did not return.
func (c *comparison) vanished(day window.Day) map[string]bool {
	out := map[string]bool{}
	if c.tenant.Window(day).Vanished == 0 {
		return out
	}
	for r := range c.tenant.Ledger {
		if r.Vanished {
			out[r.ID] = true
		}
	}
	return out
}

// same reports whether an event holds what a row becomes.
func same(event, shown *schema.PstnCall) bool {
	call := *shown
	call.TenantID, call.RowID, call.Revision, call.ObservedAt = event.TenantID, event.RowID, event.Revision, event.ObservedAt
	if len(call.Extra) == 0 && len(event.Extra) == 0 {
		call.Extra = event.Extra
	}
	return reflect.DeepEqual(*event, call)
}
