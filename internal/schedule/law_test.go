package schedule

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"pstncalls/internal/window"
)

func randomTerms(r *rand.Rand) []term {
	ts := make([]term, 2+r.IntN(20))
	for i := range ts {
		lo := time.Duration(1+r.IntN(30)) * time.Minute
		ts[i] = term{pages: math.Exp(10*r.Float64() - 5), rate: math.Exp(14*r.Float64() - 7), lo: lo, hi: lo + time.Duration(r.Int64N(int64(200*time.Hour)))}
	}
	return ts
}

// delay is what the law makes least: the arrivals an hour of each window, times half of what it lets them wait.
func delay(ts []term, every func(int) float64) float64 {
	sum := 0.0
	for i, t := range ts {
		sum += t.rate * every(i) / 2
	}
	return sum
}

func TestCostFallsWithTheFactor(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		ts := randomTerms(r)
		before := math.Inf(1)
		for k := 0.0; k < 1e6; k = 1.3*k + 1e-4 {
			c := cost(ts, k)
			if c > before {
				t.Fatalf("factor %v costs %v, a smaller one only %v", k, c, before)
			}
			before = c
		}
	}
}

// The factor is the smallest that the budget allows: what it allows in all is kept, and a little less breaks it.
func TestSmallestFactor(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	quiet, inside, over := 0, 0, 0
	for range 2000 {
		ts := randomTerms(r)
		share := cost(ts, 0) * 1.3 * math.Pow(r.Float64(), 4)
		k := solve(ts, share)
		switch c := cost(ts, k); {
		case k == 0:
			quiet++
			if c > share {
				t.Fatalf("every interval costs %v of %v", c, share)
			}
		case c > share:
			over++
			for i, x := range ts {
				if x.every(k) != x.hi {
					t.Fatalf("%v of %v, but window %d waits %v of %v only", c, share, i, x.every(k), x.hi)
				}
			}
		default:
			inside++
			if less := cost(ts, k*(1-1e-9)); less <= share {
				t.Fatalf("factor %v: a smaller one costs %v of %v", k, less, share)
			}
		}
	}
	if quiet < 100 || inside < 100 || over < 100 {
		t.Errorf("%d quiet, %d within the budget, %d over it", quiet, inside, over)
	}
}

// Moving requests from one window to another makes the sum of the delays no smaller, nor does any other choice of the times.
func TestLeastDelay(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	pairs, others := 0, 0
	for range 2000 {
		ts := randomTerms(r)
		share := cost(ts, 0) * r.Float64()
		k := solve(ts, share)
		if k == 0 || cost(ts, k) > share {
			continue
		}
		best := make([]float64, len(ts))
		for i, x := range ts {
			best[i] = x.every(k).Hours()
		}
		least := delay(ts, func(i int) float64 { return best[i] })

		i, j := r.IntN(len(ts)), r.IntN(len(ts))
		inner := func(i int, hours float64) bool { return hours > ts[i].lo.Hours() && hours < ts[i].hi.Hours() }
		if i != j && inner(i, best[i]) && inner(j, best[j]) {
			a := best[i] * (1 + 0.2*(r.Float64()-0.5))
			left := ts[i].pages/best[i] + ts[j].pages/best[j] - ts[i].pages/a // requests for j
			if b := ts[j].pages / left; left > 0 && inner(i, a) && inner(j, b) {
				pairs++
				before, after := ts[i].rate*best[i]+ts[j].rate*best[j], ts[i].rate*a+ts[j].rate*b
				if after < before*(1-1e-9) {
					t.Fatalf("%v read every %v h, not %v, and %v every %v h, not %v: %v, not %v", ts[i], a, best[i], ts[j], b, best[j], after, before)
				}
			}
		}
		for range 50 {
			other := make([]float64, len(ts))
			c := 0.0
			for i, x := range ts {
				other[i] = min(max(best[i]*math.Exp(0.4*(r.Float64()-0.45)), x.lo.Hours()), x.hi.Hours())
				c += x.pages / other[i]
			}
			if c > share {
				continue
			}
			others++
			if got := delay(ts, func(i int) float64 { return other[i] }); got < least*(1-1e-6) {
				t.Fatalf("another choice costs %v of %v and delays %v, not %v", c, share, got, least)
			}
		}
	}
	if pairs < 200 || others < 5000 {
		t.Errorf("only %d pairs and %d other choices were tried", pairs, others)
	}
}

// lookbackOf returns the open window and the seven before it, all read just now, of so many rows a day.
func lookbackOf(rows int64) []Window {
	var ws []Window
	for d := today - 7; d <= today; d++ {
		ws = append(ws, Window{Day: d, LastScan: noon, Rows: rows})
	}
	return ws[1:]
}

func TestQuietTenantIsReadAtEveryInterval(t *testing.T) {
	for i, due := range week.Due(input(lookbackOf(120)...)) {
		if !due.Equal(noon.Add(week.Interval)) {
			t.Errorf("window %d: due %v later", i, due.Sub(noon))
		}
	}
}

