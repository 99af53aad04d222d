package state

import (
	"fmt"
	"testing"

	"pstncalls/internal/window"
)

// homeOf returns the day that the row's call starts in, as the ledger has it.
func homeOf(t *Tenant, n int) window.Day {
	k, _ := keyOf(guidOf(n))
	return t.rows.home(t.rows.find(k))
}

// A row that moves keeps its owner window; its home follows.
func TestMoves(t *testing.T) {
	const owner = day0 + 5
	for _, c := range []struct {
		name string
		days []window.Day // one after the other, from the owner window
	}{
		{"to the next day", []window.Day{1}},
		{"to the day before", []window.Day{-1}},
		{"there and back", []window.Day{1, 0}},
		{"back and there", []window.Day{-1, 0}},
		{"twice", []window.Day{1, 2}},
		{"from the day before to the next", []window.Day{-1, 1}},
		{"far", []window.Day{-5, 100, -1, 0, 1}},
	} {
		for _, merged := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, merged %t", c.name, merged), func(t *testing.T) {
				w := newWorld(t)
				w.observe(rowOn(owner, 1, 0))
				for i, by := range c.days {
					fingerprint := uint64(i + 1)
					d := w.observe(rowOn(owner+by, 1, fingerprint))
					if want := (Decision{Action: Publish, RowID: guidOf(1), Revision: int32(i + 1), Owner: owner}); d != want {
						t.Fatalf("got %+v, want %+v", d, want)
					}
					w.commit()
					if merged {
						saw := false
						for j := range 2 * mergeRun {
							w.observe(rowOn(owner, 10_000*i+100+j, 1))
							saw = w.commit() || saw
						}
						if !saw {
							t.Fatal("no ledger was merged")
						}
					}
					if got := homeOf(w.tenant, 1); got != owner+by {
						t.Errorf("its home is %s, want %s", got, owner+by)
					}
					w.restart()
					if got := homeOf(w.tenant, 1); got != owner+by {
						t.Errorf("loaded, its home is %s, want %s", got, owner+by)
					}
					if d := w.observe(rowOn(owner+by, 1, fingerprint)); d.Action != Nothing {
						t.Errorf("unchanged: got %+v", d)
					}
					if w.tenant.Dirty() {
						t.Error("dirty although the row is known as it is")
					}
				}
				if o := w.tenant.Window(owner); o.Revisions != int64(len(c.days)) {
					t.Errorf("the owner window counts %d revisions, want %d", o.Revisions, len(c.days))
				}
				for _, by := range c.days {
					if o := w.tenant.Window(owner + by); by != 0 && o.Rows+o.Events != 0 {
						t.Errorf("%s counts %d rows that it does not own", owner+by, o.Rows)
					}
				}
			})
		}
	}
}

// The scans of a row's home judge whether it has vanished, not those of its owner window.
func TestMovedRowVanishesFromItsHome(t *testing.T) {
	const owner = day0 + 5
	for _, by := range []window.Day{1, -1} {
		t.Run(fmt.Sprint(by), func(t *testing.T) {
			w := newWorld(t)
			home := owner + by
			w.scan(owner, rowOn(owner, 1, 1))
			w.scan(home, rowOn(home, 1, 2))
			if n := w.scan(owner); n != 0 {
				t.Errorf("a scan of its owner window marks %d rows", n)
			}
			w.restart()
			if n := w.scan(owner); n != 0 {
				t.Errorf("after a restart a scan of its owner window marks %d rows", n)
			}
			if n := w.scan(home); n != 1 {
				t.Errorf("a scan of its home marks %d rows, want 1", n)
			}
			w.wantVanished(owner, 1)
			w.wantVanished(home, 0)
			w.restart()
			if d := w.observe(rowOn(home, 1, 2)); d.Action != Nothing {
				t.Errorf("returned: got %+v", d)
			}
			w.wantVanished(owner, 0)
			w.scan(owner, rowOn(owner, 1, 3)) // it is back
			if n := w.scan(home); n != 0 {
				t.Errorf("a scan of its former home marks %d rows", n)
			}
			if n := w.scan(owner); n != 1 {
				t.Errorf("a scan of the owner window marks %d rows, want 1", n)
			}
			w.check()
		})
	}
}

// A row that has lost its start is not known to have moved: it is put down to the first day of the range that was asked for.
func TestRowWithoutStartStays(t *testing.T) {
	w := newWorld(t)
	w.scan(day0, rowOn(day0, 9, 1))
	w.scan(day0+1, rowOn(day0+1, 1, 1))
	s := rejected(rowOn(day0, 1, 2))
	s.NoStart = true
	if d := w.publish(s, w.tenant.Observe(s, w.page(day0, day0+2))); d != (Decision{Action: Refuse, RowID: guidOf(1), Owner: day0 + 1, Repeated: true}) {
		t.Errorf("got %+v", d)
	}
	if got := homeOf(w.tenant, 1); got != day0+1 {
		t.Errorf("its home is %s", got)
	}
	w.check()
}

