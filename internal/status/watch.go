package status

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"

	"pstncalls/internal/kafka"
	"pstncalls/internal/schedule"
	"pstncalls/internal/state"
)

// Watch derives the conditions of all shards, once a minute, for the metric and the log of one replica: an owner that hangs says
// nothing of itself, but the others do. All of it is real time: it is Kafka's.
type Watch struct {
	Cluster  *kafka.Cluster
	Schedule schedule.Settings
	Limits   Limits
	Board    *Board
	Log      *slog.Logger
}

const lookEvery = time.Minute

// Run looks until ctx ends. What it reads of the state topic at first is all of it, later what is new.
func (w *Watch) Run(ctx context.Context) {
	part := w.Board.Part()
	defer part.Forget()
	sv := kafka.NewStateView(state.IsTenant)
	var before map[held]state.Condition
	for {
		select {
		case <-time.After(lookEvery - rand.N(lookEvery/10)): // the replicas not all at once
		case <-ctx.Done():
			return
		}
		look, cancel := context.WithTimeout(ctx, lookEvery)
		seen, err := w.look(look, sv)
		cancel()
		if err != nil { // that brokers are away, the group says; and a state that cannot be read, its owner
			w.Log.Debug("the conditions of the shards cannot be looked at", "error", err)
			continue
		}
		for h, c := range seen {
			// What is seen once may be a hand-over, or a first commit that is under way.
			if _, twice := before[h]; twice {
				part.Begin(w.Log.With("shard", h.Shard), h.Subject, c)
			}
		}
		for h := range before {
			if _, still := seen[h]; !still {
				part.End(w.Log.With("shard", h.Shard), h.Subject, h.name)
			}
		}
		before = seen
	}
}

func (w *Watch) look(ctx context.Context, sv *kafka.StateView) (map[held]state.Condition, error) {
	if err := w.Cluster.ReadOn(ctx, sv); err != nil {
		return nil, err
	}
	f, err := w.Cluster.Facts(ctx, sv.Shards)
	if err != nil {
		return nil, err
	}
	derived, err := Derive(sv, f, w.Schedule, w.Limits, time.Now())
	out := map[held]state.Condition{}
	for shard, cs := range derived {
		for _, c := range cs {
			out[held{Subject{Shard: shard}, c.Name}] = c
		}
	}
	return out, err
}
