package kafka

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Members shares the shards out among the replicas with a consumer group on the state topic. The group only decides who
// works; safety never depends on it: two owners for a moment are harmless (the fence), none costs only time.

// heartbeat bounds how long a survivor takes to learn of a rebalance: the most of a hand-over, and what a fail-over takes beyond the
// session timeout.
const heartbeat = 250 * time.Millisecond

// rebalanceTimeout bounds how long a member that has died while it joined, or that cannot end its sessions, holds up the others:
// a little longer than a commit may take.
const rebalanceTimeout = commitDeadline + 2*time.Second

// RunMembers joins the group and calls work in a goroutine of its own for every shard that is assigned, until the shard is
// taken away (its context ends) or ctx ends. work must return soon after its context ends; its cause is not an error. When
// work returns an error, the whole run ends with it. RunMembers returns after every work has returned.
func (c *Cluster) RunMembers(ctx context.Context, work func(ctx context.Context, shard int32) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	m := &members{ctx: ctx, fail: cancel, work: work, running: map[int32]*shardRun{}}

	opts := []kgo.Opt{
		kgo.ConsumerGroup(c.cfg.Group),
		kgo.ConsumeTopics(c.cfg.Topics.State),
		kgo.DisableAutoCommit(),
		kgo.HeartbeatInterval(heartbeat),
		kgo.OnPartitionsAssigned(m.assigned),
		kgo.OnPartitionsRevoked(m.revoked),
		kgo.OnPartitionsLost(m.revoked), // the fence protects anyway
	}
	if c.cfg.GroupProtocol == "consumer" {
		opts = append(opts, kgo.ServerSideBalancer()) // its session timeout is the broker's setting
	} else {
		opts = append(opts, kgo.Balancers(kgo.CooperativeStickyBalancer()), kgo.SessionTimeout(c.cfg.SessionTimeout), kgo.RebalanceTimeout(rebalanceTimeout))
	}
	if c.cfg.InstanceID != "" {
		opts = append(opts, kgo.InstanceID(c.cfg.InstanceID))
	}
	cl, err := c.client(opts...)
	if err != nil {
		return err
	}
	var watch sync.WaitGroup
	defer watch.Wait() // once the client is closed, which ends its last request
	defer cl.Close()
	defer cancel(nil)
	cl.PauseFetchTopics(c.cfg.Topics.State) // membership only: nothing is ever consumed through the group
	watch.Go(func() { c.watch(ctx, cl) })

	var said time.Time
	for ctx.Err() == nil {
		fs := cl.PollFetches(ctx)
		if fs.IsClientClosed() {
			break
		}
		for _, e := range fs.Errors() {
			if ctx.Err() == nil && !errors.Is(e.Err, context.Canceled) && time.Since(said) >= sayAgain {
				said = time.Now()
				c.cfg.Log.Warn("consumer group", "group", c.cfg.Group, "error", Explain(e.Err))
			}
		}
		if len(fs.Errors()) > 0 {
			select { // the same error may come back at once
			case <-time.After(time.Second):
			case <-ctx.Done():
			}
		}
	}
	// In order: shards end and release their claims, then the group learns of it, then somebody else starts.
	m.stopAll()
	m.all.Wait() // also those that a revocation is just ending
	leave, done := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer done()
	if err := cl.LeaveGroupContext(leave); err != nil {
		c.cfg.Log.Debug("leave the group", "error", err)
	}
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

const (
	pingEvery = 5 * time.Second
	sayAgain  = time.Minute // an outage that lasts is logged this often
)

// watch says when no broker answers, once a minute while that lasts, and when one does again: a shard that has nothing to
// commit would not notice.
func (c *Cluster) watch(ctx context.Context, cl *kgo.Client) {
	var since, said time.Time
	var asked sync.WaitGroup
	defer asked.Wait()
	for {
		select {
		case <-time.After(pingEvery):
		case <-ctx.Done():
			return
		}
		err := ping(ctx, cl, &asked)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil && !since.IsZero():
			c.cfg.Log.Info("Kafka answers again", "away", time.Since(since).Round(time.Second).String())
			since, said = time.Time{}, time.Time{}
		case err != nil:
			if since.IsZero() {
				since = time.Now()
			}
			if time.Since(said) >= sayAgain {
				said = time.Now()
				c.cfg.Log.Warn("no broker answers; what is not committed waits", "for", time.Since(since).Round(time.Second).String(), "error", Explain(err))
			}
		}
	}
}

// ping asks for an answer within pingEvery. The client's own Ping does not end with its context: it waits behind all requests that are
// queued for a broker, each of which may wait for a connection for 10 s or longer.
func ping(ctx context.Context, cl *kgo.Client, asked *sync.WaitGroup) error {
	ctx, cancel := context.WithTimeout(ctx, pingEvery)
	answer := make(chan error, 1)
	asked.Go(func() {
		defer cancel()
		answer <- cl.Ping(ctx)
	})
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

type members struct {
	ctx  context.Context
	fail context.CancelCauseFunc
	work func(context.Context, int32) error

	mu      sync.Mutex
	running map[int32]*shardRun
	all     sync.WaitGroup // every work that was started
}

type shardRun struct {
	cancel context.CancelFunc
	done   chan struct{}
}

// Guard: one goroutine a shard. Taken out: TestOneWorkAShard, TestMembersShareTheShards.
func (m *members) assigned(_ context.Context, _ *kgo.Client, parts map[string][]int32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, ps := range parts {
		for _, shard := range ps {
			if m.ctx.Err() != nil || m.running[shard] != nil {
				continue
			}
			ctx, cancel := context.WithCancel(m.ctx)
			run := &shardRun{cancel: cancel, done: make(chan struct{})}
			m.running[shard] = run
			m.all.Go(func() {
				defer close(run.done)
				if err := m.work(ctx, shard); err != nil && ctx.Err() == nil {
					m.fail(fmt.Errorf("shard %d: %w", shard, err))
				}
			})
		}
	}
}

// revoked ends the shards and waits for them: the group gives a shard to another member only after this has returned.
func (m *members) revoked(_ context.Context, _ *kgo.Client, parts map[string][]int32) {
	m.mu.Lock()
	var ending []*shardRun
	for _, ps := range parts {
		for _, shard := range ps {
			if run := m.running[shard]; run != nil {
				run.cancel()
				ending = append(ending, run)
				delete(m.running, shard)
			}
		}
	}
	m.mu.Unlock()
	for _, run := range ending {
		<-run.done
	}
}

func (m *members) stopAll() {
	m.mu.Lock()
	parts := map[string][]int32{}
	for shard := range m.running {
		parts[""] = append(parts[""], shard)
	}
	m.mu.Unlock()
	m.revoked(m.ctx, nil, parts)
}
