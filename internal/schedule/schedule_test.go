package schedule

import (
	"math/rand/v2"
	"testing"
	"time"

	"pstncalls/internal/window"
)

var week = Settings{Interval: 5 * time.Minute, Lookback: 168 * time.Hour}

const today = window.Day(20000)

var noon = today.Start().Add(12 * time.Hour)

func ago(d time.Duration) time.Time { return noon.Add(-d) }

// input is an Input of an ordinary tenant at noon.
func input(ws ...Window) Input { return Input{Now: noon, Windows: ws, PerMinute: 45} }

// tight has so small a budget that every window waits as long as it may.
func tight(in Input) Input {
	in.PerMinute = 1
	for i := range in.Windows {
		in.Windows[i].Rows += 10_000_000
	}
	return in
}

func TestDue(t *testing.T) {
	yesterday := today - 1
	end := yesterday.End()
	old := today - 20
	final := old.End().Add(week.Lookback)
	reaching := window.Of(noon.Add(-week.Lookback)) - 1 // reaches its end at the last midnight
	for _, c := range []struct {
		name           string
		w              Window
		quiet, doubled time.Time // with requests to spare; with hardly any
	}{
		{"open, never read", Window{Day: today}, today.Start(), today.Start()},
		{"open", Window{Day: today, LastScan: ago(time.Hour)}, ago(55 * time.Minute), ago(55 * time.Minute)},
		{"never read", Window{Day: yesterday}, yesterday.Start(), yesterday.Start()},
		{"read while open", Window{Day: yesterday, LastScan: end.Add(-time.Minute)}, end.Add(4 * time.Minute), end.Add(4 * time.Minute)},
		{"read at its end", Window{Day: yesterday, LastScan: end}, end.Add(5 * time.Minute), end.Add(5 * time.Minute)},
		{"younger than the interval", Window{Day: yesterday, LastScan: end.Add(4 * time.Minute)}, end.Add(9 * time.Minute), end.Add(9 * time.Minute)},
		{"closed", Window{Day: yesterday, LastScan: end.Add(3 * time.Hour)}, end.Add(185 * time.Minute), end.Add(6 * time.Hour)},
		{"cut to the final scan", Window{Day: reaching, LastScan: reaching.End().Add(week.Lookback - 2*time.Minute)},
			reaching.End().Add(week.Lookback), reaching.End().Add(week.Lookback)},
		{"the doubling is past the final scan", Window{Day: today - 6, LastScan: ago(time.Hour)}, ago(55 * time.Minute), (today - 6).End().Add(week.Lookback)},
		{"at the end of its lookback, not settled", Window{Day: old, LastScan: final}, final.Add(5 * time.Minute), final.Add(5 * time.Minute)},
		{"past its lookback, not settled", Window{Day: old, LastScan: final.Add(time.Hour)}, final.Add(65 * time.Minute), final.Add(65 * time.Minute)},
		{"settled", Window{Day: old, LastScan: final, Settled: true}, Never, Never},
		{"busy", Window{Day: today, LastScan: ago(time.Hour), Busy: true}, ago(55 * time.Minute), ago(55 * time.Minute)},
		{"tomorrow, never read", Window{Day: today + 1}, today.End(), today.End()},
		{"tomorrow, read before the clock stepped back", Window{Day: today + 1, LastScan: noon.Add(13 * time.Hour)}, today.End(), today.End()},
		{"open, read in the future", Window{Day: today, LastScan: noon.Add(time.Minute)}, noon.Add(5 * time.Minute), noon.Add(5 * time.Minute)},
		{"closed, read in the future", Window{Day: yesterday, LastScan: noon.Add(time.Minute)}, noon.Add(5 * time.Minute), end.Add(24 * time.Hour)},
		{"open, read in a future that is far", Window{Day: today, LastScan: noon.Add(time.Hour)}, noon, noon},
		{"closed, read in a future that is far", Window{Day: yesterday, LastScan: noon.Add(1000 * time.Hour)}, noon, noon},
		{"settled in the future", Window{Day: yesterday, LastScan: noon.Add(1000 * time.Hour), Settled: true}, Never, Never},
	} {
		if got := week.Due(input(c.w))[0]; !got.Equal(c.quiet) {
			t.Errorf("%s: got %v, want %v", c.name, got, c.quiet)
		}
		if got := week.Due(tight(input(c.w)))[0]; !got.Equal(c.doubled) {
			t.Errorf("%s, few requests: got %v, want %v", c.name, got, c.doubled)
		}
	}
}

