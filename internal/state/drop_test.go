package state

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pstncalls/internal/window"
)

const week = 7 * 24 * time.Hour

// ripe is the first instant at which the ledger of day0 may be dropped.
func ripe() time.Time { return day0.End().Add(week + 48*time.Hour) }

func TestDropRules(t *testing.T) {
	away := func(by window.Day) func(*world) {
		return func(w *world) {
			w.tenant.BeginScan(window.Range{From: day0 + by, To: day0 + by + 1})
			w.observe(rowOn(day0+by, 1, 2))
		}
	}
	for _, c := range []struct {
		name    string
		prepare func(w *world)
		settled []window.Day // days after day0
		now     time.Time
		want    bool
	}{
		{"ripe", nil, []window.Day{0, 1, 2}, ripe(), true},
		{"too young", nil, []window.Day{0, 1, 2}, ripe().Add(-1), false},
		{"not settled", nil, []window.Day{1, 2}, ripe(), false},
		{"the next day is not settled", nil, []window.Day{0, 2}, ripe(), false},
		{"the next but one is not settled", nil, []window.Day{0, 1}, ripe(), false},
		{"never read: the next but one", nil, []window.Day{0, 1, 3}, ripe(), false},
		{"a row in the next day, settled", away(1), []window.Day{0, 1, 2}, ripe(), true},
		{"a row in a later day, not settled", away(3), []window.Day{0, 1, 2}, ripe(), false},
		{"a row in a later day, settled", away(3), []window.Day{0, 1, 2, 3}, ripe(), true},
		{"a row in today", away(9 + 1), []window.Day{0, 1, 2}, ripe(), false},
		{"a row in tomorrow", away(9 + 2), []window.Day{0, 1, 2}, ripe(), false},
		{"a row in a far year", away(9 + 2 + maxAhead), []window.Day{0, 1, 2}, ripe(), true},
		{"a row that came back", func(w *world) { away(3)(w); w.observe(rowOn(day0, 1, 3)) }, []window.Day{0, 1, 2}, ripe(), true},
		{"another day's row in a later day", func(w *world) {
			w.observe(rowOn(day0+2, 7, 1))
			w.observe(rowOn(day0+4, 7, 2))
		}, []window.Day{0, 1, 2}, ripe(), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.scan(day0, rowOn(day0, 1, 1))
			if c.prepare != nil {
				c.prepare(w)
			}
			for _, d := range c.settled {
				w.settle(day0+d, day0+d)
			}
			w.restart()
			n := w.tenant.Drop(c.now, week)
			if got := w.tenant.Dropped(day0); got != c.want || n != w.tenant.Header.Dropped || (n > 0) != c.want {
				t.Errorf("dropped %t, want %t; %d days in all", got, c.want, n)
			}
			if w.tenant.Dirty() != c.want {
				t.Errorf("dirty %t", !c.want)
			}
			w.check()
			if n := w.tenant.Drop(c.now, week); n != 0 {
				t.Errorf("%d more were dropped", n)
			}
		})
	}
}

// A row that has moved into an older day that is not settled yet is known by its owner window's ledger alone.
func TestDropKeepsRowsOfOlderDays(t *testing.T) {
	w := newWorld(t)
	w.scan(day0, rowOn(day0, 9, 1))
	w.scan(day0+1, rowOn(day0+1, 1, 1))
	w.settle(day0+1, day0+3) // a backfill reads the newest day first, and a day of several pages twice
	moved := rowOn(day0, 1, 2)
	w.scan(day0, rowOn(day0, 9, 1), moved)
	w.restart()
	w.tenant.Drop((day0 + 99).Start(), week)
	if d := w.observe(moved); d.Action != Nothing {
		t.Errorf("a row that is unchanged: got %+v, want Nothing", d)
	}
}

func TestSettleOnce(t *testing.T) {
	w := newWorld(t)
	w.scan(day0, rowOn(day0, 1, 1))
	w.check()
	first := day0.End().Add(week)
	w.tenant.Settle(day0, first)
	w.check() // it is written, although nothing else has happened
	w.tenant.Settle(day0, first.Add(time.Hour))
	if w.tenant.Dirty() {
		t.Error("dirty")
	}
	if got := w.tenant.Window(day0).Settled; got == nil || !got.Equal(first) {
		t.Errorf("settled %v, want %v", got, first)
	}
}

