package state

import (
	"errors"
	"maps"
	"strings"
	"testing"

	"pstncalls/internal/window"
)

// rowOn returns a row with an id of its own.
func rowOn(day window.Day, n int, fingerprint uint64) Seen {
	return Seen{ID: guidOf(n), HasID: true, Fingerprint: fingerprint, Day: day}
}

func rejected(s Seen) Seen { s.Rejected = true; return s }

func (w *world) wantVanished(day window.Day, want int64) {
	w.t.Helper()
	if got := w.tenant.Window(day).Vanished; got != want {
		w.t.Errorf("%s: %d rows have vanished, want %d", day, got, want)
	}
}

func TestVanishedOnce(t *testing.T) {
	w := newWorld(t)
	a, b := rowOn(day0, 1, 1), Seen{ID: "text", HasID: true, Fingerprint: 1, Day: day0}
	if n := w.scan(day0, a, b); n != 0 {
		t.Fatalf("the first scan marks %d rows", n)
	}
	w.check()
	if n := w.scan(day0, a); n != 1 {
		t.Errorf("%d rows have vanished, want 1", n)
	}
	w.wantVanished(day0, 1)
	w.restart()
	w.wantVanished(day0, 1)
	if n := w.scan(day0, a); n != 0 {
		t.Errorf("marked again: %d", n)
	}
	w.check()
	w.wantVanished(day0, 1)
	if n := w.scan(day0); n != 1 {
		t.Errorf("%d rows have vanished, want the other one", n)
	}
	w.wantVanished(day0, 2)
	w.check()
}

func TestVanishedReturns(t *testing.T) {
	for _, c := range []struct {
		name string
		row  Seen
		want Decision
	}{
		{"unchanged", rowOn(day0, 1, 1), Decision{Action: Nothing, RowID: guidOf(1), Owner: day0}},
		{"changed", rowOn(day0, 1, 2), Decision{Action: Publish, RowID: guidOf(1), Revision: 1, Owner: day0}},
		{"rejected", rejected(rowOn(day0, 1, 2)), Decision{Action: Refuse, RowID: guidOf(1), Owner: day0, Repeated: true}},
		{"in another day", rowOn(day0+1, 1, 2), Decision{Action: Publish, RowID: guidOf(1), Revision: 1, Owner: day0}},
	} {
		for _, restart := range []bool{false, true} {
			t.Run(c.name, func(t *testing.T) {
				w := newWorld(t)
				w.scan(day0, rowOn(day0, 1, 1))
				w.scan(day0)
				w.wantVanished(day0, 1)
				if restart {
					w.restart()
				}
				if d := w.observe(c.row); d != c.want {
					t.Errorf("got %+v, want %+v", d, c.want)
				}
				w.wantVanished(day0, 0)
				w.restart()
				w.wantVanished(day0, 0)
				// It may vanish again.
				if n := w.scan(c.row.Day); n != 1 && !c.row.Rejected {
					t.Errorf("%d rows have vanished, want 1", n)
				}
				w.check()
			})
		}
	}
}

func TestNotVanished(t *testing.T) {
	day := window.Range{From: day0, To: day0 + 1}
	known := rowOn(day0, 1, 1)
	for _, c := range []struct {
		name string
		scan func(w *world) (vanished int)
	}{
		{"a resumed scan", func(w *world) int {
			w.tenant.BeginScan(day)
			return w.tenant.Complete(Scanned{Range: day, Begun: day0.End(), Pages: 1, Resumed: true})
		}},
		{"a scan of another day", func(w *world) int { return w.scan(day0 + 1) }},
		{"a scan of another day while its own goes on", func(w *world) int {
			w.tenant.BeginScan(day)
			return w.scan(day0+1) + w.scanDays(day0-2, day0)
		}},
		{"a scan of the days around it", func(w *world) int { return w.scanDays(day0-2, day0) + w.scanDays(day0+1, day0+3) }},
		{"rejected since", func(w *world) int {
			return w.scan(day0, rejected(rowOn(day0, 1, 2))) + w.scan(day0)
		}},
		{"returned with the same content as a reject", func(w *world) int { return w.scan(day0, rejected(known)) }},
		{"returned without a start", func(w *world) int {
			s := rejected(rowOn(day0, 1, 2))
			s.NoStart = true
			return w.scan(day0, s)
		}},
		{"returned on the second page", func(w *world) int {
			w.tenant.BeginScan(day)
			w.publish(rowOn(day0, 2, 1), w.tenant.Observe(rowOn(day0, 2, 1), w.page(day0, day0+1)))
			w.commit()
			w.publish(known, w.tenant.Observe(known, w.page(day0, day0+1)))
			return w.tenant.Complete(Scanned{Range: day, Begun: day0.End(), Pages: 2})
		}},
		{"returned on a page of another scan", func(w *world) int {
			w.tenant.BeginScan(day)
			w.publish(known, w.tenant.Observe(known, w.page(day0+1, day0+2)))
			return w.tenant.Complete(Scanned{Range: day, Begun: day0.End(), Pages: 1})
		}},
		{"new while the scan went on", func(w *world) int {
			w.tenant.BeginScan(day)
			w.publish(known, w.tenant.Observe(known, w.page(day0, day0+1)))
			late := rowOn(day0, 3, 1)
			w.publish(late, w.tenant.Observe(late, w.page(day0+1, day0+2)))
			return w.tenant.Complete(Scanned{Range: day, Begun: day0.End(), Pages: 1})
		}},
		{"stale", func(w *world) int {
			old, changed := w.page(day0, day0+1), rowOn(day0, 1, 2)
			w.observe(changed)
			w.tenant.BeginScan(day)
			if d := w.tenant.Observe(known, old); !d.Stale {
				w.t.Errorf("got %+v, want a stale row", d)
			}
			return w.tenant.Complete(Scanned{Range: day, Begun: day0.End(), Pages: 1})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.scan(day0, known)
			if n := c.scan(w); n != 0 {
				t.Errorf("%d rows have vanished", n)
			}
			w.wantVanished(day0, 0)
			w.check()
		})
	}
}

