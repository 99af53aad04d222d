package schedule

import (
	"encoding/json"
	"math"
	"testing"
	"time"
)

func TestLatenessBuckets(t *testing.T) {
	for _, c := range []struct {
		age  time.Duration
		want int
	}{
		{-time.Hour, 0}, {0, 0}, {15*time.Minute - 1, 0}, {15 * time.Minute, 1}, {30 * time.Minute, 2}, {time.Hour, 3}, {2 * time.Hour, 4},
		{4 * time.Hour, 5}, {8 * time.Hour, 6}, {16 * time.Hour, 7}, {32 * time.Hour, 8}, {64 * time.Hour, 9}, {128 * time.Hour, 10},
		{256 * time.Hour, 11}, {512*time.Hour - 1, 11}, {512 * time.Hour, 12}, {100_000 * time.Hour, 12},
	} {
		var l Lateness
		l.Add(c.age)
		if l.Counts[c.want] != 1 || l.Total() != 1 {
			t.Errorf("%v: got %v, want one in bucket %d", c.age, l.Counts, c.want)
		}
	}
}

// The shares an hour, over all hours, are all rows: with the prior alone and with rows.
func TestLatenessSharesAddUp(t *testing.T) {
	full := &Lateness{}
	for i := range 300 {
		full.Add(time.Duration(i) * 10 * time.Minute)
	}
	for name, l := range map[string]*Lateness{"prior": nil, "empty": {}, "rows": full} {
		sum := 0.0
		for age := time.Duration(0); age < 1024*time.Hour; age += 15 * time.Minute {
			sum += l.PerHour(age) / 4
		}
		if math.Abs(sum-1) > 1e-9 {
			t.Errorf("%s: the shares add up to %v", name, sum)
		}
	}
}

func TestLatenessPrior(t *testing.T) {
	var none *Lateness
	if none.Total() != 0 {
		t.Errorf("nothing counted: total %d", none.Total())
	}
	share := func(from, to time.Duration) (sum float64) {
		for age := from; age < to; age += 15 * time.Minute {
			sum += none.PerHour(age) / 4
		}
		return sum
	}
	early, tail, little, traces := share(0, 4*time.Hour), share(4*time.Hour, 64*time.Hour), share(64*time.Hour, 128*time.Hour), share(128*time.Hour, 1024*time.Hour)
	if early < 0.5 || tail < 0.2 || tail > early || little > 0.1 || little < traces || traces <= 0 || traces > 0.02 {
		t.Errorf("early %v, tail %v, little %v, traces %v", early, tail, little, traces)
	}
	for age := time.Hour; age < 1024*time.Hour; age *= 2 {
		if none.PerHour(age) <= none.PerHour(2*age) && age < 512*time.Hour {
			t.Errorf("as many are expected at %v as at %v", 2*age, age)
		}
	}
}

// A hundred rows outweigh the prior of twenty.
func TestLatenessLearns(t *testing.T) {
	var l Lateness
	for range 100 {
		l.Add(20 * time.Hour)
	}
	if got, want := l.PerHour(20*time.Hour), (100+2.0)/(100+20)/16; math.Abs(got-want) > 1e-12 {
		t.Errorf("got %v an hour, want %v", got, want)
	}
}

func TestLatenessQuantile(t *testing.T) {
	var l Lateness
	for range 99_980 {
		l.Add(5 * time.Hour)
	}
	for p, want := range map[float64]time.Duration{0.5: 6 * time.Hour, 0.25: 5 * time.Hour, 0.75: 7 * time.Hour} {
		if got := l.Quantile(p); (got - want).Abs() > 10*time.Minute {
			t.Errorf("quantile %v: got %v, want about %v", p, got, want)
		}
	}
	if a, b := l.Quantile(0), l.Quantile(1); a != 0 || b < 512*time.Hour || b > 1024*time.Hour {
		t.Errorf("least %v, most %v", a, b)
	}
	var none *Lateness
	if got := none.Quantile(0.55); got < 3*time.Hour || got > 5*time.Hour {
		t.Errorf("half of the prior lies below %v", got)
	}
}

// After 100,000 rows of one kind, as many of another are enough to be believed.
func TestLatenessFollowsAChange(t *testing.T) {
	var l Lateness
	for range 1_000_000 {
		l.Add(time.Minute)
		if l.Total() > 100_000 {
			t.Fatalf("the total grew to %d", l.Total())
		}
	}
	for range 100_000 {
		l.Add(20 * time.Hour)
	}
	if got := l.PerHour(20*time.Hour) * 16; got < 0.5 {
		t.Errorf("only %v are expected where all of the last 100,000 were", got)
	}
}

func TestLatenessJSON(t *testing.T) {
	var in, out Lateness
	in.Add(time.Hour)
	b, err := json.Marshal(in)
	if want := `{"counts":[0,0,0,1,0,0,0,0,0,0,0,0,0]}`; err != nil || string(b) != want {
		t.Fatalf("got %s, %v, want %s", b, err, want)
	}
	if err := json.Unmarshal(b, &out); err != nil || out != in {
		t.Errorf("got %v, %v", out, err)
	}
}
