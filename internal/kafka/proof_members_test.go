package kafka_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"pstncalls/internal/kafka"
)

// owners tracks who works on which shard.
type owners struct {
	mu      sync.Mutex
	of      map[int32]string
	doubled []string
	changed chan struct{} // closed and replaced at each change
}

func newOwners() *owners { return &owners{of: map[int32]string{}, changed: make(chan struct{})} }

// work owns a shard until its context ends.
func (o *owners) work(name string) func(context.Context, int32) error {
	return func(ctx context.Context, shard int32) error {
		o.mu.Lock()
		if other, ok := o.of[shard]; ok {
			o.doubled = append(o.doubled, fmt.Sprintf("%d: %s and %s", shard, other, name))
		}
		o.set(shard, name)
		o.mu.Unlock()
		<-ctx.Done()
		o.mu.Lock()
		defer o.mu.Unlock()
		o.set(shard, "")
		return nil
	}
}

func (o *owners) set(shard int32, name string) {
	if name == "" {
		delete(o.of, shard)
	} else {
		o.of[shard] = name
	}
	close(o.changed)
	o.changed = make(chan struct{})
}

// until waits until every shard has an owner and exactly members own one.
func (o *owners) until(ctx context.Context, t *testing.T, shards, members int) {
	t.Helper()
	for {
		o.mu.Lock()
		names := map[string]bool{}
		for _, name := range o.of {
			names[name] = true
		}
		done, changed := len(o.of) == shards && len(names) == members, o.changed
		o.mu.Unlock()
		if done {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatalf("%d members did not share %d shards: %v", members, shards, o.of)
		}
	}
}

func TestMembersShareTheShards(t *testing.T) {
	for _, protocol := range []string{"classic", "consumer"} {
		t.Run(protocol, func(t *testing.T) {
			c := with(t, newCluster(t), func(cfg *kafka.Config) { cfg.GroupProtocol = protocol })
			createTopic(t, c, c.cfg.Topics.State, 12, "compact")
			ctx := testContext(t)
			o := newOwners()
			var all sync.WaitGroup
			stops := make([]context.CancelFunc, 3)
			for i := range stops {
				mctx, stop := context.WithCancel(ctx)
				stops[i] = stop
				name := fmt.Sprint("replica", i)
				p := as(t, c, name)
				all.Go(func() {
					if err := p.RunMembers(mctx, o.work(name)); err != nil {
						t.Errorf("%s: %v", name, err)
					}
					o.mu.Lock()
					defer o.mu.Unlock()
					for shard, owner := range o.of {
						if owner == name {
							t.Errorf("RunMembers of %s returned before its work on shard %d", name, shard)
						}
					}
				})
			}
			o.until(ctx, t, 12, 3)
			stops[0]()
			o.until(ctx, t, 12, 2)
			stops[1]()
			o.until(ctx, t, 12, 1)
			stops[2]()
			all.Wait()
			if len(o.doubled) > 0 {
				t.Errorf("worked twice at a time: %v", o.doubled)
			}
		})
	}
}

func TestMembersEndWithAWorksError(t *testing.T) {
	c := newCluster(t)
	createTopic(t, c, c.cfg.Topics.State, 3, "compact")
	broken := errors.New("broken")
	running := make(chan struct{}, 3)
	var slow sync.Mutex
	finished := 0
	err := c.RunMembers(testContext(t), func(ctx context.Context, shard int32) error {
		if shard == 1 {
			<-running // another shard is at work
			return broken
		}
		running <- struct{}{}
		<-ctx.Done()
		time.Sleep(50 * time.Millisecond) // an end in order takes its time
		slow.Lock()
		finished++
		slow.Unlock()
		return ctx.Err()
	})
	if !errors.Is(err, broken) {
		t.Errorf("got %v, want the work's error", err)
	}
	slow.Lock()
	defer slow.Unlock()
	if finished == 0 {
		t.Error("RunMembers did not wait for the other shards")
	}
}
