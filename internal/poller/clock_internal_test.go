package poller

import (
	"testing"
	"testing/synctest"
	"time"

	"pstncalls/internal/clock"
)

// offset is the machine's clock, set by an operator.
type offset struct{ by time.Duration }

func (o *offset) Now() time.Time { return time.Now().UTC().Add(o.by) }
func (o *offset) Timer(d time.Duration) (<-chan time.Time, func()) {
	return clock.System.Timer(d)
}

func TestClockWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &offset{}
		w := &clockWatch{}
		look := func(want bool, what string) {
			t.Helper()
			if got := w.jumped(c, c.Now()); got != want {
				t.Errorf("%s: jumped %v, want %v", what, got, want)
			}
		}
		look(false, "the first look")
		time.Sleep(3 * time.Hour)
		look(false, "three hours later")
		c.by += 20 * time.Second
		look(false, "a small step")
		c.by += time.Hour
		time.Sleep(time.Minute)
		look(true, "an hour forward")
		look(false, "said once")
		c.by -= 24 * time.Hour
		time.Sleep(time.Minute)
		look(true, "a day back")

		fast := clock.NewScaled(time.Now(), 86400)
		w = &clockWatch{}
		w.jumped(fast, fast.Now())
		time.Sleep(time.Minute)
		if w.jumped(fast, fast.Now()) {
			t.Error("a scaled clock that runs evenly is taken for one that jumped")
		}
	})
}

func TestCut(t *testing.T) {
	for _, c := range []struct {
		name string
		rows map[int]int32
		want int
		ok   bool
	}{
		{"nothing", nil, 0, false},
		{"one hour", map[int]int32{9: 100}, 9, false},
		{"too few before", map[int]int32{3: 2, 9: 100}, 9, false},
		{"enough on both sides", map[int]int32{3: 3, 9: 100}, 9, true},
		{"the last hour with enough behind it", map[int]int32{8: 50, 20: 1, 21: 1, 22: 1}, 20, true},
		{"all in the first hour", map[int]int32{0: 100}, 0, false},
		{"spread", map[int]int32{0: 2, 1: 2, 2: 2, 23: 3}, 23, true},
	} {
		h := &hours{}
		for hour, n := range c.rows {
			h[hour] = n
		}
		if got, ok := h.cut(); ok != c.ok || ok && got != c.want {
			t.Errorf("%s: got %d, %v, want %d, %v", c.name, got, ok, c.want, c.ok)
		}
	}
}
