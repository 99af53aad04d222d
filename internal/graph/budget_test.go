package graph

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"pstncalls/internal/clock"
)

// stepped is the bubble's clock, moved by a step and without a monotonic reading.
type stepped struct{ by time.Duration }

func (s *stepped) Now() time.Time { return time.Now().Round(0).Add(s.by).UTC() }
func (s *stepped) Timer(d time.Duration) (<-chan time.Time, func()) {
	return clock.System.Timer(d)
}

// takeAll takes n times one after the other and returns when each was let through, in seconds from now.
func takeAll(t *testing.T, b *Budget, n int) []int {
	t.Helper()
	var at []int
	start := time.Now()
	for range n {
		if err := b.Take(t.Context()); err != nil {
			t.Fatal(err)
		}
		at = append(at, int(time.Since(start).Seconds()))
	}
	return at
}

func TestBudgetWaits(t *testing.T) {
	now := func(d time.Duration) time.Time { return time.Now().Add(d) }
	for _, tt := range []struct {
		name    string
		prepare func(b *Budget)
		take    int
		want    []int
	}{
		{"slides", func(b *Budget) { b.Take(context.Background()); time.Sleep(20 * time.Second) }, 5, []int{0, 0, 40, 60, 60}},
		{"hold", func(b *Budget) { b.Hold(now(90 * time.Second)) }, 2, []int{90, 90}},
		{"hold lengthens only", func(b *Budget) { b.Hold(now(90 * time.Second)); b.Hold(now(time.Second)) }, 1, []int{90}},
		{"restricted", func(b *Budget) { b.Restrict(now(50*time.Second), 1) }, 4, []int{0, 50, 50, 60}},
		{"restricted to none", func(b *Budget) { b.Restrict(now(50*time.Second), 0) }, 1, []int{50}},
		{"restored", func(b *Budget) {
			b.Restore([]time.Time{now(-50 * time.Second), now(-61 * time.Second), now(-5 * time.Second)})
		}, 3, []int{0, 10, 55}},
		{"restored more than the limit", func(b *Budget) {
			b.Restore([]time.Time{now(-50 * time.Second), now(-40 * time.Second), now(-30 * time.Second), now(-20 * time.Second)})
		}, 1, []int{20}},
		{"restored from the future", func(b *Budget) { b.Restore([]time.Time{now(time.Hour), now(time.Hour), now(time.Hour)}) }, 1, []int{60}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := NewBudget(clock.System, 3)
				tt.prepare(b)
				if d := cmp.Diff(tt.want, takeAll(t, b, tt.take)); d != "" {
					t.Error(d)
				}
			})
		})
	}
}

// TestBudgetLimit lets many goroutines take at once and counts every 60 s.
func TestBudgetLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit, takers, each = 7, 5, 9
		b := NewBudget(clock.System, limit)
		var mu sync.Mutex
		var at []time.Time
		var wg sync.WaitGroup
		for i := range takers {
			wg.Go(func() {
				for range each {
					if err := b.Take(t.Context()); err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					at = append(at, time.Now())
					mu.Unlock()
					time.Sleep(time.Duration(i) * 1700 * time.Millisecond)
				}
			})
		}
		wg.Wait()
		if len(at) != takers*each {
			t.Fatalf("%d requests, want %d", len(at), takers*each)
		}
		for i := limit; i < len(at); i++ {
			if d := at[i].Sub(at[i-limit]); d < time.Minute {
				t.Fatalf("requests %d to %d within %v", i-limit, i, d)
			}
		}
	})
}

func TestBudgetOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBudget(clock.System, 1)
		takeAll(t, b, 1)
		served := make(chan string, 10)
		var wg sync.WaitGroup
		join := func(name string, take func(context.Context) error) {
			wg.Go(func() {
				if take(t.Context()) == nil {
					served <- name
				}
			})
			synctest.Wait()
		}
		join("backfill 1", b.Take)
		join("backfill 2", b.Take)
		join("open day 1", b.TakeUrgent)
		join("open day 2", b.TakeUrgent)
		wg.Wait()
		close(served)
		var got []string
		for s := range served {
			got = append(got, s)
		}
		if d := cmp.Diff([]string{"open day 1", "open day 2", "backfill 1", "backfill 2"}, got); d != "" {
			t.Error(d)
		}
	})
}

