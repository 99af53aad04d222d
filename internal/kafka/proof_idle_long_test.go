//go:build long

package kafka_test

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"pstncalls/internal/kafka"
)

// TestLongIdle leaves a shard alone until the brokers have forgotten its transactional id, and its producer in every partition: after
// seven idle days and one, by their defaults. Whoever wakes up then, and whoever has taken over meanwhile, every row is there once.
func TestLongIdle(t *testing.T) {
	forgetfulBrokers(t)
	t.Run("the session goes on", func(t *testing.T) {
		t.Parallel()
		c := newCluster(t)
		prepared(t, c)
		s, _ := open(t, c, 0)
		commit(t, s, batch(s, "before"))
		forgotten(t, c)
		err := s.Commit(batch(s, "after"))
		t.Logf("transactions of version %d: the first commit after the idle time: %v", transactionVersion(t, c), err)
		if !errors.Is(err, kerr.InvalidProducerIDMapping) || kafka.IsRefused(err) {
			t.Errorf("got %v, want %v, which the next session mends", err, kerr.InvalidProducerIDMapping)
		}
		s.Close()
		next, snap := open(t, c, 0) // as Work does
		if snap.Mark.N != 1 || snap.Previous == nil || snap.Previous.Instance != c.cfg.Instance {
			t.Errorf("got mark %d, previous claim %+v; want commit 1, by the same", snap.Mark.N, snap.Previous)
		}
		commit(t, next, batch(next, "after"))
		checkVisible(t, c, []string{"after", "before"})
	})
	// The successor has got another producer id: it is no newer epoch that keeps the old owner out.
	t.Run("another one took over", func(t *testing.T) {
		t.Parallel()
		c := newCluster(t)
		prepared(t, c)
		old, _ := open(t, c, 0)
		commit(t, old, batch(old, "before"))
		forgotten(t, c)
		successor, snap := open(t, as(t, c, "successor"), 0)
		if snap.Mark.N != 1 {
			t.Errorf("commit mark: got %d, want 1", snap.Mark.N)
		}
		commit(t, successor, batch(successor, "row"))
		err := old.Commit(batch(old, "row")) // it knows nothing of it
		t.Logf("transactions of version %d: the deposed owner's commit: %v", transactionVersion(t, c), err)
		if err == nil || old.Commit(batch(old, "row")) == nil {
			t.Error("the deposed owner committed")
		}
		commit(t, successor, batch(successor, "later")) // nor was it fenced in turn
		checkVisible(t, c, []string{"before", "later", "row"})
	})
	t.Run("nobody was there", func(t *testing.T) {
		t.Parallel()
		c := newCluster(t)
		prepared(t, c)
		s, _ := open(t, c, 0)
		commit(t, s, batch(s, "before"))
		if err := s.Release(nil, nil); err != nil {
			t.Fatal(err)
		}
		s.Close()
		forgotten(t, c)
		next, snap := open(t, as(t, c, "next"), 0)
		if snap.Mark.N != 2 || snap.Previous == nil || snap.Previous.Released == nil {
			t.Errorf("got mark %d, previous claim %+v; want commit 2, released", snap.Mark.N, snap.Previous)
		}
		commit(t, next, batch(next, "after"))
		checkVisible(t, c, []string{"after", "before"})
	})
	// A transaction is left open: the brokers abort it before they forget its id.
	t.Run("a crash before it", func(t *testing.T) {
		t.Parallel()
		c := newCluster(t)
		var s *kafka.Session
		crashing := with(t, c, func(cfg *kafka.Config) {
			cfg.Observer = observe(func(_ int32, p kafka.Point) {
				if p == kafka.AtProduced && s != nil && s.Next() == 2 {
					s.Close()
				}
			})
		})
		crashing.SetLimits(2*time.Second, 12*time.Second, 18*time.Second)
		prepared(t, crashing)
		s, _ = open(t, crashing, 0)
		commit(t, s, batch(s, "before"))
		if err := s.Commit(batch(s, "lost")); err == nil {
			t.Fatal("the crash did not happen")
		}
		forgotten(t, c)
		next, snap := open(t, as(t, c, "next"), 0)
		if snap.Mark.N != 1 {
			t.Errorf("commit mark: got %d, want 1", snap.Mark.N)
		}
		commit(t, next, batch(next, "after"))
		checkVisible(t, c, []string{"after", "before"})
	})
}

// forgetfulBrokers fails unless the brokers forget within a minute.
func forgetfulBrokers(t *testing.T) {
	t.Helper()
	admin(t, newCluster(t), func(ctx context.Context, adm *kadm.Client) error {
		md, err := adm.BrokerMetadata(ctx)
		if err != nil {
			return err
		}
		configs, err := adm.DescribeBrokerConfigs(ctx, md.Brokers.NodeIDs()...)
		for _, c := range configs {
			for _, kv := range c.Configs {
				switch kv.Key {
				case "transactional.id.expiration.ms", "producer.id.expiration.ms":
					if ms, _ := strconv.Atoi(kv.MaybeValue()); ms < 1 || ms > 60_000 {
						t.Fatalf("%s is %q: this test takes brokers of its own, see the part idle of .ci/long", kv.Key, kv.MaybeValue())
					}
				}
			}
		}
		if len(configs) == 0 {
			t.Fatal("kfake forgets nothing: this test takes brokers of its own, see the part idle of .ci/long")
		}
		return err
	})
}

// forgotten waits until the coordinator does not know the shard's transactional id any more, and no partition its producer.
func forgotten(t *testing.T, c *process) {
	t.Helper()
	id := c.TransactionalID(0)
	began := time.Now()
	known := true // it was, or the test proves nothing
	admin(t, c, func(ctx context.Context, adm *kadm.Client) error {
		ds, err := adm.DescribeTransactions(ctx, id)
		if err == nil && ds[id].Err != nil {
			t.Fatalf("%s was not known to begin with: %v", id, ds[id].Err)
		}
		for err == nil && known {
			select {
			case <-time.After(200 * time.Millisecond):
			case <-ctx.Done():
				return ctx.Err()
			}
			if ds, err = adm.DescribeTransactions(ctx, id); err != nil {
				break
			}
			var producers kadm.DescribedProducersTopics
			if producers, err = adm.DescribeProducers(ctx, kadm.TopicsSet{c.cfg.Topics.Events: {0: {}, 1: {}, 2: {}}, c.cfg.Topics.State: {0: {}}}); err != nil {
				break
			}
			known = !errors.Is(ds[id].Err, kerr.TransactionalIDNotFound) || len(producers.SortedProducers()) > 0
		}
		if err != nil {
			return err
		}
		listed, err := adm.ListTransactions(ctx, nil, nil)
		if _, there := listed[id]; there {
			t.Fatalf("%s is listed", id)
		}
		return err
	})
	t.Logf("%s was forgotten after %v", id, time.Since(began).Round(time.Second))
}
