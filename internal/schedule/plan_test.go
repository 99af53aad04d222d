package schedule

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pstncalls/internal/window"
)

// fresh, due, old and never return a window n days before today: not due; within its lookback and due for a minute; past its
// lookback, not settled and due for a minute; never read.
func fresh(n window.Day, rows int64) Window {
	return Window{Day: today - n, LastScan: noon, Rows: rows}
}

func due(n window.Day, rows int64) Window {
	return Window{Day: today - n, LastScan: ago(6 * time.Minute), Rows: rows}
}

func old(n window.Day, rows int64) Window { return due(n+8, rows) }

func never(n window.Day) Window { return Window{Day: today - n} }

func busy(w Window) Window { w.Busy = true; return w }

func settledDay(n window.Day, rows int64) Window {
	return Window{Day: today - n, LastScan: ago(time.Hour), Rows: rows, Settled: true}
}

// got is an Item as the tables name it.
type got struct {
	Kind Kind
	N    window.Day // the newest day of the range, days before today
	Days int
}

func shorten(items []Item) []got {
	var gs []got
	for _, i := range items {
		gs = append(gs, got{i.Kind, today - i.Range.To + 1, i.Range.Days()})
	}
	return gs
}

// plenty is so large a budget that no window of the tables waits longer than an interval for the law.
const plenty = 1_000_000

