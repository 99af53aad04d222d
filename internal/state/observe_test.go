package state

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"pstncalls/internal/window"
)

func TestObserve(t *testing.T) {
	id := guidOf(1)
	row := func(fp uint64) Seen { return Seen{ID: id, HasID: true, Fingerprint: fp, Day: day0} }
	bad := func(fp uint64) Seen { s := row(fp); s.Rejected = true; return s }
	on := func(d window.Day, s Seen) Seen { s.Day = d; return s }
	noID := func(fp uint64) Seen { return Seen{ID: "~h", Fingerprint: fp, Day: day0} }
	badNoID := func(fp uint64) Seen { s := noID(fp); s.Rejected = true; return s }
	decide := func(a Action, revision int32) Decision {
		return Decision{Action: a, RowID: id, Revision: revision, Owner: day0}
	}
	again := Decision{Action: Refuse, RowID: id, Owner: day0, Repeated: true}
	other := func(a Action, rowID string) Decision { return Decision{Action: a, RowID: rowID, Owner: day0} }
	type counts struct{ Rows, Events, Revisions, Rejects, NoID int64 }
	for _, c := range []struct {
		name   string
		rows   []Seen
		want   Decision // of the last row
		counts counts   // of day0
	}{
		{"new", []Seen{row(1)}, decide(Publish, 0), counts{1, 1, 0, 0, 0}},
		{"unchanged", []Seen{row(1), row(1)}, decide(Nothing, 0), counts{1, 1, 0, 0, 0}},
		{"corrected", []Seen{row(1), row(2)}, decide(Publish, 1), counts{1, 2, 1, 0, 0}},
		{"corrected back", []Seen{row(1), row(2), row(1)}, decide(Publish, 2), counts{1, 3, 2, 0, 0}},
		{"rejected", []Seen{bad(1)}, decide(Refuse, 0), counts{0, 0, 0, 1, 0}},
		{"rejected again", []Seen{bad(1), bad(1)}, decide(Nothing, 0), counts{0, 0, 0, 1, 0}},
		{"corrected, still rejected", []Seen{bad(1), bad(2)}, again, counts{0, 0, 0, 2, 0}},
		{"mended by the program, never published", []Seen{bad(1), row(1)}, decide(Publish, 0), counts{1, 1, 0, 1, 0}},
		{"mended by Graph, never published", []Seen{bad(1), row(2)}, decide(Publish, 0), counts{1, 1, 0, 1, 0}},
		{"mended by the program, published before", []Seen{row(1), bad(2), row(2)}, decide(Publish, 1), counts{1, 2, 1, 1, 0}},
		{"mended by Graph, published before", []Seen{row(1), bad(2), row(3)}, decide(Publish, 1), counts{1, 2, 1, 1, 0}},
		{"published, then rejected with the same content", []Seen{row(1), bad(1)}, decide(Nothing, 0), counts{1, 1, 0, 0, 0}},
		{"mended, then corrected", []Seen{bad(1), row(1), row(2)}, decide(Publish, 1), counts{1, 2, 1, 1, 0}},
		{"moved to another day", []Seen{row(1), on(day0+1, row(2))}, decide(Publish, 1), counts{1, 2, 1, 0, 0}},
		{"moved, unchanged there", []Seen{row(1), on(day0+1, row(2)), on(day0+1, row(2))}, decide(Nothing, 0), counts{1, 2, 1, 0, 0}},
		{"without id", []Seen{noID(1)}, other(Publish, "~h"), counts{1, 1, 0, 0, 1}},
		{"without id, same content", []Seen{noID(1), noID(1)}, other(Nothing, "~h"), counts{1, 1, 0, 0, 1}},
		{"without id, other content", []Seen{noID(1), noID(2)}, other(Publish, "~h.0000000000000002"), counts{2, 2, 0, 0, 2}},
		{"without id, other content again", []Seen{noID(1), noID(2), noID(2)}, other(Nothing, "~h.0000000000000002"), counts{2, 2, 0, 0, 2}},
		{"without id, third content", []Seen{noID(1), noID(2), noID(3)}, other(Publish, "~h.0000000000000003"), counts{3, 3, 0, 0, 3}},
		{"without id, first content again", []Seen{noID(1), noID(2), noID(1)}, other(Nothing, "~h"), counts{2, 2, 0, 0, 2}},
		{"without id, mended", []Seen{badNoID(1), noID(1)}, other(Publish, "~h"), counts{1, 1, 0, 1, 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			var got Decision
			for _, s := range c.rows {
				got = w.observe(s)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("decision (-want +got):\n%s", diff)
			}
			o := w.tenant.Window(day0)
			if diff := cmp.Diff(c.counts, counts{o.Rows, o.Events, o.Revisions, o.Rejects, w.tenant.Header.NoID}); diff != "" {
				t.Errorf("counts (-want +got):\n%s", diff)
			}
			w.commit() // and the ledger agrees with the counts
			w.load()
		})
	}
}