// A waiter that gives up must neither count nor leave those behind it asleep.
func TestBudgetCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBudget(clock.System, 1)
		takeAll(t, b, 1)
		why := errors.New("shut down")
		ctx, cancel := context.WithCancelCause(t.Context())
		first, second := make(chan error, 1), make(chan error, 1)
		go func() { first <- b.Take(ctx) }()
		synctest.Wait()
		go func() { second <- b.Take(t.Context()) }()
		synctest.Wait()
		start := time.Now()
		cancel(why)
		if err := <-first; !errors.Is(err, why) {
			t.Errorf("got %v, want the cause", err)
		}
		if err := <-second; err != nil || time.Since(start) != time.Minute {
			t.Errorf("second: %v after %v, want after 1m", err, time.Since(start))
		}
		if err := b.Take(ctx); !errors.Is(err, why) {
			t.Errorf("take with an ended ctx: %v", err)
		}
		if n := b.LastMinute(); n != 1 {
			t.Errorf("LastMinute = %d, want 1", n)
		}
	})
}

func TestBudgetRestrictedWaiterIsFreed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBudget(clock.System, 5)
		b.Restrict(time.Now().Add(time.Hour), 0)
		done := make(chan error, 1)
		go func() { done <- b.Take(t.Context()) }()
		synctest.Wait()
		start := time.Now()
		b.Restrict(time.Time{}, 0)
		if err := <-done; err != nil || time.Since(start) != 0 {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

func TestBudgetClockSteps(t *testing.T) {
	for _, by := range []time.Duration{-time.Hour, -30 * time.Second, -400 * 24 * time.Hour} {
		t.Run(by.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := &stepped{}
				b := NewBudget(c, 2)
				takeAll(t, b, 2)
				time.Sleep(10 * time.Second)
				c.by = by
				at := takeAll(t, b, 4)
				// What passed since the last reading is lost, so up to 60 s more; never less than the limit asks, 50 s.
				for i, lo := range []int{50, 50, 110, 110} {
					if at[i] < lo || at[i] > lo+60 {
						t.Errorf("request %d after %d s, want [%d, %d]", i, at[i], lo, lo+60)
					}
				}
				c.by += by
				b.Hold(c.Now().Add(100 * time.Second))
				c.by += by
				if at := takeAll(t, b, 1); at[0] < 99 || at[0] > 200 {
					t.Errorf("hold across a step: %d s", at[0])
				}
			})
		})
	}
}

// What is handed over fits into a record, however high a simulator's limit is: the newest ones, as many as Graph would count.
func TestBudgetHandsOverLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBudget(clock.System, 1_000_000)
		takeAll(t, b, 200)
		time.Sleep(time.Second)
		newest := time.Now()
		takeAll(t, b, 50)
		used := b.Used()
		if len(used) != 50 || !used[0].Equal(newest) {
			t.Errorf("%d instants from %v on, want the 50 from %v on", len(used), used[0], newest)
		}
		if n := b.LastMinute(); n != 250 {
			t.Errorf("LastMinute = %d, want 250: handing over forgets none", n)
		}
	})
}

func TestBudgetHandOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := NewBudget(clock.System, 3)
		takeAll(t, a, 2)
		time.Sleep(30 * time.Second)
		takeAll(t, a, 1)
		b := NewBudget(clock.System, 3)
		b.Restore(a.Used())
		if d := cmp.Diff([]int{30, 30, 60}, takeAll(t, b, 3)); d != "" {
			t.Error(d)
		}
		if b.Limit() != 3 || b.LastMinute() != 3 {
			t.Errorf("limit %d, last minute %d", b.Limit(), b.LastMinute())
		}
	})
}
