package kafka_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"pstncalls/internal/kafka"
	"pstncalls/schema"
)

func newAt(t testing.TB, fake *kfake.Cluster, brokers []string, name string) *process {
	t.Helper()
	return with(t, &process{fake: fake, cfg: kafka.Config{Brokers: brokers, Group: name + "-group", SessionTimeout: 6 * time.Second, Host: "host", Instance: "first",
		Topics: kafka.Topics{Events: name + "-calls", State: name + "-state", DLQ: name + "-dlq", Watermark: name + "-watermark"}}}, func(*kafka.Config) {})
}

// with returns another process on the same cluster.
func with(t testing.TB, c *process, change func(*kafka.Config)) *process {
	t.Helper()
	cfg := c.cfg
	change(&cfg)
	cl, err := kafka.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return &process{Cluster: cl, cfg: cfg, fake: c.fake}
}

func as(t testing.TB, c *process, instance string) *process {
	return with(t, c, func(cfg *kafka.Config) { cfg.Instance = instance })
}

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// createTopics creates the four topics small: two partitions of state, three of events.
func createTopics(t testing.TB, c *process) {
	t.Helper()
	tp := c.cfg.Topics
	createTopic(t, c, tp.Events, 3, "delete")
	createTopic(t, c, tp.State, 2, "compact")
	createTopic(t, c, tp.DLQ, 3, "delete")
	createTopic(t, c, tp.Watermark, 1, "compact")
}

func createTopic(t testing.TB, c *process, name string, partitions int32, policy string) {
	t.Helper()
	admin(t, c, func(ctx context.Context, adm *kadm.Client) error {
		resp, err := adm.CreateTopic(ctx, partitions, -1, map[string]*string{"cleanup.policy": &policy}, name)
		if err := errors.Join(err, resp.Err); err != nil {
			return err
		}
		return everywhere(ctx, c, name, func(t kmsg.MetadataResponseTopic) bool {
			return t.ErrorCode == 0 && int32(len(t.Partitions)) == partitions && kadm.TopicID(t.TopicID) == resp.ID &&
				!slices.ContainsFunc(t.Partitions, func(p kmsg.MetadataResponseTopicPartition) bool { return p.ErrorCode != 0 })
		})
	})
}

func deleteTopic(t testing.TB, c *process, name string) {
	t.Helper()
	admin(t, c, func(ctx context.Context, adm *kadm.Client) error {
		resp, err := adm.DeleteTopic(ctx, name)
		if err := errors.Join(err, resp.Err); err != nil {
			return err
		}
		return everywhere(ctx, c, name, func(t kmsg.MetadataResponseTopic) bool { return t.ErrorCode == kerr.UnknownTopicOrPartition.Code })
	})
}

// everywhere waits until every broker says so of a topic: they hear of a change one after the other.
func everywhere(ctx context.Context, c *process, name string, says func(kmsg.MetadataResponseTopic) bool) error {
	return eachBroker(ctx, c, func(b *kgo.Broker) (bool, error) {
		req, topic := kmsg.NewPtrMetadataRequest(), kmsg.NewMetadataRequestTopic()
		topic.Topic = &name
		req.Topics = append(req.Topics, topic)
		resp, err := b.RetriableRequest(ctx, req)
		return err == nil && says(resp.(*kmsg.MetadataResponse).Topics[0]), err
	})
}