// A tenant of 400,000 rows a day spends on its lookback what the open window leaves of half its budget, and never less than a tenth.
func TestShareOfTheBudget(t *testing.T) {
	yesterday := today - 1
	for _, c := range []struct {
		name string
		open int64
		want float64 // requests a minute
		last Window  // in place of yesterday's
	}{
		{"quiet open window", 10, 22.5 - 1.0/5, Window{Day: yesterday, Settled: true}},
		{"busy open window", 60_000, 22.5 - 60.0/5, Window{Day: yesterday, Settled: true}},
		{"open window beyond the budget", 400_000, 4.5, Window{Day: yesterday, Settled: true}},
		{"a day that was open at its last scan", 10, 22.5 - 1.0/5, Window{Day: yesterday, LastScan: yesterday.End().Add(-time.Minute), Rows: 900_000}},
		{"a day whose last scan is due", 10, 22.5 - 1.0/5, Window{Day: today - 8, LastScan: today.Start().Add(-time.Hour), Rows: 900_000}},
	} {
		ws := lookbackOf(40_000)
		ws = append(ws[:len(ws)-2], c.last, Window{Day: today, LastScan: noon, Rows: c.open})
		got := 0.0
		for i, due := range week.Due(input(ws...))[:len(ws)-2] {
			got += float64(ws[i].Rows) / pageRows / due.Sub(noon).Minutes()
		}
		if got > c.want*1.0001 || got < c.want*0.999 {
			t.Errorf("%s: %v requests a minute, want %v", c.name, got, c.want)
		}
	}
}

// Times follow the square root of pages over arrivals: at a quarter of the arrivals, twice the time; and a day without rows is
// expected to get as many as the others.
func TestTimesFollowTheLaw(t *testing.T) {
	l := &Lateness{}
	ws := lookbackOf(40_000)
	p := newPlanner(week, Input{Now: noon, Windows: ws, PerMinute: 45, Lateness: l})
	due := week.Due(p.Input)
	rate := func(d window.Day) float64 { return l.PerHour(noon.Sub(d.Start()) - 12*time.Hour) }
	got := due[1].Sub(noon).Seconds() / due[4].Sub(noon).Seconds()
	if want := math.Sqrt(rate(ws[4].Day) / rate(ws[1].Day)); math.Abs(got/want-1) > 1e-6 || want < 1.2 {
		t.Errorf("got %v times as long, want %v", got, want)
	}
	ws[3].Rows = 0
	p = newPlanner(week, Input{Now: noon, Windows: ws, PerMinute: 45})
	if got, want := p.term(&ws[3]), p.mean*p.Lateness.PerHour(noon.Sub(ws[3].Day.Start())-12*time.Hour); math.Abs(got.rate-want) > 1e-9 || got.pages != 0.001 {
		t.Errorf("a day without rows: %+v, want a rate of %v", got, want)
	}
}

// While a backfill goes on nothing is left over: every window waits for its doubling.
func TestNothingIsLeftBesideABackfill(t *testing.T) {
	ws := lookbackOf(400)
	ws[0] = Window{Day: ws[0].Day}
	for i, due := range week.Due(input(ws...)) {
		w := ws[i]
		want := w.Day.End().Add(2 * w.LastScan.Sub(w.Day.End()))
		if final := week.final(w.Day); want.After(final) {
			want = final
		}
		if i > 0 && w.Day < today && !due.Equal(want) {
			t.Errorf("%s is due at %s, want %s", w.Day, due, want)
		}
	}
}

// What the windows need at least: the open one at every interval, a closed one when its age has doubled, and no more of those that
// are settled or were never read.
func TestNeed(t *testing.T) {
	const today = window.Day(20000)
	now := today.Start().Add(12 * time.Hour)
	s := Settings{Interval: 10 * time.Minute, Lookback: 48 * time.Hour}
	open := Window{Day: today, Rows: 20_000, LastScan: now}
	closed := Window{Day: today - 1, Rows: 6000, LastScan: now} // twelve hours old
	for name, tt := range map[string]struct {
		windows []Window
		want    float64
	}{
		"the open window":  {[]Window{open}, 20 * 6},
		"a quiet one":      {[]Window{{Day: today, Rows: 3, LastScan: now}}, 6},
		"and a closed one": {[]Window{closed, open}, 20*6 + 6.0/12},
		"settled":          {[]Window{{Day: today - 1, Rows: 6000, LastScan: now, Settled: true}, open}, 20 * 6},
		"never read":       {[]Window{{Day: today - 1}, open}, 20 * 6},
	} {
		needed, budget := s.Need(Input{Now: now, Windows: tt.windows, PerMinute: 45})
		if math.Abs(needed-tt.want) > 1e-9 || budget != 2700 {
			t.Errorf("%s: %v of %v, want %v of 2700", name, needed, budget, tt.want)
		}
	}
}
