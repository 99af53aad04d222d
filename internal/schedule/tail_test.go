package schedule

import (
	"math"
	"testing"
	"time"

	"pstncalls/internal/window"
)

// denseDay is an open window of 10,000 rows an hour, read whole an hour ago and its tail six minutes ago, beside so large a
// day that nothing is left for reading it whole.
func denseDay() Input {
	in := input(Window{Day: today - 1, LastScan: ago(time.Hour), Rows: 1_000_000_000, Busy: true},
		Window{Day: today, LastScan: ago(time.Hour), Tail: ago(6 * time.Minute), Rows: 120_000})
	in.TimesCount = true
	return in
}

func TestTail(t *testing.T) {
	early := &Lateness{}
	for range 100_000 {
		early.Add(time.Minute)
	}
	late := &Lateness{}
	for range 100_000 {
		late.Add(100 * time.Hour)
	}
	hour := &Lateness{}
	for range 99_000 {
		hour.Add(90 * time.Minute)
	}
	whole := time.Time{}
	for _, c := range []struct {
		name   string
		change func(*Input)
		from   time.Time // of the tail; zero: the whole day
	}{
		{"as far back as rows are late", func(in *Input) { in.Lateness = hour; in.PerMinute = 100 }, noon.Add(-6*time.Minute - hour.Quantile(0.9)).Truncate(time.Second)},
		{"at least a quarter of an hour", func(in *Input) { in.Lateness = early }, ago(21 * time.Minute)},
		{"at most six hours", func(in *Input) { in.Lateness = late; in.PerMinute = 100 }, ago(6*time.Hour + 6*time.Minute)},
		// 45 a minute are 225 an interval; a quarter of them are 56,250 rows, and so 5.625 hours with the six minutes
		{"at most a quarter of an interval's requests", func(in *Input) { in.Lateness = late }, ago(5*time.Hour + 37*time.Minute + 30*time.Second)},
		{"even these only beyond a quarter of an hour", func(in *Input) { in.Lateness = late; in.Windows[1].Rows = 12_000_000 }, ago(21 * time.Minute)},
		{"in whole seconds", func(in *Input) { in.Lateness = early; in.Windows[1].Tail = ago(6*time.Minute + 1) }, ago(21*time.Minute + time.Second)},
		{"not before the day", func(in *Input) {
			in.Lateness, in.Now = late, today.Start().Add(30*time.Minute)
			in.Windows[1].LastScan, in.Windows[1].Tail, in.Windows[1].Rows = in.Now.Add(-6*time.Minute), time.Time{}, 6000
		}, today.Start()},
		{"beside a day to come", func(in *Input) {
			in.Lateness = early
			in.Windows = append(in.Windows, Window{Day: today + 1})
		}, ago(21 * time.Minute)},
		{"after a whole scan as after a tail", func(in *Input) {
			in.Lateness = early
			in.Windows[1].LastScan, in.Windows[1].Tail = ago(7*time.Minute), ago(9*time.Minute)
		}, ago(22 * time.Minute)},
		{"a tail read in the future proves nothing", func(in *Input) {
			in.Lateness, in.Windows[1].Tail = early, noon.Add(time.Hour)
		}, ago(75 * time.Minute)},
		{"whole where times do not count", func(in *Input) { in.TimesCount = false }, whole},
		{"whole once a day", func(in *Input) {
			in.Now = today.End().Add(-time.Second)
			in.Windows[1].LastScan, in.Windows[1].Tail = in.Now.Add(-24*time.Hour), in.Now.Add(-6*time.Minute)
		}, whole},
		{"whole where it is small", func(in *Input) { in.Windows[1].Rows = denseRows }, whole},
		{"whole where requests abound", func(in *Input) { in.PerMinute = 10_000; in.Windows[0].Rows = 0 }, whole},
		{"whole where never read", func(in *Input) { in.Windows[1].LastScan = time.Time{} }, whole},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := denseDay()
			c.change(&in)
			items, next := week.Plan(in)
			if len(items) != 1 || items[0].Range != (window.Range{From: today, To: today + 1}) || next.Before(today.End()) {
				t.Fatalf("got %+v, next %v", items, next)
			}
			if i := items[0]; (i.Kind == Tail) == c.from.IsZero() || !i.From.Equal(c.from) {
				t.Errorf("got %s from %v, want %v", i.Kind, i.From, c.from)
			}
		})
	}
}

func TestTailIsDueEveryInterval(t *testing.T) {
	in := denseDay()
	in.Windows[1].Tail = ago(2 * time.Minute)
	items, next := week.Plan(in)
	if len(items) != 0 || !next.Equal(noon.Add(3*time.Minute)) || !week.Due(in)[1].Equal(next) {
		t.Errorf("got %+v, next %v", items, next)
	}
	in.Now = next
	if items, _ := week.Plan(in); len(items) != 1 || items[0].Kind != Tail || !items[0].Due.Equal(next) {
		t.Errorf("got %+v", items)
	}
	in.Windows[0].Busy = false // and due for longer
	in.Windows[0].LastScan = today.Start()
	if items, _ := week.Plan(in); len(items) != 2 || items[0].Kind != Tail || items[1].Kind != Again {
		t.Errorf("beside another: got %+v", items)
	}
	in.Windows[0].Busy = true
	in.Windows[1].Busy = true
	if items, _ := week.Plan(in); len(items) != 0 {
		t.Errorf("busy: got %+v", items)
	}
}

// The pages of a tail are those of its hours.
func TestTailPages(t *testing.T) {
	in := denseDay()
	items, _ := week.Plan(in)
	if want := 10 * in.Now.Sub(items[0].From).Hours(); math.Abs(items[0].Pages-want) > 1e-9 {
		t.Errorf("got %v, want %v", items[0].Pages, want)
	}
}

// Just after midnight there is no hour to divide by: the clock has stepped back over it.
func TestTailAtMidnight(t *testing.T) {
	in := denseDay()
	in.Now = today.Start()
	in.Windows[1].LastScan, in.Windows[1].Tail = in.Now.Add(-6*time.Minute), time.Time{}
	items, _ := week.Plan(in)
	if len(items) != 1 || items[0].Kind != Tail || !items[0].From.Equal(in.Now) || items[0].Pages != 1 {
		t.Errorf("got %+v", items)
	}
}

// The whole day takes part in the law, and what the tails cost is what the open window costs.
func TestDenseDayInTheLaw(t *testing.T) {
	in := denseDay()
	in.Windows[0] = Window{Day: today - 1, Settled: true}
	in.Windows[1].LastScan, in.Windows[1].Rows = noon, 600_000
	p := newPlanner(week, in)
	if got, want := p.term(&in.Windows[1]).rate, 600_000*p.Lateness.PerHour(6*time.Hour); got != want {
		t.Errorf("%v rows an hour, want those of the middle of what is over of it, %v", got, want)
	}
	whole := p.days[1].due.Sub(noon)
	back := p.back(&in.Windows[1], week.Interval)
	share := 22.5 - 50*(back+week.Interval).Hours()/5 // requests a minute
	if got := 600 / whole.Minutes(); math.Abs(got/share-1) > 1e-6 || share < 5 {
		t.Errorf("read whole every %v: %v requests a minute, want %v", whole, got, share)
	}
}
