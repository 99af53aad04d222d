package poller

import (
	"context"
	"maps"
	"slices"
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
	fresh := slices.ContainsFunc(slices.Collect(maps.Keys(records)), isSignal)
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
		case sig.Value != nil && !answered(sig):
			return p.note(ctx, shard)
		}
	}
	<-here.Done()
	return nil
}

func ofInterest(key string) bool { return state.IsTenant(key) || isSignal(key) }

func isSignal(key string) bool { return strings.HasPrefix(key, kafka.SignalPrefix) }

// answered reports whether a signal's record is the last word of an owner.
func answered(sig kafka.Signal) bool {
	s, err := state.DecodeSignal(sig.ID, sig.Value)
	return err == nil && s.Answer != ""
}

// Answer owns a shard that nobody works on for as long as it takes to answer its signals: what a command does where no producer runs.
func (p *Poller) Answer(ctx context.Context, shard int32) error { return p.note(ctx, shard) }

// note owns the shard for as long as it takes to say that its tenants are polled by nobody, and to answer signals.
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
