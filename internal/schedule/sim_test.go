package schedule

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"pstncalls/internal/window"
)

// backfill reads every day that was never read, one plan after another, and returns the pages and the ranges that took.
func backfill(t *testing.T, rows []int64) (requests int64, ranges []window.Range) {
	t.Helper()
	n := window.Day(len(rows))
	in := input()
	for i := range n {
		in.Windows = append(in.Windows, Window{Day: today - n + 1 + i})
	}
	for range 10 * n {
		items, _ := week.Plan(in)
		if len(items) == 0 {
			break
		}
		for _, item := range items {
			if item.Kind == Second {
				return requests, ranges
			}
			total := int64(0)
			for d := item.Range.From; d < item.Range.To; d++ {
				w := &in.Windows[d-in.Windows[0].Day]
				w.LastScan, w.Rows = in.Now, rows[d-in.Windows[0].Day]
				w.Settled = week.Settles(d, in.Now) && item.Kind == First
				total += w.Rows
			}
			requests += max(1, (total+pageRows-1)/pageRows)
			ranges = append(ranges, item.Range)
		}
	}
	for _, w := range in.Windows {
		if !w.read() {
			t.Fatalf("%s was never read", w.Day)
		}
	}
	return requests, ranges
}

// A year of 20,000 rows costs thirty requests, wherever in the week or the year they are.
func TestBackfillOfAQuietYear(t *testing.T) {
	for name, rows := range map[string]func(i int) int64{
		"flat":              func(int) int64 { return 55 },
		"weekdays":          func(i int) int64 { return []int64{77, 77, 77, 77, 77, 0, 0}[i%7] },
		"weekdays, shifted": func(i int) int64 { return []int64{0, 77, 77, 77, 77, 77, 0}[i%7] },
		"once a month":      func(i int) int64 { return []int64{1650, 0}[min(i%30, 1)] },
		"empty":             func(int) int64 { return 0 },
		"none today":        func(i int) int64 { return []int64{55, 0}[i/364] },
		"once a week":       func(i int) int64 { return []int64{385, 0}[min(i%7, 1)] },
	} {
		year := make([]int64, 365)
		for i := range year {
			year[i] = rows(i)
		}
		if requests, ranges := backfill(t, year); requests > 30 {
			t.Errorf("%s: %d requests, %v", name, requests, ranges)
		}
	}
}

func TestBackfillOfADenseMonth(t *testing.T) {
	month := make([]int64, 30)
	for i := range month {
		month[i] = 50_000
	}
	requests, ranges := backfill(t, month)
	if requests != 30*50 || len(ranges) != 30 {
		t.Errorf("%d requests, %v", requests, ranges)
	}
	for i, r := range ranges {
		if r != (window.Range{From: today - window.Day(i), To: today - window.Day(i) + 1}) {
			t.Errorf("range %d: %v", i, r)
		}
	}
}

// running is a scan in progress of the simulation.
type running struct {
	Item
	begun, ends time.Time
	pages       int64
}

// sim is a tenant whose rows come late, read by a caller as slow as Graph is.
type sim struct {
	t        *testing.T
	r        *rand.Rand
	s        Settings
	in       Input
	volume   []int64 // rows that a day has in the end
	requests float64 // that the budget allows still
	scans    []running
	slack    time.Duration // by which a due window may be late: requests are few, and scans take time
	alarm    time.Time     // before it nothing is expected: the clock has jumped
}

// rows returns what Graph shows of a day.
func (s *sim) rows(d window.Day) int64 {
	age := s.in.Now.Sub(d.Start()).Hours()
	share := min(age/24, 1) * (1 - 0.3*math.Exp(-max(age-24, 0)/12))
	return int64(share * float64(s.volume[int(d)%len(s.volume)]))
}

func (s *sim) window(d window.Day) *Window { return &s.in.Windows[d-s.in.Windows[0].Day] }

// step ends the scans that are over, begins those that are due, and moves the clock by d.
func (s *sim) step(d time.Duration) {
	for today := window.Of(s.in.Now); len(s.in.Windows) == 0 || s.in.Windows[len(s.in.Windows)-1].Day < today; {
		next := today - 30
		if n := len(s.in.Windows); n > 0 {
			next = s.in.Windows[n-1].Day + 1
		}
		s.in.Windows = append(s.in.Windows, Window{Day: next})
	}
	going := s.scans[:0]
	for _, sc := range s.scans {
		if sc.ends.After(s.in.Now) {
			going = append(going, sc)
		} else {
			s.end(sc)
		}
	}
	s.scans = going
	s.requests = min(s.requests+float64(s.in.PerMinute)*d.Minutes(), 10*float64(s.in.PerMinute))
	s.in.Held = 0
	for _, w := range s.in.Windows {
		if !w.Settled {
			s.in.Held += w.Rows
		}
	}
	items, next := s.s.Plan(s.in)
	if !next.After(s.in.Now) {
		s.t.Fatalf("next is %v, now %v", next, s.in.Now)
	}
	s.check(items)
	for _, item := range items {
		if s.requests > 0 && (len(s.scans) < 4 || item.Kind <= Tail) {
			s.begin(item)
		}
	}
	s.in.Now = s.in.Now.Add(d)
}