// Both days' scans go on at once: the row is on the last page of the one and the first of the other.
func TestMovedWhileBothDaysAreScanned(t *testing.T) {
	w := newWorld(t)
	w.scan(day0, rowOn(day0, 1, 1))
	w.scan(day0 + 1)
	for _, d := range []window.Day{day0, day0 + 1} {
		w.tenant.BeginScan(window.Range{From: d, To: d + 1})
	}
	moved := rowOn(day0+1, 1, 2)
	w.publish(moved, w.tenant.Observe(moved, w.page(day0+1, day0+2)))
	for _, d := range []window.Day{day0, day0 + 1} {
		if n := w.tenant.Complete(Scanned{Range: window.Range{From: d, To: d + 1}, Begun: d.End(), Pages: 1}); n != 0 {
			t.Errorf("the scan of %s marks %d rows", d, n)
		}
	}
	w.check()
}

// Nothing looks at a settled day again, whether its ledger lives or not.
func TestMoveIntoSettledDay(t *testing.T) {
	for _, c := range []struct {
		name string
		drop bool
		page func(w *world) Page
	}{
		{"on a page of that day", false, func(w *world) Page { return w.page(day0, day0+1) }},
		{"on a page of the row's day", false, func(w *world) Page { return w.page(day0+3, day0+4) }},
		{"dropped, on a page of that day", true, func(w *world) Page { return w.page(day0, day0+1) }},
		{"dropped, on a page of the row's day", true, func(w *world) Page { return w.page(day0+3, day0+4) }},
		{"dropped, on a page of both", true, func(w *world) Page { return w.page(day0, day0+4) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.scan(day0, rowOn(day0, 1, 1))
			w.scan(day0+3, rowOn(day0+3, 2, 1))
			w.settle(day0, day0+2)
			if c.drop && w.tenant.Drop((day0+9).Start(), 0) != 1 {
				t.Fatal("the day was not dropped")
			}
			w.restart()
			before := w.load()
			for name, s := range map[string]Seen{"moved": rowOn(day0, 2, 2), "new": rowOn(day0, 3, 1), "its own, changed": rowOn(day0, 1, 2)} {
				p := c.page(w)
				d := w.tenant.Observe(s, p)
				if stray := day0 < p.Range.From; d != (Decision{Action: Leave, Stray: stray}) {
					t.Errorf("%s: got %+v, want Leave, stray %t", name, d, stray)
				}
			}
			if w.tenant.Dirty() {
				t.Error("dirty")
			}
			if diff := differences(before, w.tenant); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Only a day next to the range may be meant by another reading of its ends.
func TestStray(t *testing.T) {
	for by, stray := range map[window.Day]bool{-3: true, -1: true, 0: false, 1: false, 2: false, 3: true, 9: true} {
		w := newWorld(t)
		w.settle(day0+2-3, day0+2+9)
		d := w.tenant.Observe(rowOn(day0+2+by, 1, 1), w.page(day0+2, day0+4))
		if d != (Decision{Action: Leave, Stray: stray}) {
			t.Errorf("%d days after the range's first: got %+v, want stray %t", by, d, stray)
		}
	}
}

// A settled window gets the revisions of its rows that have moved into younger ones, while its ledger lives.
func TestSettledWindowGetsRevisions(t *testing.T) {
	w := newWorld(t)
	w.scan(day0, rowOn(day0, 1, 1), rowOn(day0, 2, 1))
	w.settle(day0, day0)
	w.restart()
	before := w.tenant.Window(day0)
	moved := rowOn(day0+1, 1, 2)
	w.scan(day0+1, moved)
	after := w.tenant.Window(day0)
	if after.Rows != 2 || after.Events != 3 || after.Revisions != 1 {
		t.Errorf("got %d rows, %d events, %d revisions, want 2, 3, 1", after.Rows, after.Events, after.Revisions)
	}
	if want := before.Digest.Add(HashEvent(moved.ID, 1, 2, nil)); after.Digest != want {
		t.Errorf("digest %s, want %s", after.Digest, want)
	}
	if after.Settled == nil || !after.Settled.Equal(*before.Settled) {
		t.Errorf("settled %v, want %v", after.Settled, before.Settled)
	}
	if o := w.tenant.Window(day0 + 1); o.Rows+o.Events != 0 {
		t.Errorf("the younger day counts %d rows", o.Rows)
	}
	w.restart()
	// It vanishes there, and its owner window still counts it.
	if n := w.scan(day0 + 1); n != 1 {
		t.Errorf("%d rows have vanished, want 1", n)
	}
	w.wantVanished(day0, 1)
	w.check()

	w.settle(day0+1, day0+2)
	w.check()
	if n := w.tenant.Drop((day0 + 1).Start().Add(ledgerLife), 0); n != 1 {
		t.Fatalf("%d days were dropped, want 1", n)
	}
	o := w.tenant.Window(day0)
	if o.Events != 3 || o.Revisions != 1 || o.Vanished != 1 || o.Digest != after.Digest {
		t.Errorf("dropped: %+v", o)
	}
	w.check()
}
