package poller

import (
	"context"
	"sync"

	"pstncalls/internal/clock"
	"pstncalls/internal/state"
	"pstncalls/internal/status"
)

// idle is the turn of a shard for which no tenant is configured: there is nothing to own. But where its state has tenants, that is
// said in their records, once.
func (p *Poller) idle(ctx context.Context, shard int32, changed <-chan struct{}) error {
	part := p.cfg.Metrics.Conditions.Part()
	defer part.Forget()
	here, stop := context.WithCancel(ctx)
	var watching sync.WaitGroup
	defer watching.Wait()
	defer stop()
	watching.Go(func() { // the list of tenants may change before Kafka answers
		select {
		case <-changed:
			stop()
		case <-here.Done():
		}
	})
	records, err := p.cfg.Cluster.ReadShard(here, shard, state.IsTenant)
	for failures := 1; err != nil && here.Err() == nil; failures++ { // that Kafka is away, the group says
		p.cfg.Log.Debug("the state of a shard without tenants cannot be read", "shard", shard, "error", err)
		if clock.Sleep(here, clock.System, backoff(minBackoff, maxBackoff, failures)) == nil {
			records, err = p.cfg.Cluster.ReadShard(here, shard, state.IsTenant)
		}
	}
	strangers, fresh := state.Strangers(func(string) bool { return false }, records), false
	for _, st := range strangers {
		fresh = fresh || find(st.Header.Conditions, status.TenantUnconfigured) < 0
	}
	if fresh && here.Err() == nil {
		if err := p.note(ctx, shard); err != nil {
			return err
		}
	}
	for _, st := range strangers {
		part.Show(status.Subject{Tenant: st.ID, Shard: shard}, status.TenantUnconfigured)
	}
	<-here.Done()
	return nil
}

// note owns the shard for as long as it takes to say that its tenants are polled by nobody.
func (p *Poller) note(ctx context.Context, shard int32) error {
	sess, snap, err := p.cfg.Cluster.Open(ctx, shard)
	if err != nil {
		return err
	}
	defer sess.Close()
	s, err := p.newSession(sess, snap, nil)
	if err != nil {
		return err
	}
	defer s.board.Forget()
	return s.release(func() {})
}
