package clock

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

var start = time.Date(2026, 11, 1, 2, 0, 0, 0, time.FixedZone("", 7200))

func TestScaled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewScaled(start, 3600)
		if got := c.Now(); !got.Equal(start) || got.Location() != time.UTC {
			t.Fatalf("got %v, want %v in UTC", got, start)
		}
		time.Sleep(2 * time.Second)
		if got := c.Now(); !got.Equal(start.Add(2 * time.Hour)) {
			t.Errorf("after two seconds: %v", got)
		}
		before := time.Now()
		ch, stop := c.Timer(time.Hour)
		defer stop()
		<-ch
		if d := time.Since(before); d != time.Second {
			t.Errorf("an hour took %v", d)
		}
	})
}

func TestSleep(t *testing.T) {
	cause := errors.New("cause")
	for _, c := range []struct {
		name   string
		clock  func() Clock
		sleep  time.Duration
		cancel time.Duration // 0: never; negative: before
		want   error
		took   time.Duration
	}{
		{"to its end", func() Clock { return System }, time.Minute, 0, nil, time.Minute},
		{"scaled", func() Clock { return NewScaled(start, 60) }, time.Hour, 0, nil, time.Minute},
		{"ended by ctx", func() Clock { return System }, time.Hour, time.Second, cause, time.Second},
		{"scaled, ended by ctx", func() Clock { return NewScaled(start, 60) }, time.Hour, time.Second, cause, time.Second},
		{"ctx ended before", func() Clock { return System }, time.Hour, -1, cause, 0},
		{"nothing to wait for", func() Clock { return System }, 0, 0, nil, 0},
		{"less than nothing, ctx ended before", func() Clock { return System }, -1, -1, cause, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				if c.cancel < 0 {
					cancel(cause)
				} else if c.cancel > 0 {
					time.AfterFunc(c.cancel, func() { cancel(cause) })
				}
				before := time.Now()
				if err := Sleep(ctx, c.clock(), c.sleep); !errors.Is(err, c.want) {
					t.Errorf("got %v, want %v", err, c.want)
				}
				if took := time.Since(before); took != c.took {
					t.Errorf("took %v, want %v", took, c.took)
				}
			})
		})
	}
}

func TestSystem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		if got := System.Now(); !got.Equal(time.Now()) || got.Location() != time.UTC {
			t.Errorf("got %v, want %v in UTC", got, time.Now())
		}
	})
}

func TestDistance(t *testing.T) {
	at := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name            string
		asked, received time.Duration
		date, want      time.Duration
	}{
		{"between", 0, 2 * time.Second, time.Second, 0},
		{"Date tells whole seconds", 900 * time.Millisecond, 950 * time.Millisecond, 0, 0},
		{"a slow answer", 0, 5 * time.Minute, 3 * time.Minute, 0},
		{"we are behind", 0, time.Second, time.Minute, 59 * time.Second},
		{"we are ahead", 0, time.Second, -time.Minute, -59 * time.Second},
	} {
		if got := Distance(at.Add(c.asked), at.Add(c.received), at.Add(c.date)); got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
}