func TestPlan(t *testing.T) {
	for _, c := range []struct {
		name string
		held int64
		ws   []Window
		want []got
	}{
		{"nothing", 0, nil, nil},
		{"settled", 0, []Window{settledDay(9, 5)}, nil},
		{"nothing due", 0, []Window{fresh(1, 5), fresh(0, 5)}, nil},
		{"tomorrow", 0, []Window{never(-1)}, nil},
		{"tomorrow, read before the clock stepped back", 0, []Window{due(0, 5), due(-1, 5)}, []got{{Open, 0, 1}}},

		{"due ones within 5,000 rows", 0, []Window{due(3, 2000), due(2, 1000), due(1, 1000), due(0, 1000)}, []got{{Open, 0, 4}}},
		{"due ones beyond 5,000 rows", 0, []Window{due(3, 2000), due(2, 1000), due(1, 1000), due(0, 1001)}, []got{{Open, 0, 3}, {Again, 3, 1}}},
		{"a dense day is read alone", 0, []Window{due(3, 1000), due(2, 6000), due(1, 1000), due(0, 10)}, []got{{Open, 0, 2}, {Again, 2, 1}, {Again, 3, 1}}},
		{"not due, but free", 0, []Window{fresh(3, 300), fresh(2, 300), fresh(1, 300), due(0, 9)}, []got{{Open, 0, 4}}},
		{"not due, and a page more", 0, []Window{fresh(3, 300), fresh(2, 300), fresh(1, 300), due(0, 10)}, []got{{Open, 0, 3}}},
		{"not due, and free on the second page", 0, []Window{fresh(2, 119), fresh(1, 200), due(0, 1500)}, []got{{Open, 0, 2}}},
		{"not due, and free beyond 5,000 rows", 0, []Window{fresh(1, 372), due(0, 6900)}, []got{{Open, 0, 2}}},
		{"due through one that is not", 0, []Window{due(2, 3000), fresh(1, 10), due(0, 10)}, []got{{Open, 0, 3}}},
		{"the open one comes along", 0, []Window{due(1, 10), fresh(0, 10)}, []got{{Open, 0, 2}}},
		{"younger and older come along", 0, []Window{fresh(3, 10), due(2, 10), fresh(1, 10), fresh(0, 9000)}, []got{{Again, 1, 3}}},
		{"not across a settled day", 0, []Window{due(2, 10), settledDay(1, 5), due(0, 10)}, []got{{Open, 0, 1}, {Again, 2, 1}}},
		{"not across a busy day", 0, []Window{due(2, 10), busy(due(1, 5)), due(0, 10)}, []got{{Open, 0, 1}, {Again, 2, 1}}},
		{"not across a missing day", 0, []Window{due(2, 10), due(0, 10)}, []got{{Open, 0, 1}, {Again, 2, 1}}},
		{"not across a day never read", 0, []Window{doubled(2, 10), never(1), due(0, 10)}, []got{{Open, 0, 1}, {Again, 2, 1}, {First, 1, 1}}},
		{"today never read, with the rest", 0, []Window{fresh(2, 10), fresh(1, 10), never(0)}, []got{{Open, 0, 3}}},
		{"all busy", 0, []Window{busy(due(1, 10)), busy(due(0, 10))}, nil},

		{"old ones within one page", 0, []Window{old(0, 400), due(7, 400), fresh(6, 109)}, []got{{Again, 6, 3}}},
		{"old ones beyond a page", 0, []Window{old(0, 400), due(7, 400), fresh(6, 110)}, []got{{Again, 6, 2}}},
		{"a young one beyond a page of old ones", 0, []Window{old(0, 2000), fresh(7, 10)}, []got{{Second, 8, 1}}},
		{"second scans wait for every other", 0, []Window{old(2, 2000), due(7, 4000), fresh(0, 1)}, []got{{Again, 7, 1}}},
		{"second scans wait for a day never read", 0, []Window{old(2, 2000), never(2), fresh(0, 1)}, []got{{First, 2, 1}}},
		{"second scans wait for a first one in progress", 0, []Window{old(2, 2000), busy(never(2)), fresh(0, 1)}, nil},
		{"second scans wait for the first of today", 0, []Window{old(2, 2000), busy(never(0))}, nil},
		{"second scans do not wait for another scan in progress", 0, []Window{old(2, 2000), busy(due(2, 1)), fresh(0, 1)}, []got{{Second, 10, 1}}},
		{"second scans within 20,000 rows", 0, []Window{old(3, 100), old(2, 10_000), old(1, 10_000)}, []got{{Second, 9, 2}, {Second, 11, 1}}},

		{"second scans before first ones where much is held", 2_000_001, []Window{old(2, 2000), never(2), fresh(0, 1)}, []got{{Second, 10, 1}}},
		{"and beside the others", 2_000_001, []Window{old(2, 2000), never(2), due(0, 1)}, []got{{Open, 0, 1}, {Second, 10, 1}}},
		{"no first one beside a second one in progress", 2_000_001, []Window{busy(old(2, 2000)), never(2), fresh(0, 1)}, nil},
		{"none to free memory", 2_000_001, []Window{never(2), fresh(0, 1)}, []got{{First, 2, 1}}},
		{"none that is due yet", 2_000_001, []Window{fresh(10, 2000), never(2), fresh(0, 1)}, []got{{First, 2, 1}}},
		{"much, but not too much, is held", 2_000_000, []Window{old(2, 2000), never(2), fresh(0, 1)}, []got{{First, 2, 1}}},

		{"today before a backfill", 0, []Window{never(2), never(1), never(0)}, []got{{Open, 0, 1}}},
		{"no backfill before today is read", 0, []Window{never(2), never(1), busy(never(0))}, nil},
		{"nor where only yesterday is", 0, []Window{never(2), busy(due(1, 50_000)), busy(never(0))}, nil},
		{"newest first, twice what is known", 0, []Window{never(4), never(3), never(2), never(1), busy(fresh(0, 0))}, []got{{First, 1, 2}}},
		{"one that explores at a time", 0, []Window{never(4), never(3), busy(never(2)), busy(never(1)), fresh(0, 0)}, nil},
		{"one that explores, and none beside it", 0, []Window{never(4), settledDay(3, 50_000), never(2), never(1), fresh(0, 0)}, []got{{First, 1, 2}}},
		{"none that explores beside another", 0, []Window{never(4), settledDay(3, 0), never(2), never(1), fresh(0, 50_000)}, []got{{First, 1, 1}, {First, 2, 1}}},
		{"settled ones are known", 0, []Window{never(4), never(3), never(2), never(1), settledDay(1, 0), fresh(0, 0)}, []got{{First, 1, 4}}},
		{"dense by today alone", 0, []Window{never(4), never(3), never(2), never(1), fresh(0, 50_000)}, []got{{First, 1, 1}, {First, 2, 1}, {First, 3, 1}, {First, 4, 1}}},
		{"dense, though one is in progress", 0, []Window{never(3), never(2), busy(never(1)), fresh(0, 50_000)}, []got{{First, 2, 1}, {First, 3, 1}}},
		{"today does not count beside others", 0, []Window{never(4), never(3), never(2), settledDay(1, 20_000), fresh(0, 0)}, []got{{First, 2, 1}, {First, 3, 1}, {First, 4, 1}}},
		{"a range of twenty pages", 0, []Window{never(5), never(4), never(3), never(2), settledDay(1, 9000), fresh(0, 0)}, []got{{First, 2, 2}, {First, 4, 2}}},
		{"not across a day that is read", 0, []Window{never(3), settledDay(2, 5), never(1), fresh(0, 0)}, []got{{First, 1, 1}}},
		{"nor one that is busy", 0, []Window{never(3), busy(due(2, 5)), never(1), fresh(0, 0)}, []got{{First, 1, 1}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := input(c.ws...)
			in.PerMinute, in.Held = plenty, c.held
			items, _ := week.Plan(in)
			if diff := cmp.Diff(c.want, shorten(items)); diff != "" {
				t.Errorf("plan (-want +got):\n%s", diff)
			}
		})
	}
}

