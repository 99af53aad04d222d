package schedule

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pstncalls/internal/window"
)

var week = Settings{Interval: 5 * time.Minute, Lookback: 168 * time.Hour}

const day = window.Day(20000)

func TestDue(t *testing.T) {
	end := day.End()
	final := end.Add(week.Lookback)
	for _, c := range []struct {
		name string
		w    Window
		want time.Time
	}{
		{"never read", Window{Day: day}, day.Start()},
		{"open", Window{Day: day, LastScan: end.Add(-time.Hour)}, end.Add(-55 * time.Minute)},
		{"just closed", Window{Day: day, LastScan: end.Add(-time.Minute)}, end.Add(4 * time.Minute)},
		{"read at its end", Window{Day: day, LastScan: end}, end.Add(5 * time.Minute)},
		{"younger than the interval", Window{Day: day, LastScan: end.Add(4 * time.Minute)}, end.Add(9 * time.Minute)},
		{"doubled", Window{Day: day, LastScan: end.Add(3 * time.Hour)}, end.Add(6 * time.Hour)},
		{"cut to the final scan", Window{Day: day, LastScan: end.Add(100 * time.Hour)}, final},
		{"just before the final scan", Window{Day: day, LastScan: final.Add(-1)}, final},
		{"past the final scan, not settled", Window{Day: day, LastScan: final.Add(time.Hour)}, final.Add(65 * time.Minute)},
		{"settled", Window{Day: day, LastScan: final, Settled: true}, Never},
	} {
		if got := week.Due(c.w); !got.Equal(c.want) {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}

// A closed window is read about a dozen times in a week's lookback.
func TestDoubling(t *testing.T) {
	w := Window{Day: day, LastScan: day.End().Add(-2 * time.Minute)}
	var got []time.Duration // ages
	for {
		at := week.Due(w)
		got = append(got, at.Sub(day.End()))
		if week.Settles(day, at) {
			break
		}
		w.LastScan = at
	}
	m := time.Minute
	want := []time.Duration{3 * m, 8 * m, 16 * m, 32 * m, 64 * m, 128 * m, 256 * m, 512 * m, 1024 * m, 2048 * m, 4096 * m, 8192 * m, 168 * time.Hour}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("ages of the scans (-want +got):\n%s", diff)
	}
}

func TestSettles(t *testing.T) {
	final := day.End().Add(week.Lookback)
	for begun, want := range map[time.Time]bool{final.Add(-1): false, final: true, final.Add(1): true} {
		if got := week.Settles(day, begun); got != want {
			t.Errorf("begun %v: got %t, want %t", begun, got, want)
		}
	}
}

func TestPlan(t *testing.T) {
	now := day.Start().Add(12 * time.Hour)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	// due returns a closed window that has been due for d: read when it was half as old as it was then.
	due := func(w window.Day, d time.Duration) Window {
		return Window{Day: w, LastScan: w.End().Add(now.Add(-d).Sub(w.End()) / 2)}
	}
	for _, c := range []struct {
		name string
		ws   []Window
		want []window.Day
		next time.Time
	}{
		{"nothing", nil, nil, Never},
		{"settled", []Window{{Day: day - 9, Settled: true}}, nil, Never},
		{"backfill newest first", []Window{{Day: day - 2}, {Day: day}, {Day: day - 1}}, []window.Day{day, day - 1, day - 2}, Never},
		{"open one not due", []Window{{Day: day, LastScan: ago(time.Minute)}}, nil, now.Add(4 * time.Minute)},
		{"open one due this instant", []Window{{Day: day, LastScan: ago(5 * time.Minute)}}, []window.Day{day}, Never},
		{"tomorrow", []Window{{Day: day + 1}}, nil, (day + 1).Start()},
		{"soonest of those not due", []Window{{Day: day, LastScan: ago(time.Minute)}, {Day: day - 1, LastScan: ago(time.Second)}}, nil, now.Add(4 * time.Minute)},
		{"newest first", []Window{due(day-3, time.Minute), due(day-2, time.Minute)}, []window.Day{day - 2, day - 3}, Never},
		{"due for an hour, and not more", []Window{due(day-3, time.Hour), due(day-2, time.Minute)}, []window.Day{day - 2, day - 3}, Never},
		{"starving before younger", []Window{due(day-2, time.Minute), due(day-3, 2*time.Hour)}, []window.Day{day - 3, day - 2}, Never},
		{"starving, the longest first", []Window{due(day-2, 2*time.Hour), due(day-4, 3*time.Hour), due(day-3, 3*time.Hour)}, []window.Day{day - 3, day - 4, day - 2}, Never},
		{"starving before a backfill, after the open one", []Window{{Day: day - 1}, due(day-3, 2*time.Hour), {Day: day}}, []window.Day{day, day - 3, day - 1}, Never},
	} {
		t.Run(c.name, func(t *testing.T) {
			items, next := week.Plan(now, c.ws)
			var got []window.Day
			for _, i := range items {
				got = append(got, i.Day)
				if i.Open != (i.Day == day) {
					t.Errorf("%s: open %t", i.Day, i.Open)
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("order (-want +got):\n%s", diff)
			}
			if !next.Equal(c.next) {
				t.Errorf("next: got %v, want %v", next, c.next)
			}
		})
	}
}

// A later scan never makes a window due earlier; none is due before the interval has passed, but for the final one; none
// waits longer than the doubling.
func TestDueProperty(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 100_000 {
		s := Settings{Interval: time.Duration(1 + r.Int64N(int64(time.Hour)))}
		s.Lookback = s.Interval + time.Duration(r.Int64N(int64(200*time.Hour)))
		end := day.End()
		final := end.Add(s.Lookback)
		at := func() time.Time {
			return day.Start().Add(time.Duration(r.Int64N(int64(24*time.Hour + 2*s.Lookback))))
		}
		a, b := at(), at()
		if b.Before(a) {
			a, b = b, a
		}
		dueA, dueB := s.Due(Window{Day: day, LastScan: a}), s.Due(Window{Day: day, LastScan: b})
		if dueB.Before(dueA) {
			t.Fatalf("%+v: read at %v due %v, read at %v due %v", s, a, dueA, b, dueB)
		}
		if !dueA.After(a) || dueA.Before(a.Add(s.Interval)) && !dueA.Equal(final) {
			t.Fatalf("%+v: read at %v, due %v", s, a, dueA)
		}
		latest := a.Add(s.Interval)
		if doubled := end.Add(2 * a.Sub(end)); doubled.After(latest) {
			latest = doubled
		}
		if dueA.After(latest) || a.Before(final) && dueA.After(final) && a.After(end) {
			t.Fatalf("%+v: read at %v, due only %v", s, a, dueA)
		}
	}
}
