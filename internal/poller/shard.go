package poller

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"pstncalls/internal/clock"
	"pstncalls/internal/graph"
	"pstncalls/internal/kafka"
	"pstncalls/internal/row"
	"pstncalls/internal/schedule"
	"pstncalls/internal/status"
	"pstncalls/internal/window"
)

// Pager reads pages of a range of calls, in order; the first error ends it. The poller decides what an error means: it waits
// and asks again. *graph.Client is one.
type Pager interface {
	Pages(ctx context.Context, r graph.Request) iter.Seq2[*graph.Page, error]
}

// Source is where a tenant's rows come from. Budget outlives sessions: it belongs to the process.
type Source struct {
	Pager  Pager
	Budget *graph.Budget
}

// Framer puts an event's Avro value into its framing.
type Framer interface {
	// Frame returns the record value of an Avro value.
	Frame(avro []byte) []byte
	// DataSchema returns the URI of the schema in its registry, or "".
	DataSchema() string
}

// Points of the poller that its Observer is told of, beside those of package kafka.
const (
	AtPage  kafka.Point = "page"  // a page was received and compared, nothing is produced
	AtMerge kafka.Point = "merge" // a commit that merges a ledger is about to begin
)

// Config is what a Poller is made of.
type Config struct {
	Cluster  *kafka.Cluster
	Layout   kafka.Layout // as Prepare found it; a session goes by what it finds itself
	Clock    clock.Clock
	Schedule schedule.Settings
	// Start returns the first window of a tenant that is polled for the first time.
	Start       func(now time.Time) window.Day
	Concurrency int // closed windows of a tenant that are read at once; the open one always may be
	// StandDown is how long the owner that deposed this one may commit nothing before it is deposed in turn; 0: 90 s.
	StandDown time.Duration
	PartRows  int // rows of settled days that are read again at once; 0: 500,000
	ManyRows  int // unsettled rows of a tenant from which on a condition says so; 0: 20 million

	// Tenants returns the tenants to poll now, and a channel that is closed when that changes.
	Tenants func() ([]string, <-chan struct{})
	// Source returns a tenant's source: the same one each time.
	Source func(tenant string) (Source, error)

	Privacy    *row.Privacy
	APIVersion string
	Endpoint   string // Graph's root with the version, as ce_source begins
	Framer     Framer
	// PoliteSuccessor restricts requests after a predecessor that crashed (design section 11, budget).
	PoliteSuccessor bool

	Metrics  *status.Metrics
	Log      *slog.Logger
	Observer kafka.Observer
}

// Poller works on shards.
type Poller struct {
	cfg    Config
	worked sync.Map // the shards that a session of this process has worked on
	works  sync.Map // by shard: *work
}

// New returns a Poller.
func New(cfg Config) *Poller { return &Poller{cfg: cfg} }

const (
	minBackoff = 250 * time.Millisecond
	maxBackoff = 30 * time.Second
	// standDown is longer than the minute in which the successor of a crashed owner may ask Graph for nothing: were it shorter, two
	// replicas that both count as members would depose each other before either has published anything.
	standDown = successorWindow + 30*time.Second
	// claimTime is what a successor is given between its fence and its claim.
	claimTime = 4 * time.Second
	// sayAgain is how often an outage that lasts is logged.
	sayAgain = time.Minute
)

// Work owns a shard until ctx ends. It returns an error only where retrying is no use: a state that is refused.
func (p *Poller) Work(ctx context.Context, shard int32) error {
	log := p.cfg.Log.With("shard", shard)
	w := p.enter(shard)
	defer p.leave(w)
	var said time.Time
	for failures := 0; ctx.Err() == nil; {
		began := time.Now()
		err := p.turn(ctx, shard)
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			failures = 0
			continue
		case refused(err):
			return err
		}
		w.failed(err)
		if time.Since(began) > sayAgain {
			failures = 0
			said = time.Time{}
		}
		failures++
		if time.Since(said) >= sayAgain {
			said = time.Now()
			log.Warn("the shard's session ended; it starts again from the state topic", "error", kafka.Explain(err), "failures", failures)
		}
		if !p.rest(ctx, log, shard, err, failures) {
			return nil
		}
	}
	return nil
}