// days returns n windows in a row, the newest n0 days before today.
func days(n int, n0 window.Day, one func(window.Day) Window) []Window {
	ws := make([]Window, n)
	for i := range ws {
		ws[n-1-i] = one(n0 + window.Day(i))
	}
	return ws
}

func TestRangesOf89Days(t *testing.T) {
	long := Settings{Interval: 5 * time.Minute, Lookback: 1000 * 24 * time.Hour}
	read := func(n window.Day) Window { return due(n, 1) }
	items, _ := long.Plan(Input{Now: noon, PerMinute: 45, Windows: days(200, 0, read)})
	if diff := cmp.Diff([]got{{Open, 0, 89}, {Again, 89, 89}, {Again, 178, 22}}, shorten(items)); diff != "" {
		t.Errorf("read before (-want +got):\n%s", diff)
	}
	ws := append(days(1000, 100, never), days(100, 0, func(n window.Day) Window { return fresh(n, 1) })...)
	items, _ = long.Plan(Input{Now: noon, PerMinute: 45, Windows: ws})
	if len(items) != maxFirst {
		t.Errorf("%d first ranges", len(items))
	}
	for i, g := range shorten(items) {
		if want := (got{First, window.Day(100 + 89*i), 89}); g != want {
			t.Errorf("got %v, want %v", g, want)
		}
	}
}

// The density is that of the seven nearest days, not of all.
func TestDensityIsNear(t *testing.T) {
	ws := days(300, 8, never)
	ws = append(ws, settledDay(7, 2000), settledDay(6, 2000), settledDay(5, 2000), settledDay(4, 2000), settledDay(3, 2000), settledDay(2, 2000), settledDay(1, 2000), settledDay(0, 1_000_000))
	for _, w := range days(99, -99, never) { // further from the days never read
		w.Settled = true
		w.Rows = 1_000_000
		ws = append(ws, w)
	}
	later := (today + 100).Start()
	items, _ := week.Plan(Input{Now: later, PerMinute: 45, Windows: append(ws, Window{Day: today + 100, LastScan: later})})
	if len(items) != maxFirst || items[0].Kind != First || items[0].Range.Days() != 10 {
		t.Errorf("got %v", items)
	}
}

func TestOrder(t *testing.T) {
	starved := func(n window.Day, since time.Duration) Window {
		return Window{Day: today - n, LastScan: ago(since + 5*time.Minute), Rows: 9000}
	}
	ws := []Window{starved(7, 3*time.Hour), starved(6, 4*time.Hour), due(5, 9000), starved(4, time.Hour), starved(3, 2*time.Hour), due(1, 9000), due(0, 9000)}
	in := input(ws...)
	in.PerMinute = plenty
	items, _ := week.Plan(in)
	want := []got{{Open, 0, 1}, {Again, 6, 1}, {Again, 7, 1}, {Again, 3, 1}, {Again, 1, 1}, {Again, 4, 1}, {Again, 5, 1}}
	if diff := cmp.Diff(want, shorten(items)); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
	in = input(never(14), doubled(5, 9000), never(2), doubled(1, 9000), due(0, 9000))
	items, _ = week.Plan(in)
	want = []got{{Open, 0, 1}, {Again, 5, 1}, {Again, 1, 1}, {First, 2, 1}, {First, 14, 1}}
	if diff := cmp.Diff(want, shorten(items)); diff != "" {
		t.Errorf("order beside a backfill (-want +got):\n%s", diff)
	}
}

// doubled is a window whose age has doubled since it was read, an hour after its end.
func doubled(n window.Day, rows int64) Window {
	return Window{Day: today - n, LastScan: (today - n).End().Add(time.Hour), Rows: rows}
}

// A range is due since the longest waiting of its days is.
func TestItemDue(t *testing.T) {
	in := input(Window{Day: today - 1, LastScan: ago(3 * time.Hour), Rows: 2000}, due(0, 2000))
	in.PerMinute = plenty
	items, _ := week.Plan(in)
	if len(items) != 1 || !items[0].Due.Equal(ago(3*time.Hour-5*time.Minute)) || items[0].Pages != 4 {
		t.Errorf("got %+v", items)
	}
}

