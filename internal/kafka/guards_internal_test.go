package kafka

import (
	"context"
	"sync/atomic"
	"testing"
)

// A shard that is assigned while it is worked on gets no second worker; and once it was revoked, its worker has ended.
func TestOneWorkAShard(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	var working, begun atomic.Int32
	started := make(chan struct{}, 10)
	m := &members{ctx: ctx, fail: cancel, running: map[int32]*shardRun{}, work: func(ctx context.Context, _ int32) error {
		if n := working.Add(1); n != 1 {
			t.Errorf("%d workers at once", n)
		}
		begun.Add(1)
		started <- struct{}{}
		<-ctx.Done()
		working.Add(-1)
		return nil
	}}
	shard := map[string][]int32{"state": {3}}
	const times = 3
	for range times {
		m.assigned(ctx, nil, shard)
		m.assigned(ctx, nil, shard)
		<-started
		m.revoked(ctx, nil, shard)
		if n := working.Load(); n != 0 {
			t.Errorf("%d workers after it was revoked", n)
		}
	}
	cancel(nil)
	m.all.Wait() // also those that had yet to begin
	if n := begun.Load(); n != times {
		t.Errorf("%d workers began, want %d", n, times)
	}
}