// rest waits before the next session: longer and longer, and long where another replica has the shard. It reports false when ctx
// has ended. Real time: it is Kafka that is waited for.
func (p *Poller) rest(ctx context.Context, log *slog.Logger, shard int32, err error, failures int) bool {
	wait := backoff(minBackoff, maxBackoff, failures)
	if !kafka.FencedOrTimedOut(err) {
		return clock.Sleep(ctx, clock.System, wait) == nil
	}
	// Who has fenced this replica has yet to claim the shard: looked at now, the newest claim could still be our own.
	if clock.Sleep(ctx, clock.System, max(wait, backoff(0, claimTime, 1))) != nil {
		return false
	}
	seen, err := p.cfg.Cluster.Look(ctx, shard, kafka.Look{})
	if err != nil || p.free(seen.Claim) {
		return ctx.Err() == nil // the next session says what is wrong
	}
	p.workOf(shard).took()
	log.Warn("another replica has claimed the shard: standing by", "instance", seen.Claim.Instance, "host", seen.Claim.Host)
	// Guard: standing by. Taken out: TestTwoOwners.
	// This replica may be one that cannot learn that the group has given its shard away: fencing back, it and the other would
	// depose each other for ever. So the other stays as long as it commits. One that does not is dead or has nothing to do, which
	// nobody can tell, and this replica still counts as a member: the shard is its to take.
	most := cmp.Or(p.cfg.StandDown, standDown)
	for since := time.Now(); time.Since(since) < most; {
		if clock.Sleep(ctx, clock.System, backoff(0, most/6, 1)) != nil {
			return false
		}
		now, err := p.cfg.Cluster.Look(ctx, shard, seen)
		if err != nil || p.free(now.Claim) {
			return ctx.Err() == nil
		}
		if now.Next != seen.Next {
			seen, since = now, time.Now()
		}
	}
	log.Info("the other replica commits nothing: taking the shard", "instance", seen.Claim.Instance, "host", seen.Claim.Host)
	return true
}

// free reports whether nobody else holds the claim.
func (p *Poller) free(c kafka.Claim) bool { return p.ours(c) || c.Released != nil }

func (p *Poller) ours(c kafka.Claim) bool { return c.Instance == p.cfg.Cluster.Instance() }

func refused(err error) bool {
	var stop *stopError
	return kafka.IsRefused(err) || errors.As(err, &stop)
}

// stopError is an error of the state that no retry mends.
type stopError struct{ err error }

func (e *stopError) Error() string { return e.err.Error() }
func (e *stopError) Unwrap() error { return e.err }

// turn is one session, or the wait for tenants where the shard has none: a client is opened only for shards that have.
func (p *Poller) turn(ctx context.Context, shard int32) error {
	all, changed := p.cfg.Tenants()
	var mine []string
	for _, t := range all {
		if kafka.ShardOf(t, p.cfg.Layout.StatePartitions) == shard {
			mine = append(mine, t)
		}
	}
	if len(mine) == 0 {
		return p.idle(ctx, shard, changed)
	}
	p.workOf(shard).asks()
	sess, snap, err := p.cfg.Cluster.Open(ctx, shard)
	if err != nil {
		return err
	}
	defer sess.Close()
	p.cfg.Metrics.Shards.Inc()
	defer p.cfg.Metrics.Shards.Dec()
	defer p.cfg.Metrics.Forget(mine)
	s, err := p.newSession(sess, snap, mine)
	if err != nil {
		return err
	}
	defer s.board.Forget()
	p.workOf(shard).opened()
	return s.run(ctx, changed, snap.Next)
}

// backoff returns a jittered exponential wait for the n-th failure.
func backoff(least, most time.Duration, n int) time.Duration {
	d := least
	if d == 0 {
		d = most
	}
	for range n - 1 {
		if d *= 2; d >= most {
			d = most
			break
		}
	}
	return d/2 + rand.N(d/2+1)
}

func subject(err error, tenant string) error { return fmt.Errorf("tenant %s: %w", tenant, err) }