func TestNext(t *testing.T) {
	for _, c := range []struct {
		name string
		ws   []Window
		want time.Time
	}{
		{"none", nil, Never},
		{"settled", []Window{settledDay(1, 0)}, Never},
		{"the soonest", []Window{{Day: today - 1, LastScan: ago(time.Second)}, {Day: today, LastScan: ago(time.Minute)}}, noon.Add(4 * time.Minute)},
		{"not one that is busy", []Window{{Day: today - 1, LastScan: ago(time.Second)}, busy(Window{Day: today, LastScan: ago(time.Minute)})}, noon.Add(5*time.Minute - time.Second)},
		{"not one that comes along", []Window{fresh(1, 10), due(0, 10)}, Never},
		{"due this instant", []Window{{Day: today - 2, LastScan: ago(time.Minute), Rows: 9000}, {Day: today, LastScan: ago(5 * time.Minute)}}, noon.Add(4 * time.Minute)},
		{"not one that is held back", []Window{old(2, 2000), busy(never(2)), fresh(0, 1)}, noon.Add(5 * time.Minute)},
		{"tomorrow's", []Window{fresh(-1, 0)}, today.End()},
	} {
		in := input(c.ws...)
		in.PerMinute = plenty
		if _, next := week.Plan(in); !next.Equal(c.want) {
			t.Errorf("%s: got %v, want %v", c.name, next, c.want)
		}
	}
}

// Where Graph does not answer for today, the days before it are read all the same.
func TestTodayUnanswered(t *testing.T) {
	ws := []Window{{Day: today - 2}, {Day: today - 1}, {Day: today, After: noon.Add(time.Minute)}}
	items, next := week.Plan(input(ws...))
	if len(items) != 1 || items[0].Kind != First || !next.Equal(noon.Add(time.Minute)) {
		t.Errorf("got %+v, and next %v", items, next)
	}
}

// Of any tenant in any state: ranges share no day, hold no settled and no busy one and none outside of the list; every window
// that was read and is due is in the plan, but for second scans; next is the first due time of those that are not.
func TestPlanProperty(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	seen := map[Kind]int{}
	for range 5000 {
		in, s := randomInput(r)
		items, next := s.Plan(in)
		dues := s.Due(in)
		byDay := map[window.Day]Kind{}
		windows := map[window.Day]Window{}
		for _, w := range in.Windows {
			windows[w.Day] = w
		}
		for _, item := range items {
			seen[item.Kind]++
			if item.Range.Days() < 1 || item.Range.Days() > 89 || item.Due.After(in.Now) || item.Pages <= 0 {
				t.Fatalf("%+v at %v", item, in.Now)
			}
			if item.From.IsZero() != (item.Kind != Tail) || item.Range.Contains(window.Of(in.Now)) != (item.Kind == Open || item.Kind == Tail) {
				t.Fatalf("%+v at %v", item, in.Now)
			}
			if item.Kind == First && !item.Due.Equal((item.Range.To - 1).Start()) {
				t.Fatalf("%+v: due", item)
			}
			for d := item.Range.From; d < item.Range.To; d++ {
				w, ok := windows[d]
				if k, twice := byDay[d]; twice || !ok || w.Settled || w.Busy || w.After.After(in.Now) || (item.Kind == First) != (w.LastScan.IsZero() && d != window.Of(in.Now)) {
					t.Fatalf("%s of %+v: %+v, also in a range of kind %s", d, item, w, k)
				}
				byDay[d] = item.Kind
			}
		}
		// Days that were never read and are not answered hold nothing back: the plan is the same without them.
		without := in
		without.Windows = slices.DeleteFunc(slices.Clone(in.Windows), func(w Window) bool {
			return w.LastScan.IsZero() && w.After.After(in.Now) && !w.Busy && w.Day < window.Of(in.Now)
		})
		if same, _ := s.Plan(without); !slices.Equal(same, items) {
			t.Fatalf("with days that are not answered: %+v, without: %+v", items, same)
		}
		want := Never
		for i, w := range in.Windows {
			if _, planned := byDay[w.Day]; planned || w.Busy {
				continue
			}
			second := s.Settles(w.Day, w.LastScan)
			if !dues[i].After(in.Now) && !w.LastScan.IsZero() && !second {
				t.Fatalf("%+v is due since %v, and not planned", w, dues[i])
			}
			if dues[i].After(in.Now) && dues[i].Before(want) {
				want = dues[i]
			}
		}
		if !next.Equal(want) || !next.After(in.Now) {
			t.Fatalf("next: got %v, want %v", next, want)
		}
	}
	for _, k := range []Kind{Open, Tail, Again, First, Second} {
		if seen[k] < 50 {
			t.Errorf("only %d of kind %s", seen[k], k)
		}
	}
}

// A day that somebody asks for waits for no backfill, though its second scan would.
func TestAskedDayWaitsForNoBackfill(t *testing.T) {
	w := old(2, 2000)
	w.Asked = true
	items, _ := week.Plan(Input{Now: noon, Windows: []Window{never(40), w, fresh(0, 1)}, PerMinute: 45})
	for _, i := range items {
		if i.Range.Contains(w.Day) {
			return
		}
	}
	t.Error("the day that is asked for is not in the plan")
}
