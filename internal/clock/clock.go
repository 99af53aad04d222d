// Package clock owns the only way in which the poller and the Graph client read the time and wait.
//
// Everything that decides by time takes a Clock, so that a month can pass in half a minute (the demo) and a step of the
// machine's clock can be tried. Code that only needs an instant gets it as an argument and does not import this package.
// Kafka's own timeouts are real time and never go through a Clock.
package clock

import (
	"context"
	"time"
)

// Clock tells the time and measures waits in that same time.
type Clock interface {
	// Now returns the current instant, in UTC.
	Now() time.Time
	// Timer returns a channel that receives once, d from now, and a function that frees the timer.
	Timer(d time.Duration) (<-chan time.Time, func())
}

// Sleep waits for d of clock time, or until ctx ends, and then returns its cause.
func Sleep(ctx context.Context, c Clock, d time.Duration) error {
	if d <= 0 {
		return context.Cause(ctx)
	}
	ch, stop := c.Timer(d)
	defer stop()
	select {
	case <-ch:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// System is the machine's clock.
var System Clock = system{}

type system struct{}

func (system) Now() time.Time { return time.Now().UTC() }

func (system) Timer(d time.Duration) (<-chan time.Time, func()) {
	t := time.NewTimer(d)
	return t.C, func() { t.Stop() }
}

// Scaled is a clock that showed start when it was made and has run factor times as fast as the machine's since.
type Scaled struct {
	start  time.Time
	made   time.Time
	factor float64
}

// NewScaled returns a clock that shows start now. factor must be positive.
func NewScaled(start time.Time, factor float64) *Scaled {
	return &Scaled{start: start.UTC(), made: time.Now(), factor: factor}
}

// Now returns the scaled instant.
func (s *Scaled) Now() time.Time {
	return s.start.Add(time.Duration(float64(time.Since(s.made)) * s.factor))
}

// Rate returns how many times as fast as the machine's clock it runs.
func (s *Scaled) Rate() float64 { return s.factor }

// Timer returns a timer for d of scaled time.
func (s *Scaled) Timer(d time.Duration) (<-chan time.Time, func()) {
	t := time.NewTimer(time.Duration(float64(d) / s.factor))
	return t.C, func() { t.Stop() }
}

// MaxDistance is how far this machine's clock may be from Graph's, and how far it may jump, before nothing settles any more.
const MaxDistance = 30 * time.Second

// Distance returns how far a server's clock is from ours, 0 if its date is possible: it was told between the instants at which an
// answer was asked for and received, in whole seconds.
func Distance(asked, received, date time.Time) time.Duration {
	switch {
	case date.Add(time.Second).Before(asked):
		return date.Add(time.Second).Sub(asked)
	case date.After(received):
		return date.Sub(received)
	}
	return 0
}
