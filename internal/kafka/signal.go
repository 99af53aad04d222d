package kafka

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// SignalPrefix begins the keys of signals: records of a shard's partition by which a command asks something of its owner. The owner
// answers under the same key, and deletes it when it is done. What the values say is their business.
const SignalPrefix = "signal/"

// Signal is a record under SignalPrefix. A nil Value says that it is done with.
type Signal struct {
	ID    string
	Value []byte
}

// signalWait is how long a broker may hold a Fetch for signals: it answers at once when there is one. Every answer costs
// something, and none comes most of the time.
const signalWait = 3 * time.Minute

// Signal writes a signal to a shard's partition, and returns its offset.
func (c *Cluster) Signal(ctx context.Context, shard int32, id string, value []byte) (int64, error) {
	cl, err := c.client(kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0))
	if err != nil {
		return 0, err
	}
	defer cl.Close()
	r := &kgo.Record{Topic: c.cfg.Topics.State, Partition: shard, Key: []byte(SignalPrefix + id), Value: value}
	if err := cl.ProduceSync(ctx, r).FirstErr(); err != nil {
		return 0, fmt.Errorf("signal to shard %d: topic %s: %w", shard, c.cfg.Topics.State, err)
	}
	return r.Offset, nil
}

// Signals yields what is written under SignalPrefix from an offset of the shard's partition on, until ctx ends. An error is the last.
func (c *Cluster) Signals(ctx context.Context, shard int32, from int64) iter.Seq2[Signal, error] {
	return func(yield func(Signal, error) bool) {
		r, err := c.NewReader()
		if err != nil {
			yield(Signal{}, err)
			return
		}
		defer r.Close()
		r.wait = signalWait
		for rec, err := range r.Partition(ctx, c.cfg.Topics.State, shard, from, Forever) {
			if err != nil {
				yield(Signal{}, err)
				return
			}
			if id, ok := strings.CutPrefix(string(rec.Key), SignalPrefix); ok && !yield(Signal{id, rec.Value}, nil) {
				return
			}
		}
	}
}