func TestDropLeavesNoKey(t *testing.T) {
	w := newWorld(t)
	keysOf := func(day window.Day) (keys []string) {
		for k := range w.topic {
			if strings.Contains(k, day.String()) {
				keys = append(keys, k)
			}
		}
		return keys
	}
	merged := false
	for i := range mergeRun + 20 {
		w.observe(rowOn(day0, i, 1))
		merged = w.commit() || merged
	}
	text := Seen{ID: "text", HasID: true, Fingerprint: 1, Day: day0}
	for _, s := range []Seen{text, rejected(rowOn(day0, 5000, 1)), rowOn(day0, 3, 2), rowOn(day0+1, 4, 2)} {
		w.observe(s)
	}
	w.scan(day0, rowOn(day0, 3, 2), text) // many have vanished
	other := rowOn(day0+2, 7000, 1)
	w.observe(other)
	w.settle(day0, day0+2)
	w.check()
	if n := len(keysOf(day0)); !merged || n < 10 {
		t.Fatalf("merged %t, %d keys", merged, n)
	}
	now := ripe()
	window0, days, complete := w.tenant.Window(day0), w.tenant.Windows(), w.tenant.CompleteUpTo(now)
	if complete != (day0 + 3).Start() {
		t.Errorf("complete up to %s", complete)
	}
	rows := w.tenant.Rows()

	// What has not been committed yet is dropped with the rest.
	w.observe(rowOn(day0+1, 4, 2))
	if n := w.tenant.Drop(now, week); n != 1 {
		t.Fatalf("%d days were dropped, want 1", n)
	}
	w.check()
	if keys := keysOf(day0); keys != nil {
		t.Errorf("left: %v", keys)
	}
	if n := len(keysOf(day0 + 1)); n == 0 {
		t.Error("the day after is gone, too")
	}
	for _, tenant := range []*Tenant{w.tenant, w.load()} {
		got := tenant.Window(day0)
		if got.Rows != window0.Rows || got.Events != window0.Events || got.Revisions != window0.Revisions || got.Rejects != window0.Rejects ||
			got.Vanished != window0.Vanished || got.Digest != window0.Digest || !got.FirstEvent.Equal(*window0.FirstEvent) || got.Settled == nil {
			t.Errorf("got %+v, want %+v", got, window0)
		}
		if got.Vanished == 0 || got.Rejects == 0 || got.Revisions == 0 {
			t.Errorf("too little has happened: %+v", got)
		}
		if !tenant.Settled(day0) || !tenant.Dropped(day0) || tenant.Dropped(day0+1) {
			t.Errorf("settled %t, dropped %t, the next %t", tenant.Settled(day0), tenant.Dropped(day0), tenant.Dropped(day0+1))
		}
		if diff := cmp.Diff(days, tenant.Windows()); diff != "" {
			t.Errorf("days (-before +after):\n%s", diff)
		}
		if got := tenant.CompleteUpTo(now); got != complete {
			t.Errorf("complete up to %s, want %s", got, complete)
		}
		if got, want := tenant.Unread(now), 9-2; got != want {
			t.Errorf("%d days were never read, want %d", got, want)
		}
		if got := tenant.Rows(); got != rows-int(window0.Rows)-1 {
			t.Errorf("%d rows in the ledgers of %d", got, rows)
		}
		if len(tenant.rows.texts) != 0 || len(tenant.rows.away) != 0 {
			t.Errorf("%d texts and %d moves are left", len(tenant.rows.texts), len(tenant.rows.away))
		}
	}
	w.tenant = w.load()
	for _, s := range []Seen{rowOn(day0, 1, 1), rowOn(day0, 1, 2), rowOn(day0, 8000, 1), text} {
		if d := w.observe(s); d.Action != Leave {
			t.Errorf("%s: got %+v, want Leave", s.ID, d)
		}
	}
	// The watermark goes on.
	w.scan(day0 + 3)
	if got, want := w.tenant.CompleteUpTo(now), (day0 + 4).Start(); got != want {
		t.Errorf("complete up to %s, want %s", got, want)
	}
	w.check()
}

