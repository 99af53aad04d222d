package state

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"pstncalls/internal/window"
)

// history is some weeks of a tenant: Graph's log, and what became of its rows.
type history struct {
	*world
	r        *rand.Rand
	now      time.Time
	log      []*logRow
	newest   map[string]int32 // the last revision published, by row id
	happened map[string]int
}

type logRow struct {
	Seen
	owner window.Day
	shown bool
	gone  bool
}

const historyLookback = 48 * time.Hour

func (h *history) today() window.Day { return window.Of(h.now) }

// graph changes the log.
func (h *history) graph() {
	r := h.r
	for range r.IntN(5) { // calls, some of them late
		n := len(h.log)
		s := rowOn(max(day0, h.today()-window.Day(max(0, r.IntN(8)-5))), n, 1)
		s.Rejected = r.IntN(8) == 0
		switch n % 5 {
		case 1:
			s.ID = fmt.Sprintf("text-%d", n)
		case 2:
			s.ID, s.HasID = fmt.Sprintf("~%032x", n), false
		}
		h.log = append(h.log, &logRow{Seen: s, owner: s.Day})
	}
	for range min(len(h.log), r.IntN(6)) {
		row := h.log[len(h.log)-1-r.IntN(min(len(h.log), 60))]
		switch r.IntN(4) {
		case 0:
			row.gone = !row.gone
		case 1, 2:
			row.Fingerprint++
			row.Rejected = r.IntN(6) == 0
		case 3:
			// Farther than two days from its owner window it may be a new row; one without an id always is.
			to := row.owner + window.Day(r.IntN(5)-2)
			if to >= day0 && to <= h.today() && row.HasID && to != row.Day {
				row.Fingerprint++
				row.Day = to
			}
		}
	}
}

// scan reads some days that are not settled, in pages.
func (h *history) scan() {
	r := h.r
	t := h.tenant
	from := max(day0, h.today()-window.Day(r.IntN(8)))
	if r.IntN(3) == 0 { // the oldest one
		for from = day0; t.Settled(from); from++ {
		}
	}
	to := from + 1
	for to <= h.today() && r.IntN(3) == 0 {
		to++
	}
	for d := from; d < to; d++ {
		if t.Settled(d) {
			return
		}
	}
	rng := window.Range{From: from, To: to}
	resumed := r.IntN(6) == 0
	if !resumed {
		t.BeginScan(rng)
	}
	inclusive := window.Day(r.IntN(2)) // how Graph reads the range's end
	var rows []*logRow
	for _, row := range h.log {
		if !row.gone && row.Day >= from && row.Day < to+inclusive {
			rows = append(rows, row)
		}
	}
	r.Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
	returned := map[string]bool{}
	for len(rows) > 0 {
		p := h.page(from, to)
		n := min(len(rows), 1+r.IntN(9))
		for _, row := range rows[:n] {
			d := t.Observe(row.Seen, p)
			h.answer(row, d)
			returned[d.RowID] = true
		}
		if rows = rows[n:]; r.IntN(4) == 0 {
			h.check()
		}
	}
	want := 0
	for id, row := range show(t).Rows {
		if rng.Contains(row.Home) && row.Revision >= 0 && !row.Rejected && !row.Vanished && !returned[id] && !resumed {
			want++
		}
	}
	if got := t.Complete(Scanned{Range: rng, Begun: h.now, Pages: 1, Resumed: resumed}); got != want {
		h.t.Fatalf("%s: %d rows have vanished, want %d", rng, got, want)
	}
	h.happened["vanished"] += want
	for d := from; d < to; d++ {
		// Older days first: a row that moves into one that is open may be new there.
		if !h.now.Before(d.End().Add(historyLookback)) && !resumed && (d == day0 || t.Settled(d-1)) {
			t.Settle(d, h.now)
			h.happened["settled"]++
		}
	}
}

// answer takes the decision on one row down.
func (h *history) answer(row *logRow, d Decision) {
	h.publish(row.Seen, d)
	switch {
	case d.Action == Leave:
		h.happened["left"]++
		return
	case !row.shown:
		row.shown, row.owner = true, row.Day
	}
	if row.HasID && d.Owner != row.owner {
		h.t.Fatalf("%s is owned by %s, want %s", d.RowID, d.Owner, row.owner)
	}
	if d.Action != Publish {
		return
	}
	last, published := h.newest[d.RowID]
	if want := last + 1; published && d.Revision != want || !published && d.Revision != 0 {
		h.t.Fatalf("%s was published as revision %d after %d (%t)", d.RowID, d.Revision, last, published)
	}
	h.newest[d.RowID] = d.Revision
	if d.Owner != row.Day {
		h.happened["published away"]++
	}
	if h.tenant.Settled(d.Owner) {
		h.happened["published after its window had settled"]++
	}
}

// Whatever has happened, after every commit: a tenant that is loaded is the one in memory, and its windows, dropped or not, add up
// to what was published. No event is published twice, and no scan takes a row for vanished that it has returned.
func TestHistories(t *testing.T) {
	happened := map[string]int{}
	for seed := range uint64(20) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			h := &history{world: newWorld(t), r: rand.New(rand.NewPCG(seed, 17)), now: day0.Start().Add(time.Hour), newest: map[string]int32{}, happened: happened}
			for h.today() < day0+25 {
				h.now = h.now.Add(time.Duration(1+h.r.IntN(8)) * time.Hour)
				h.graph()
				h.scan()
				h.check()
				if h.r.IntN(3) == 0 {
					happened["dropped"] += h.tenant.Drop(h.now, historyLookback)
					h.check()
				}
				if h.r.IntN(8) == 0 {
					h.restart()
				}
				h.tenant.Forget(h.counter)
			}
			happened["published"] += len(h.newest)
		})
	}
	t.Log(happened)
	for _, what := range []string{"published", "published away", "published after its window had settled", "vanished", "left", "settled", "dropped"} {
		if happened[what] < 20 {
			t.Errorf("too little has happened: %s %d times", what, happened[what])
		}
	}
}