// eachBroker asks every broker, in turn, until it says yes.
func eachBroker(ctx context.Context, c *process, ask func(*kgo.Broker) (bool, error)) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.cfg.Brokers...))
	if err != nil {
		return err
	}
	defer cl.Close()
	all, err := kadm.NewClient(cl).ListBrokers(ctx)
	if err != nil {
		return err
	}
	for _, b := range all {
		for {
			ok, err := ask(cl.Broker(int(b.NodeID)))
			if err != nil {
				return err
			}
			if ok {
				break
			}
			select {
			case <-time.After(20 * time.Millisecond):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	return nil
}

func topicsOf(c *process) []string {
	return []string{c.cfg.Topics.Events, c.cfg.Topics.State, c.cfg.Topics.DLQ, c.cfg.Topics.Watermark}
}

// decided waits until readers may see what was committed to a topic: brokers answer a commit before every partition has its marker.
func decided(t testing.TB, c *process, topic string) {
	t.Helper()
	r, err := c.NewReader()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := r.Decided(testContext(t), topic); err != nil {
		t.Fatal(err)
	}
}

func admin(t testing.TB, c *process, fn func(context.Context, *kadm.Client) error) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.cfg.Brokers...))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if err := fn(testContext(t), kadm.NewClient(cl)); err != nil {
		t.Fatal(err)
	}
}

// prepared returns a cluster with small topics that is ready for work.
func prepared(t testing.TB, c *process) kafka.Layout {
	t.Helper()
	createTopics(t, c)
	return prepare(t, c)
}

// prepare tries again as the program's start does: not all brokers may have heard of a topic.
func prepare(t testing.TB, c *process) kafka.Layout {
	t.Helper()
	for ctx := testContext(t); ; {
		l, err := c.Prepare(ctx, false)
		if err == nil {
			return l
		}
		if kafka.IsRefused(err) || ctx.Err() != nil {
			t.Fatal(err)
		}
	}
}

func open(t testing.TB, c *process, shard int32) (*kafka.Session, *kafka.Snapshot) {
	t.Helper()
	s, snap, err := c.Open(testContext(t), shard)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s, snap
}

func commit(t testing.TB, s *kafka.Session, b kafka.Batch) {
	t.Helper()
	if err := s.Commit(b); err != nil {
		t.Fatal(err)
	}
}

func rec(key, value string) kafka.Record { return kafka.Record{Key: []byte(key), Value: []byte(value)} }

// batch is a commit of one event, one reject and one state record, all named after name.
func batch(s *kafka.Session, name string) kafka.Batch {
	return kafka.Batch{Events: []kafka.Record{event(s.Shard(), s.Next(), name)}, Rejects: []kafka.Record{rec(name, "reject")},
		State: []kafka.Record{rec("contoso/pstn/"+name, name)}, Watermarks: []kafka.Record{rec("contoso", name)}, At: time.Now()}
}

func event(shard int32, n int64, name string) kafka.Record {
	e := rec(name, "event")
	e.Headers = []schema.Header{{Key: schema.HeaderCommit, Value: fmt.Appendf(nil, "%d/%d", shard, n)}}
	return e
}

// produce writes records by a client that knows nothing of sessions: in one transaction of txid, left undecided if decide is nil.
func produce(t testing.TB, c *process, txid string, decide *kgo.TransactionEndTry, rs ...*kgo.Record) *kgo.Client {
	t.Helper()
	ctx := testContext(t)
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.cfg.Brokers...), kgo.TransactionalID(txid), kgo.TransactionTimeout(20*time.Second),
		kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	if err := cl.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := cl.ProduceSync(ctx, rs...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if decide != nil {
		if err := cl.EndTransaction(ctx, *decide); err != nil {
			t.Fatal(err)
		}
	}
	return cl
}

var (
	doCommit = kgo.TryCommit
	doAbort  = kgo.TryAbort
)

func at(topic string, partition int32, key, value string) *kgo.Record {
	return &kgo.Record{Topic: topic, Partition: partition, Key: []byte(key), Value: []byte(value)}
}

// dump returns what a read_committed consumer sees of a topic, by partition and offset: a plain consumer, not our Reader. Its
// control records tell it when it has reached the last stable offset.
func dump(t testing.TB, c *process, topic string) []*kgo.Record {
	t.Helper()
	return consume(t, c, topic, kgo.ReadCommitted(), offsets(t, c, topic, committedOffsets))
}

