package state

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
	"time"

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
	if d.Action == Publish {
		w.tenant.Published(d.Owner, HashEvent(d.RowID, d.Revision, s.Fingerprint, nil), time.UnixMilli(int64(w.counter)).UTC())
	}
	return d
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
	Scans   []Scan
	Rows    map[string]Seen
	More    map[string]int32 // revision
	Texts   int
}

func show(t *Tenant) shown {
	s := shown{Header: t.Header, Windows: map[window.Day]Window{}, Rows: map[string]Seen{}, More: map[string]int32{}, Texts: len(t.rows.texts)}
	for d, w := range t.windows {
		c := *w
		c.segments, c.delta, c.dirty = nil, nil, false
		if c.Scans+c.Events+c.Rejects > 0 { // an empty one is not written
			s.Windows[d] = c
		}
	}
	for _, sc := range t.Scans() {
		c := *sc
		c.dirty = false
		s.Scans = append(s.Scans, c)
	}
	for _, e := range t.rows.slots {
		if e.used {
			id := t.rows.id(&e)
			s.Rows[id] = Seen{ID: id, Fingerprint: e.fingerprint, Day: e.day(), Rejected: e.flags&flagRejected != 0}
			s.More[id] = e.revision
		}
	}
	return s
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
