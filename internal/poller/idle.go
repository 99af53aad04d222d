package poller

import (
	"context"
	"maps"
	"strings"
	"sync"

	"pstncalls/internal/clock"
	"pstncalls/internal/kafka"
	"pstncalls/internal/state"
	"pstncalls/internal/status"
)

// idle is the turn of a shard for which no tenant is configured: there is nothing to own. But where its state has tenants, that is
// said in their records, once; and signals are answered.
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
	records, next, err := p.cfg.Cluster.ReadShard(here, shard, ofInterest)
	for failures := 1; err != nil && here.Err() == nil; failures++ { // that Kafka is away, the group says
		p.cfg.Log.Debug("the state of a shard without tenants cannot be read", "shard", shard, "error", err)
		if clock.Sleep(here, clock.System, backoff(minBackoff, maxBackoff, failures)) == nil {
			records, next, err = p.cfg.Cluster.ReadShard(here, shard, ofInterest)
		}
	}
	strangers := state.Strangers(func(string) bool { return false }, records)
	fresh := false
	for key, value := range records {
		id, signal := strings.CutPrefix(key, kafka.SignalPrefix)
		fresh = fresh || signal && answerable(kafka.Signal{ID: id, Value: value})
	}
	for _, st := range strangers {
		fresh = fresh || find(st.Header.Conditions, status.TenantUnconfigured) < 0
	}
	if fresh && here.Err() == nil {
		return p.note(ctx, shard) // and the shard is looked at anew
	}
	for _, st := range strangers {
		part.Show(status.Subject{Tenant: st.ID, Shard: shard}, status.TenantUnconfigured)
	}
	for sig, err := range p.cfg.Cluster.Signals(here, shard, next) {
		switch {
		case here.Err() != nil:
		case err != nil:
			return err
		case answerable(sig):
			return p.note(ctx, shard)
		}
	}
	<-here.Done()
	return nil
}

func ofInterest(key string) bool { return state.IsTenant(key) || isSignal(key) }

func isSignal(key string) bool { return strings.HasPrefix(key, kafka.SignalPrefix) }

// answerable reports whether a signal is one to which an owner without tenants has an answer: not its last word, and not a scan that
// was accepted and waits for somebody who polls its tenant.
func answerable(sig kafka.Signal) bool {
	if sig.Value == nil {
		return false
	}
	s, err := state.DecodeSignal(sig.ID, sig.Value)
	return err != nil || s.Answer == "" && !(s.Kind == state.SignalScan && s.Accepted != nil)
}

// Forget owns a shard that nobody works on for as long as it takes to forget a tenant of it, as the signal asks: what a command does
// where no producer runs. What else is asked of the shard is left to who knows the tenants.
func (p *Poller) Forget(ctx context.Context, shard int32, tenant, id string) error {
	return p.briefly(ctx, shard, func(key string) bool {
		of, ok := state.TenantOf(key)
		return ok && of == tenant || key == kafka.SignalPrefix+id || key == state.ShardKey
	})
}

// note owns the shard for as long as it takes to say that its tenants are polled by nobody, and to answer signals.
func (p *Poller) note(ctx context.Context, shard int32) error {
	return p.briefly(ctx, shard, func(string) bool { return true })
}

// briefly owns a shard, sees of its state what sees wants, and says what there is to say.
func (p *Poller) briefly(ctx context.Context, shard int32, sees func(key string) bool) error {
	sess, snap, err := p.cfg.Cluster.Open(ctx, shard)
	if err != nil {
		return err
	}
	defer sess.Close()
	maps.DeleteFunc(snap.State, func(key string, _ []byte) bool { return !sees(key) })
	s, err := p.newSession(sess, snap, nil)
	if err != nil {
		return err
	}
	defer s.board.Forget()
	return s.release(func() {})
}
