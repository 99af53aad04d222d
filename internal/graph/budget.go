package graph

import (
	"context"
	"slices"
	"sync"
	"time"

	"pstncalls/internal/clock"
)

const (
	budgetSpan  = time.Minute // Graph counts requests over 60 s
	graphsLimit = 50          // and allows so many of them for this function
)

// Budget counts the requests of one tenant that one owner makes, and makes them wait. In any 60 s it lets at most Limit
// through: a sliding count, since a bucket that refills would let twice as many through around its edge.
//
// It may be used from several goroutines.
type Budget struct {
	clock clock.Clock
	limit int

	mu   sync.Mutex
	last time.Time   // the latest reading of the clock
	used []time.Time // instants of the requests of the last 60 s, ascending
	hold time.Time   // no request before
	strict
	urgent, normal []*waiter // each in order of arrival
}

// strict is a restriction: until then, at most left requests more.
type strict struct {
	until time.Time
	left  int
}

// waiter is a caller of Take. wake tells it to look again, whether it is first now and how long it has to wait.
type waiter struct{ wake chan struct{} }

// NewBudget returns a Budget of perMinute requests (at least 1) in any 60 s.
func NewBudget(c clock.Clock, perMinute int) *Budget {
	return &Budget{clock: c, limit: max(perMinute, 1), last: c.Now()}
}

// Limit returns the number of requests that any 60 s may hold.
func (b *Budget) Limit() int { return b.limit }

// Take waits until a request may be made and counts it. Callers are served in order. An error is the cause of ctx's end;
// then nothing is counted.
func (b *Budget) Take(ctx context.Context) error { return b.take(ctx, &b.normal) }

// TakeUrgent is Take, served before all that wait in Take.
func (b *Budget) TakeUrgent(ctx context.Context) error { return b.take(ctx, &b.urgent) }

func (b *Budget) take(ctx context.Context, queue *[]*waiter) error {
	w := &waiter{wake: make(chan struct{}, 1)}
	b.mu.Lock()
	*queue = append(*queue, w)
	b.mu.Unlock()
	defer b.leave(queue, w)
	for {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		taken, wait := b.try(w)
		if taken {
			return nil
		}
		if err := b.pause(ctx, w, wait); err != nil {
			return err
		}
	}
}

// pause waits until w is woken, or until the wait is over if it is positive.
func (b *Budget) pause(ctx context.Context, w *waiter, wait time.Duration) error {
	var timer <-chan time.Time
	if wait > 0 {
		ch, stop := b.clock.Timer(wait)
		defer stop()
		timer = ch
	}
	select {
	case <-w.wake:
	case <-timer:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}

// try counts a request if w is first and one may be made now. Otherwise it returns how long w has to wait before it looks
// again; 0 means until it is woken.
func (b *Budget) try(w *waiter) (taken bool, wait time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.first() != w {
		return false, 0
	}
	now := b.now()
	if wait := b.wait(now); wait > 0 {
		return false, wait
	}
	b.used = append(b.used, now)
	if now.Before(b.until) {
		b.left--
	}
	return true, 0
}

// wait returns how long the next request has to wait.
// Guard: budget. Taken out: TestBudgetLimit, TestBudgetWaits, TestRetryAfterHoldsTheTenant, TestSuccessorIsPolite.
func (b *Budget) wait(now time.Time) time.Duration {
	wait := b.hold.Sub(now)
	if b.left <= 0 {
		wait = max(wait, b.until.Sub(now))
	}
	if n := len(b.used); n >= b.limit {
		wait = max(wait, b.used[n-b.limit].Add(budgetSpan).Sub(now))
	}
	return wait
}

// leave removes w, served or not, and lets whoever is first now look.
func (b *Budget) leave(queue *[]*waiter, w *waiter) {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := slices.Index(*queue, w)
	*queue = slices.Delete(*queue, i, i+1)
	b.wakeFirst()
}

func (b *Budget) first() *waiter {
	switch {
	case len(b.urgent) > 0:
		return b.urgent[0]
	case len(b.normal) > 0:
		return b.normal[0]
	}
	return nil
}

func (b *Budget) wakeFirst() {
	if w := b.first(); w != nil {
		select {
		case w.wake <- struct{}{}:
		default: // it has been told already
		}
	}
}

// now reads the clock and forgets the requests that are 60 s old. If the clock went back, everything remembered goes back
// with it: what was 10 s ago at the last reading stays 10 s ago, so that nobody waits for the lost time to come again, and
// no request is forgotten early.
func (b *Budget) now() time.Time {
	now := b.clock.Now()
	if back := b.last.Sub(now); back > 0 {
		for i := range b.used {
			b.used[i] = b.used[i].Add(-back)
		}
		b.hold = b.hold.Add(-back)
		b.until = b.until.Add(-back)
	}
	b.last = now
	old := 0
	for old < len(b.used) && now.Sub(b.used[old]) >= budgetSpan {
		old++
	}
	b.used = b.used[old:]
	return now
}

// anchor returns t as an instant of the clock that now is a reading of: an instant from elsewhere knows the machine's wall
// clock only, which may be set, where a reading of the clock is measured monotonically.
func anchor(now, t time.Time) time.Time { return now.Add(t.Sub(now)) }

// Hold lets no request through before until. It only ever lengthens.
func (b *Budget) Hold(until time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if until = anchor(b.now(), until); until.After(b.hold) {
		b.hold = until
	}
}

// Held returns until when Hold lets no request through; no time if it does.
func (b *Budget) Held() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.now().Before(b.hold) {
		return time.Time{}
	}
	return b.hold
}

// Restrict lets at most n requests through before until, whatever the limit says: the rule for the successor of an owner
// that crashed. It replaces an earlier restriction.
func (b *Budget) Restrict(until time.Time, n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.strict = strict{until: anchor(b.now(), until), left: n}
	b.wakeFirst()
}

// Restriction returns what is left of Restrict; no time if nothing is.
func (b *Budget) Restriction() (until time.Time, left int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.now().Before(b.until) {
		return time.Time{}, 0
	}
	return b.until, max(b.left, 0)
}

// Used returns the instants of the requests in the last 60 s, ascending, for the next owner's Restore: the newest 50 at most, for
// a higher limit is a simulator's, where nobody counts, and they have to fit into a record.
func (b *Budget) Used() []time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.now()
	return slices.Clone(b.used[max(0, len(b.used)-graphsLimit):])
}

// Restore counts the requests that the last owner made. One that lies in our clock's future counts as made now.
func (b *Budget) Restore(used []time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	for _, t := range used {
		if t.After(now) {
			t = now
		}
		b.used = append(b.used, anchor(now, t))
	}
	slices.SortFunc(b.used, time.Time.Compare)
	b.now()
}

// LastMinute returns the number of requests in the last 60 s.
func (b *Budget) LastMinute() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.now()
	return len(b.used)
}