func (s *sim) begin(item Item) {
	rows := float64(0)
	for d := item.Range.From; d < item.Range.To; d++ {
		w := s.window(d)
		if w.Busy || w.Settled {
			s.t.Fatalf("%s of %+v: busy %t, settled %t", d, item, w.Busy, w.Settled)
		}
		w.Busy = true
		rows += float64(s.rows(d))
	}
	if item.Kind == Tail {
		rows *= min(1, s.in.Now.Sub(item.From).Hours()/s.in.Now.Sub(item.Range.From.Start()).Hours())
	}
	n := max(1, int64(math.Ceil(rows/pageRows)))
	s.requests -= float64(n)
	latency := time.Duration(float64(n)*s.r.Float64()*3*float64(time.Second)) + time.Duration(s.r.Int64N(int64(time.Minute)))
	s.scans = append(s.scans, running{item, s.in.Now, s.in.Now.Add(latency), n})
}

func (s *sim) end(sc running) {
	for d := sc.Range.From; d < sc.Range.To; d++ {
		w := s.window(d)
		w.Busy = false
		w.Rows = s.rows(d)
		if sc.Kind == Tail {
			w.Tail = sc.begun
			continue
		}
		again := !w.LastScan.IsZero()
		w.LastScan = sc.begun
		w.Settled = s.s.Settles(d, sc.begun) && (sc.pages == 1 || again)
	}
}

// check fails if a window waits longer than it may.
func (s *sim) check(items []Item) {
	planned := map[window.Day]bool{}
	for _, item := range items {
		for d := item.Range.From; d < item.Range.To; d++ {
			planned[d] = true
		}
	}
	for i, w := range s.in.Windows {
		if w.Settled || w.Busy || s.in.Now.Before(s.alarm) {
			continue
		}
		final := w.Day.End().Add(s.s.Lookback)
		latest := w.LastScan.Add(max(s.s.Interval, w.LastScan.Sub(w.Day.End())))
		if latest.After(final) && w.LastScan.Before(final) {
			latest = final
		}
		switch {
		case w.LastScan.IsZero():
			latest = s.in.Windows[0].Day.Start().Add(32 * 24 * time.Hour) // the backfill is over two days after its start
			if i > 30 {
				latest = w.Day.Start()
			}
		case !w.LastScan.Before(final): // second scans wait for the backfill
			latest = w.LastScan.Add(48 * time.Hour)
		case w.LastScan.Before(w.Day.End()) && w.Day < window.Of(s.in.Now): // it may have been read by its tail until then
			latest = w.Day.End().Add(s.s.Interval)
		case w.Day >= window.Of(s.in.Now):
			latest = w.LastScan.Add(24 * time.Hour)
		}
		if s.in.Now.After(latest.Add(s.slack)) {
			s.t.Fatalf("%v: %+v should have been read by %v; planned: %t", s.in.Now, w, latest, planned[w.Day])
		}
	}
}

// In a month of a tenant of any size, under a budget that stretches the times of a large one, every window is read as often as it must be, and settles, though the clock jumps a day
// ahead once and an hour back once.
func TestNoWindowStarves(t *testing.T) {
	for seed := range uint64(8) {
		r := rand.New(rand.NewPCG(seed, 11))
		s := &sim{t: t, r: r, s: Settings{Interval: time.Duration(5+r.IntN(10)) * time.Minute, Lookback: time.Duration(24+r.IntN(150)) * time.Hour},
			in: Input{Now: noon, PerMinute: []int{45, 45, 8, 3}[seed%4], TimesCount: seed < 4, Lateness: &Lateness{}}, slack: 40 * time.Minute}
		busiest := []int64{10, 300, 3000, 30_000}[seed%4]
		for range 31 {
			s.volume = append(s.volume, r.Int64N(busiest))
		}
		step := func(until time.Duration) {
			for end := s.in.Now.Add(until); s.in.Now.Before(end); {
				s.step(2 * time.Minute)
			}
		}
		step(12 * 24 * time.Hour)
		s.in.Now = s.in.Now.Add(24 * time.Hour)
		s.alarm = s.in.Now.Add(2 * time.Hour)
		step(6 * 24 * time.Hour)
		s.in.Now = s.in.Now.Add(-time.Hour)
		s.alarm = s.in.Now.Add(2 * time.Hour)
		step(12 * 24 * time.Hour)
		for _, w := range s.in.Windows {
			if age := s.in.Now.Sub(w.Day.End()); age > s.s.Lookback+6*time.Hour && !w.Settled {
				t.Errorf("seed %d: %+v, closed for %v, is not settled", seed, w, age)
			}
		}
	}
}