// A row that was never published has nothing that could be taken back.
func TestRejectNeverVanishes(t *testing.T) {
	w := newWorld(t)
	w.scan(day0, rejected(rowOn(day0, 1, 1)))
	if n := w.scan(day0); n != 0 {
		t.Errorf("%d rows have vanished", n)
	}
	w.check()
}

// A scan of several days judges the rows of all of them, and of no other.
func TestVanishedOfSeveralDays(t *testing.T) {
	w := newWorld(t)
	for d := range window.Day(4) {
		w.scan(day0+d, rowOn(day0+d, int(d), 1), rowOn(day0+d, int(d)+10, 1))
	}
	if n := w.scanDays(day0+1, day0+3, rowOn(day0+1, 1, 1), rowOn(day0+1, 11, 1), rowOn(day0+2, 2, 1)); n != 1 {
		t.Errorf("%d rows have vanished, want 1", n)
	}
	for d, want := range []int64{0, 0, 1, 0} {
		w.wantVanished(day0+window.Day(d), want)
	}
	w.restart()
	// After a restart no row has been returned yet, by any scan.
	if n := w.scanDays(day0, day0+2, rowOn(day0, 0, 1), rowOn(day0+1, 1, 1), rowOn(day0+1, 11, 1)); n != 1 {
		t.Errorf("%d rows have vanished, want 1", n)
	}
	w.wantVanished(day0, 1)
	w.check()
}

// The number of a scan is a byte.
func TestScanCounterGoesRound(t *testing.T) {
	w := newWorld(t)
	a, b := rowOn(day0, 1, 1), rowOn(day0, 2, 1)
	w.scan(day0, a, b)
	for i := range 300 {
		if n := w.scan(day0, a); n != 1 {
			t.Fatalf("scan %d: %d rows have vanished, want 1", i, n)
		}
		if n := w.scan(day0, a, b); n != 0 {
			t.Fatalf("scan %d: %d rows have vanished, want none", i, n)
		}
		w.wantVanished(day0, 0)
	}
	w.check()

	// No scan has the number of the rows that none has returned since the start.
	for begun := range 300 {
		w := &world{t: t, tenant: w.load(), topic: maps.Clone(w.topic)}
		for range begun { // and given up
			w.tenant.BeginScan(window.Range{From: day0, To: day0 + 1})
		}
		if n := w.scan(day0); n != 2 {
			t.Fatalf("after %d scans that were given up: %d rows have vanished, want 2", begun, n)
		}
	}
}

func TestLoadComparesVanished(t *testing.T) {
	w := newWorld(t)
	w.scan(day0, rowOn(day0, 1, 1), rowOn(day0, 2, 1))
	w.commit()
	before := string(w.topic[ledgerKey(testTenant, day0, 1)])
	w.scan(day0, rowOn(day0, 1, 1))
	w.check()
	win, ledger := windowKey(testTenant, day0), ledgerKey(testTenant, day0, 2)
	for name, damage := range map[string]func(map[string][]byte){
		"too many": func(m map[string][]byte) {
			m[win] = []byte(strings.Replace(string(m[win]), `"vanished":1`, `"vanished":2`, 1))
		},
		"none":              func(m map[string][]byte) { m[win] = []byte(strings.Replace(string(m[win]), `"vanished":1,`, ``, 1)) },
		"its mark lost":     func(m map[string][]byte) { delete(m, ledger) },
		"the older entries": func(m map[string][]byte) { m[ledger] = []byte(before) },
	} {
		t.Run(name, func(t *testing.T) {
			m := maps.Clone(w.topic)
			damage(m)
			_, _, err := Load(testTenant, m)
			var damaged *DamagedError
			if !errors.As(err, &damaged) || damaged.Key != win {
				t.Errorf("got %v, want %s refused", err, win)
			}
		})
	}
}