func TestDueOfEveryWindow(t *testing.T) {
	ws := []Window{{Day: today - 2, Settled: true}, {Day: today - 1}, {Day: today, LastScan: noon}}
	got := week.Due(input(ws...))
	if len(got) != 3 || got[0] != Never || !got[1].Equal((today - 1).Start()) || !got[2].Equal(noon.Add(week.Interval)) {
		t.Errorf("got %v", got)
	}
}

func TestSettles(t *testing.T) {
	final := today.End().Add(week.Lookback)
	for begun, want := range map[time.Time]bool{final.Add(-1): false, final: true, final.Add(1): true} {
		if got := week.Settles(today, begun); got != want {
			t.Errorf("begun %v: got %t, want %t", begun, got, want)
		}
	}
}

// Whatever the law says, a window is never due before the interval, but for its final scan, and never after the doubling, but
// where Graph does not answer for it.
func TestDueStaysWithinItsBounds(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	stretched, shortest, longest := 0, 0, 0
	for range 3000 {
		in, s := randomInput(r)
		for i, due := range s.Due(in) {
			w := in.Windows[i]
			end, final := w.Day.End(), w.Day.End().Add(s.Lookback)
			if w.Settled || w.LastScan.Before(end) || !w.LastScan.Before(final) || w.LastScan.After(in.Now) {
				continue
			}
			soonest := w.LastScan.Add(s.Interval)
			latest := end.Add(2 * w.LastScan.Sub(end))
			if latest.Before(soonest) {
				latest = soonest
			}
			if w.After.After(in.Now) && due.Equal(w.After) {
				continue // later than it ought to be: Graph does not answer for it
			}
			if due.Before(soonest) && !due.Equal(final) || due.After(latest) || due.After(final) {
				t.Fatalf("%+v, read at %v: due %v, not within [%v, %v]", s, w.LastScan, due, soonest, latest)
			}
			switch {
			case due.Equal(soonest):
				shortest++
			case due.Equal(latest):
				longest++
			case !due.Equal(final):
				stretched++
			}
		}
	}
	if stretched < 1000 || shortest < 1000 || longest < 100 {
		t.Errorf("only %d between the bounds, %d and %d at them", stretched, shortest, longest)
	}
}

// randomInput returns a tenant of any size in any state.
func randomInput(r *rand.Rand) (Input, Settings) {
	s := Settings{Interval: time.Duration(1+r.IntN(30)) * time.Minute, Lookback: time.Duration(1+r.IntN(300)) * time.Hour}
	in := Input{Now: noon.Add(time.Duration(r.Int64N(int64(24 * time.Hour)))), PerMinute: 1 + r.IntN(60), TimesCount: r.IntN(2) == 0, Held: r.Int64N(4_000_000)}
	if r.IntN(2) == 0 {
		in.Lateness = &Lateness{}
		for range r.IntN(1000) {
			in.Lateness.Add(time.Duration(r.ExpFloat64() * float64(10*time.Hour)))
		}
	}
	last := window.Of(in.Now)
	scale := []int64{1, 100, 3000, 50_000, 2_000_000}[r.IntN(5)]
	refused := r.IntN(4) == 0        // all days that were never read
	never := r.IntN(3) * r.IntN(100) // out of a hundred days
	for d := last - window.Day(r.IntN(200)); d <= last; d++ {
		w := Window{Day: d, Busy: r.IntN(20) == 0}
		if r.IntN(100) >= never {
			w.Rows = r.Int64N(scale)
			if d == last && r.IntN(2) == 0 {
				w.Rows += denseRows
			}
			since := in.Now.Sub(d.Start())
			w.LastScan = d.Start().Add(time.Duration(r.Float64() * float64(since)))
			if r.IntN(3) > 0 { // of late
				w.LastScan = in.Now.Add(-time.Duration(r.Float64() * float64(min(since, 3*s.Interval))))
			}
			w.Settled = s.Settles(d, w.LastScan) && r.IntN(3) > 0
			if r.IntN(2) == 0 {
				w.Tail = w.LastScan.Add(time.Duration(r.Float64() * float64(in.Now.Sub(w.LastScan))))
			}
			if r.IntN(50) == 0 {
				w.LastScan = in.Now.Add(time.Duration(r.Int64N(int64(time.Hour))))
			}
		}
		if r.IntN(20) == 0 || refused && w.LastScan.IsZero() {
			w.After = in.Now.Add(time.Duration(r.Float64()*2*float64(time.Hour)) - time.Hour)
		}
		in.Windows = append(in.Windows, w)
	}
	return in, s
}
