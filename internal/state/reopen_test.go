package state

import (
	"testing"
	"time"

	"pstncalls/internal/window"
)

// A row whose newer life is in another settled day, and that has come back to the first.
func TestReopenTwoLives(t *testing.T) {
	w := newWorld(t)
	d, e := day0, day0+10
	w.scan(d, rowOn(d, 1, 1), rowOn(d, 2, 1))
	w.settle(d, d+2)
	now := (e + 40).Start()
	w.tenant.Drop(now, time.Hour)
	w.check()
	got := w.observe(rowOn(e, 1, 2)) // re-dated: a new row there
	if got.Action != Publish || got.Revision != 0 {
		t.Fatalf("%+v", got)
	}
	w.scan(e, rowOn(e, 1, 2))
	w.settle(d+3, e+2)
	w.tenant.Drop(now, time.Hour)
	w.restart()
	if !w.tenant.Dropped(d) || !w.tenant.Dropped(e) {
		t.Fatal("not dropped")
	}
	at := time.UnixMilli(1)
	ledgers := map[window.Day][]Known{
		d: {{ID: guidOf(1), Owner: d, Home: d, Fingerprint: 1, At: at}, {ID: guidOf(2), Owner: d, Home: d, Fingerprint: 1, At: at}},
		e: {{ID: guidOf(1), Owner: e, Home: e, Fingerprint: 2, At: at.Add(time.Hour)}},
	}
	if err := w.tenant.Reopen(ledgers, map[window.Day]bool{d: true}, now); err != nil {
		t.Fatal(err)
	}
	w.tenant.Drop(now, time.Hour) // as the next commit does
	w.restart()
	got = w.observe(rowOn(d, 1, 3))
	if got.Revision == 0 && got.Action == Publish {
		t.Errorf("%+v: revision 0 of the row with owner %s a second time", got, d)
	}
}