// The row's first name may be free while its other one is known: it is still that row.
func TestObserveWithoutIDKnownByFingerprint(t *testing.T) {
	w := newWorld(t)
	w.observe(Seen{ID: "~h.0000000000000007", Fingerprint: 7, Day: day0})
	if d := w.observe(Seen{ID: "~h", Fingerprint: 7, Day: day0}); d.Action != Nothing {
		t.Errorf("got %+v, want Nothing", d)
	}
}

func TestObserveOutOfRange(t *testing.T) {
	for _, c := range []struct {
		name    string
		day     window.Day
		scanned bool
		settled bool
		busy    bool
		want    Action
	}{
		{"with a ledger", day0, true, false, false, Publish},
		{"never read", day0, false, false, false, Leave},
		{"settled", day0, true, true, false, Leave},
		{"owned by another scan", day0, true, false, true, Leave},
		{"before the start", day0 - 1, false, false, false, Leave},
		{"before the start, with a window", day0 - 1, true, false, false, Leave},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			if c.scanned {
				now := c.day.End()
				w.tenant.Complete(Scanned{Range: window.Range{From: c.day, To: c.day + 1}, Begun: now, Pages: 1})
				if c.settled {
					w.tenant.Settle(c.day, now)
				}
			}
			p := w.page(day0+1, day0+2)
			p.Busy = func(d window.Day) bool { return c.busy && d == c.day }
			if d := w.tenant.Observe(Seen{ID: guidOf(1), HasID: true, Fingerprint: 1, Day: c.day}, p); d.Action != c.want || d.Stale {
				t.Errorf("got %+v, want action %d", d, c.want)
			}
		})
	}
}

func TestObserveStale(t *testing.T) {
	row := func(fp uint64) Seen { return Seen{ID: guidOf(1), HasID: true, Fingerprint: fp, Day: day0} }
	rng := window.Range{From: day0, To: day0 + 1}
	newer := Page{Range: rng, Asked: 4, Received: 6, Busy: idle}
	for _, c := range []struct {
		name   string
		page   Page
		forget uint64
		row    Seen
		want   Decision
	}{
		{"asked before the newer was received", Page{Range: rng, Asked: 5, Received: 9}, 0, row(1), Decision{Action: Leave, RowID: guidOf(1), Owner: day0, Stale: true}},
		{"same page", newer, 0, row(3), Decision{Action: Leave, RowID: guidOf(1), Owner: day0, Stale: true}},
		{"same content", Page{Range: rng, Asked: 5, Received: 9}, 0, row(2), Decision{Action: Nothing, RowID: guidOf(1), Owner: day0}},
		{"asked after", Page{Range: rng, Asked: 7, Received: 9}, 0, row(1), Decision{Action: Publish, RowID: guidOf(1), Revision: 2, Owner: day0}},
		{"forgotten too early shows", Page{Range: rng, Asked: 5, Received: 9}, 6, row(1), Decision{Action: Publish, RowID: guidOf(1), Revision: 2, Owner: day0}},
		{"an older forgotten", Page{Range: rng, Asked: 5, Received: 9}, 5, row(1), Decision{Action: Leave, RowID: guidOf(1), Owner: day0, Stale: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.observe(row(1))
			w.tenant.Observe(row(2), newer)
			w.tenant.Forget(c.forget)
			if diff := cmp.Diff(c.want, w.tenant.Observe(c.row, c.page)); diff != "" {
				t.Error(diff)
			}
		})
	}
}
