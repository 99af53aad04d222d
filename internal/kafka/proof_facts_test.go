package kafka_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"pstncalls/internal/kafka"
)

func facts(t *testing.T, c *process) kafka.Facts {
	t.Helper()
	f, err := c.Facts(testContext(t), 2)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// untilFacts asks until the facts are as they should be.
func untilFacts(t *testing.T, c *process, what string, met func(kafka.Facts) bool) {
	t.Helper()
	ctx := testContext(t)
	for {
		f, err := c.Facts(ctx, 2)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if met(f) {
			return
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("in vain: %s; %+v", what, f)
		}
	}
}

func TestFactsOfTheGroup(t *testing.T) {
	for _, protocol := range []string{"classic", "consumer"} {
		t.Run(protocol, func(t *testing.T) {
			c := with(t, newCluster(t), func(cfg *kafka.Config) { cfg.GroupProtocol = protocol })
			createTopics(t, c)
			untilFacts(t, c, "nobody has a shard", func(f kafka.Facts) bool { return f.Assigned != nil && len(f.Assigned) == 0 })
			ctx, leave := context.WithCancel(testContext(t))
			done := make(chan error, 1)
			go func() {
				done <- c.RunMembers(ctx, func(ctx context.Context, _ int32) error { <-ctx.Done(); return nil })
			}()
			untilFacts(t, c, "both are assigned", func(f kafka.Facts) bool { return len(f.Assigned) == 2 && f.Assigned[0] != "" })
			leave()
			if err := <-done; err != nil {
				t.Error(err)
			}
			untilFacts(t, c, "nobody has one again", func(f kafka.Facts) bool { return f.Assigned != nil && len(f.Assigned) == 0 })
		})
	}
}

func TestFactsOfTransactions(t *testing.T) {
	c := newCluster(t)
	createTopics(t, c)
	if f := facts(t, c); f.Open == nil || len(f.Open) > 0 {
		t.Errorf("before the first transaction: %+v", f.Open)
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.cfg.Brokers...), kgo.TransactionalID(c.TransactionalID(1)), kgo.TransactionTimeout(15*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ctx := testContext(t)
	began := time.Now()
	if err := cl.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := cl.ProduceSync(ctx, &kgo.Record{Topic: c.cfg.Topics.DLQ, Value: []byte("x")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	f := facts(t, c)
	tx, ok := f.Open[1]
	if len(f.Open) != 1 || !ok || tx.Timeout != 15*time.Second || tx.Began.Sub(began).Abs() > time.Minute {
		t.Errorf("while one is open: %+v", f.Open)
	}
	if err := cl.EndTransaction(ctx, kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
	untilFacts(t, c, "it is over", func(f kafka.Facts) bool { return f.Open != nil && len(f.Open) == 0 })
}

func TestFactsOfSizes(t *testing.T) {
	c := newCluster(t)
	createTopics(t, c)
	prepare(t, c)
	sv, err := c.ReadState(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	f := facts(t, c)
	for p := range int32(2) {
		if f.Bytes[p] == 0 || sv.Live[p] == 0 || sv.Live[p] > f.Bytes[p] {
			t.Errorf("shard %d takes %d bytes, %d of them alive", p, f.Bytes[p], sv.Live[p])
		}
	}
}

// What the cluster does not let the program see is not known: neither nothing nor an error.
func TestFactsDenied(t *testing.T) {
	fake, c := newFake(t)
	createTopics(t, c)
	for _, tc := range []struct {
		key  kmsg.Key
		err  *kerr.Error
		want [3]bool // which are not known
	}{
		{kmsg.DescribeGroups, kerr.GroupAuthorizationFailed, [3]bool{true, false, false}},
		{kmsg.DescribeTransactions, kerr.TransactionalIDAuthorizationFailed, [3]bool{false, true, false}},
		{kmsg.DescribeLogDirs, kerr.ClusterAuthorizationFailed, [3]bool{false, false, true}},
	} {
		fault := fake.Fault(kfake.Fault{Keys: []kmsg.Key{tc.key}, Err: tc.err, Count: -1, TopLevel: tc.key == kmsg.DescribeLogDirs})
		f := facts(t, c)
		if d := cmp.Diff(tc.want, [3]bool{f.Assigned == nil, f.Open == nil, f.Bytes == nil}); d != "" || fault.Hits() == 0 {
			t.Errorf("%v, asked %d times: -want +got\n%s", tc.err, fault.Hits(), d)
		}
		fault.Remove()
	}
}

// A view that is read on is the one that is read anew.
func TestReadOn(t *testing.T) {
	c := newCluster(t)
	createTopics(t, c)
	prepare(t, c)
	ctx := testContext(t)
	on := kafka.NewStateView(func(key string) bool { return key != "left out" })
	for round := range 3 {
		s, _, err := c.Open(ctx, 0)
		if err != nil {
			t.Fatal(err)
		}
		rec := func(key, value string) kafka.Record { return kafka.Record{Key: []byte(key), Value: []byte(value)} }
		recs := []kafka.Record{rec("kept", fmt.Sprint(round)), rec("left out", "x"), rec("shard", fmt.Sprintf(`{"v":%d}`, round)), rec(fmt.Sprint("k", round), "v")}
		if round > 0 {
			recs = append(recs, kafka.Record{Key: fmt.Append(nil, "k", round-1)})
		}
		if err := s.Release(recs, nil); err != nil {
			t.Fatal(err)
		}
		s.Close()
		decided(t, c, c.cfg.Topics.State)
		if err := c.ReadOn(ctx, on); err != nil {
			t.Fatal(err)
		}
		anew, err := c.ReadState(ctx)
		if err != nil {
			t.Fatal(err)
		}
		delete(anew.State, "left out")
		for what, two := range map[string][2]any{"state": {anew.State, on.State}, "own": {anew.Own, on.Own}, "marks": {anew.Marks, on.Marks},
			"claims": {anew.Claims, on.Claims}, "live": {anew.Live, on.Live}, "shards": {anew.Shards, on.Shards}, "group": {anew.Group, on.Group}} {
			if d := cmp.Diff(two[0], two[1]); d != "" {
				t.Errorf("round %d, %s: %s", round, what, d)
			}
		}
		if string(on.Own[0]) != fmt.Sprintf(`{"v":%d}`, round) || len(on.State) != 2 {
			t.Errorf("round %d: %q, %d keys", round, on.Own[0], len(on.State))
		}
	}
}
