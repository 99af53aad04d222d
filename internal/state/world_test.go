package state

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pstncalls/internal/window"
)

const (
	testTenant = "contoso"
	day0       = window.Day(20000)
)

func guidOf(n int) string {
	return fmt.Sprintf("%08x-0000-4000-8000-%012x", uint32(n)*2654435761, n)
}

// world is a tenant beside the state topic that its records were committed to.
type world struct {
	t       *testing.T
	tenant  *Tenant
	topic   map[string][]byte
	counter uint64
	written int // bytes of ledger records

	// What was published and refused: the windows must add up to it.
	rows, events, rejects int64
	digest                Digest
}

func newWorld(t *testing.T) *world {
	return &world{t: t, tenant: New(testTenant, day0), topic: map[string][]byte{}}
}

func idle(window.Day) bool { return false }

// page returns a page that was asked for after all that were made before.
func (w *world) page(from, to window.Day) Page {
	w.counter += 2
	return Page{Range: window.Range{From: from, To: to}, Asked: w.counter - 1, Received: w.counter, Busy: idle}
}

// observe compares a row on a page of its own day.
func (w *world) observe(s Seen) Decision {
	return w.publish(s, w.tenant.Observe(s, w.page(s.Day, s.Day+1)))
}

func (w *world) publish(s Seen, d Decision) Decision {
	switch d.Action {
	case Publish:
		h := HashEvent(d.RowID, d.Revision, s.Fingerprint, nil)
		w.tenant.Published(d.Owner, h, time.UnixMilli(int64(w.counter)).UTC())
		w.digest = w.digest.Add(h)
		w.events++
		if d.Revision == 0 {
			w.rows++
		}
	case Refuse:
		w.rejects++
	}
	return d
}

// scan is a complete scan of one day, of one page.
func (w *world) scan(day window.Day, rows ...Seen) (vanished int) {
	return w.scanDays(day, day+1, rows...)
}

func (w *world) scanDays(from, to window.Day, rows ...Seen) (vanished int) {
	r := window.Range{From: from, To: to}
	w.tenant.BeginScan(r)
	p := w.page(from, to)
	for _, s := range rows {
		w.publish(s, w.tenant.Observe(s, p))
	}
	return w.tenant.Complete(Scanned{Range: r, Begun: to.Start(), Pages: 1})
}

// settle settles the days from first to last; none of their rows has vanished.
func (w *world) settle(first, last window.Day) {
	w.tenant.Complete(Scanned{Range: window.Range{From: first, To: last + 1}, Begun: last.End(), Pages: 1, Resumed: true})
	for d := first; d <= last; d++ {
		w.tenant.Settle(d, last.End())
	}
}

// check commits, and proves that the topic holds what memory holds, and that the windows add up to what was published.
func (w *world) check() {
	w.t.Helper()
	w.commit()
	if diff := differences(w.tenant, w.load()); diff != "" {
		w.t.Fatalf("memory (-) and topic (+):\n%s", diff)
	}
	var rows, events, revisions, rejects int64
	var digest Digest
	for _, d := range w.tenant.Windows() {
		o := w.tenant.Window(d)
		rows, events, revisions, rejects = rows+o.Rows, events+o.Events, revisions+o.Revisions, rejects+o.Rejects
		digest = digest.Add(o.Digest)
	}
	if rows != w.rows || events != w.events || revisions != w.events-w.rows || rejects != w.rejects || digest != w.digest {
		w.t.Fatalf("the windows add up to %d rows, %d events, %d revisions, %d rejects, digest %s; published were %d, %d, %d, %d, %s",
			rows, events, revisions, rejects, digest, w.rows, w.events, w.events-w.rows, w.rejects, w.digest)
	}
}

// restart goes on from the topic.
func (w *world) restart() {
	w.t.Helper()
	w.check()
	w.tenant = w.load()
}

// commit applies the tenant's records to the topic.
func (w *world) commit() (merged bool) {
	w.t.Helper()
	recs, merged, err := w.tenant.Records()
	if err != nil {
		w.t.Fatal(err)
	}
	for _, r := range recs {
		if r.Value == nil {
			delete(w.topic, r.Key)
			continue
		}
		w.topic[r.Key] = r.Value
		if len(r.Key) > 20 && r.Key[:20] == "contoso/pstn/ledger/" {
			w.written += len(r.Value)
			if len(r.Value) > maxSegmentBytes {
				w.t.Fatalf("%s has %d bytes", r.Key, len(r.Value))
			}
		}
	}
	return merged
}

func (w *world) load() *Tenant {
	w.t.Helper()
	t, ok, err := Load(testTenant, maps.Clone(w.topic))
	if err != nil || !ok {
		w.t.Fatalf("load: %v, %v", ok, err)
	}
	return t
}

// shown is all of a tenant that can be observed.
type shown struct {
	Header  Header
	Windows map[window.Day]Window
	Months  map[month]Month
	Scans   []Scan
	Rows    map[string]shownRow
	Texts   int
	Away    int
}

type shownRow struct {
	Fingerprint        uint64
	Revision           int32
	Owner, Home        window.Day
	Rejected, Vanished bool
}

func show(t *Tenant) shown {
	s := shown{Header: t.Header, Windows: map[window.Day]Window{}, Months: map[month]Month{}, Rows: map[string]shownRow{},
		Texts: len(t.rows.texts), Away: len(t.rows.away)}
	for d, w := range t.windows {
		c := *w
		c.segments, c.delta, c.dirty, c.scan = nil, nil, false, 0
		if c.Scans+c.Events+c.Rejects > 0 { // an empty one is not written
			s.Windows[d] = c
		}
	}
	for name, m := range t.months {
		c := *m
		if c.dirty = false; len(c.Days) == 0 {
			c.Days = nil
		}
		s.Months[name] = c
	}
	for _, sc := range t.Scans() {
		c := *sc
		c.dirty = false
		s.Scans = append(s.Scans, c)
	}
	for e := range t.rows.all {
		s.Rows[t.rows.id(e)] = shownRow{e.fingerprint, e.revision, e.day(), t.rows.home(e), e.has(flagRejected), e.has(flagVanished)}
	}
	return s
}

// differences shows what differs between two tenants, or nothing.
func differences(a, b *Tenant) string {
	x, y := show(a), show(b)
	if reflect.DeepEqual(x, y) { // far faster
		return ""
	}
	return cmp.Diff(x, y, cmp.AllowUnexported(Digest{}, Window{}, Scan{}, Month{}, segment{}))
}

// randomRow draws from few ids, so that rows come again, are corrected, rejected, mended and moved.
func randomRow(r *rand.Rand, ids int) Seen {
	n := r.IntN(ids)
	s := Seen{ID: guidOf(n), HasID: true, Fingerprint: uint64(r.IntN(3)), Day: day0 + window.Day(r.IntN(4)), Rejected: r.IntN(5) == 0}
	switch n % 4 {
	case 1:
		s.ID = fmt.Sprintf("text-%d", n)
	case 2:
		s.ID, s.HasID = fmt.Sprintf("~%032x", n), false
	}
	return s
}