// A day of which nothing was ever published or refused costs one bit.
func TestDropEmptyDay(t *testing.T) {
	w := newWorld(t)
	w.settle(day0, day0+40)
	w.check()
	if n := w.tenant.Drop((day0 + 999).Start(), week); n != 39 {
		t.Fatalf("%d days were dropped, want 39", n)
	}
	w.check()
	want := map[string]string{
		"contoso/pstn/month/2024-10": `{"v":1,"settled":"7ffffff8"}`,
		"contoso/pstn/month/2024-11": `{"v":1,"settled":"000007ff"}`,
	}
	for key, value := range want {
		if got := string(w.topic[key]); got != value {
			t.Errorf("%s: got %s, want %s", key, got, value)
		}
	}
	if n := len(w.topic); n != 1+2+2 { // the tenant, two months, two windows
		t.Errorf("%d keys", n)
	}
	got := w.tenant.Window(day0)
	if got.Rows+got.Events+got.Rejects != 0 || got.Digest != (Digest{}) || got.Settled == nil {
		t.Errorf("got %+v", got)
	}
	if n := len(w.tenant.Windows()); n != 41 {
		t.Errorf("%d days, want 41", n)
	}
}

// Days join their month's record one by one, and in any order.
func TestDropOneByOne(t *testing.T) {
	w := newWorld(t)
	w.settle(day0-60, day0+60)
	for d := day0 - 60; d <= day0+60; d++ {
		w.tenant.own(d).Rejects = int64(d - day0 + 100) // something to tell them apart
		w.rejects += int64(d - day0 + 100)
	}
	w.tenant.own(day0).Settled = nil // holds back three days for a while
	for now := day0 - 70; now < day0+60; now += 7 {
		w.tenant.Drop(now.Start(), week)
		w.check()
	}
	if w.tenant.Dropped(day0) || w.tenant.Dropped(day0-1) || w.tenant.Dropped(day0-2) || !w.tenant.Dropped(day0-3) || !w.tenant.Dropped(day0+1) {
		t.Error("the wrong days were dropped")
	}
	w.tenant.Settle(day0, day0.End())
	w.tenant.Drop((day0 + 999).Start(), week)
	w.restart()
	for d := day0 - 60; d <= day0+60; d++ {
		if got := w.tenant.Window(d).Rejects; got != int64(d-day0+100) {
			t.Errorf("%s: %d rejects, want %d", d, got, d-day0+100)
		}
		if got := w.tenant.Dropped(d); got != (d <= day0+58) {
			t.Errorf("%s: dropped %t", d, got)
		}
	}
}

// A row without start may be in any day of the range that returned it: it stays known until all of them have settled.
func TestDropKeepsRowsWithoutStart(t *testing.T) {
	w := newWorld(t)
	bad := rejected(rowOn(day0+3, 1, 1))
	bad.NoStart = true
	if d := w.publish(bad, w.tenant.Observe(bad, w.page(day0, day0+4))); d.Action != Refuse || d.Owner != day0+3 {
		t.Fatalf("got %+v, want a reject of the last day", d)
	}
	now := (day0 + 99).Start()
	for _, d := range []window.Day{5, 4, 3, 0, 1, 2} {
		w.scan(day0 + d)
		w.settle(day0+d, day0+d)
		w.restart()
		w.tenant.Drop(now, week)
		if got, want := w.tenant.Dropped(day0+3), d == 2; got != want {
			t.Errorf("with day %d settled: dropped %t, want %t", d, got, want)
		}
	}
}

// A row moves from an old day into today; at that moment the clock is a little behind (just after midnight).
func TestDropWithTheClockBack(t *testing.T) {
	w := newWorld(t)
	x := Seen{ID: guidOf(1), HasID: true, Fingerprint: 1, Day: day0}
	w.scan(day0, x)
	w.settle(day0, day0+9)
	lookback := 24 * time.Hour
	// day0+10 is today; the row is re-dated into it
	x.Day, x.Fingerprint = day0+10, 2
	if d := w.observe(x); d.Revision != 1 {
		t.Fatalf("%+v", d)
	}
	w.restart()
	now := (day0 + 10).Start().Add(5 * time.Second)
	t.Log("dropped at the right time:", w.tenant.Drop(now, lookback))
	w.check()
	t.Log("dropped with the clock 10 s back:", w.tenant.Drop(now.Add(-10*time.Second), lookback))
	w.restart()
	if d := w.observe(x); d.Action != Nothing {
		t.Errorf("the row is published again: %+v", d)
	}
}