// uncommitted returns what lies in a topic, whether it was committed, aborted or neither.
func uncommitted(t testing.TB, c *process, topic string) []*kgo.Record {
	t.Helper()
	return consume(t, c, topic, kgo.ReadUncommitted(), offsets(t, c, topic, endOffsets))
}

func consume(t testing.TB, c *process, topic string, isolation kgo.IsolationLevel, ends map[int32]int64) []*kgo.Record {
	t.Helper()
	ctx := testContext(t)
	starts := offsets(t, c, topic, (*kadm.Client).ListStartOffsets)
	from := map[int32]kgo.Offset{}
	for p, end := range ends {
		if end > starts[p] {
			from[p] = kgo.NewOffset().AtStart()
		}
	}
	var out []*kgo.Record
	if len(from) == 0 {
		return out
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.cfg.Brokers...), kgo.FetchIsolationLevel(isolation), kgo.KeepControlRecords(),
		kgo.FetchMaxWait(100*time.Millisecond), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for len(from) > 0 {
		fs := cl.PollFetches(ctx)
		if err := fs.Err(); err != nil {
			t.Fatalf("consume %s: %v", topic, err)
		}
		fs.EachRecord(func(r *kgo.Record) {
			if r.Offset >= ends[r.Partition]-1 {
				delete(from, r.Partition)
			}
			if r.Offset < ends[r.Partition] && !r.Attrs.IsControl() {
				out = append(out, r)
			}
		})
	}
	slices.SortFunc(out, func(a, b *kgo.Record) int {
		return cmp.Or(cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Offset, b.Offset))
	})
	return out
}

// keys returns the keys of what dump returns, sorted.
func keys(t testing.TB, c *process, topic string) []string {
	t.Helper()
	out := []string{}
	for _, r := range dump(t, c, topic) {
		out = append(out, string(r.Key))
	}
	slices.Sort(out)
	return out
}

func offsets(t testing.TB, c *process, topic string, list func(*kadm.Client, context.Context, ...string) (kadm.ListedOffsets, error)) map[int32]int64 {
	t.Helper()
	out := map[int32]int64{}
	admin(t, c, func(ctx context.Context, adm *kadm.Client) error {
		lo, err := list(adm, ctx, topic)
		for p, o := range lo[topic] {
			out[p] = o.Offset
		}
		return err
	})
	return out
}

// allEnds returns the end offsets of all topics that exist, with the markers of all transactions: equal before and after means that
// nothing was written.
func allEnds(t testing.TB, c *process) map[string]int64 {
	t.Helper()
	ctx := testContext(t)
	for undecided(t, c) {
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			t.Fatal("a transaction stays open")
		}
	}
	out := map[string]int64{}
	for _, topic := range topicsOf(c) {
		for p, o := range offsets(t, c, topic, (*kadm.Client).ListEndOffsets) {
			out[fmt.Sprintf("%s/%d", topic, p)] = o
		}
	}
	return out
}

// undecided reports whether a transaction on one of the topics is open, or has yet to get its marker.
func undecided(t testing.TB, c *process) bool {
	t.Helper()
	return slices.ContainsFunc(topicsOf(c), func(topic string) bool {
		return !maps.Equal(offsets(t, c, topic, endOffsets), offsets(t, c, topic, committedOffsets))
	})
}

type observe func(shard int32, p kafka.Point)

func (o observe) Reached(shard int32, p kafka.Point) { o(shard, p) }

var (
	committedOffsets = (*kadm.Client).ListCommittedOffsets
	endOffsets       = (*kadm.Client).ListEndOffsets
)

// said is what a process logs as a warning, one line each.
type said struct{ lines chan string }

func newSaid() *said { return &said{lines: make(chan string, 100)} }

func (s *said) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(s, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

func (s *said) Write(b []byte) (int, error) {
	select {
	case s.lines <- string(b):
	default: // nobody reads that far
	}
	return len(b), nil
}
