package kafka_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"

	"pstncalls/internal/kafka"
)

func newReader(t *testing.T, c *process) *kafka.Reader {
	t.Helper()
	r, err := c.NewReader()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

// read returns the keys of [from, until).
func read(ctx context.Context, r *kafka.Reader, topic string, from, until int64) (string, error) {
	var keys []string
	for rec, err := range r.Partition(ctx, topic, 0, from, until) {
		if err != nil {
			return strings.Join(keys, " "), err
		}
		keys = append(keys, string(rec.Key))
	}
	return strings.Join(keys, " "), nil
}

func TestReaderEnds(t *testing.T) {
	for _, tc := range []struct {
		name        string
		given       func(*testing.T, *process, string)
		from, until int64 // until counts back from the end where it is not positive
		want        string
	}{
		{"control record last", func(t *testing.T, c *process, topic string) {
			produce(t, c, topic+"-a", &doCommit, at(topic, 0, "a", ""), at(topic, 0, "b", ""))
		}, 0, 0, "a b"},
		{"aborted records last", func(t *testing.T, c *process, topic string) {
			produce(t, c, topic+"-a", &doCommit, at(topic, 0, "a", ""))
			produce(t, c, topic+"-a", &doAbort, at(topic, 0, "x", ""), at(topic, 0, "y", ""))
		}, 0, 0, "a"},
		{"nothing but aborted records", func(t *testing.T, c *process, topic string) {
			produce(t, c, topic+"-a", &doAbort, at(topic, 0, "x", ""))
		}, 0, 0, ""},
		{"inside a batch", func(t *testing.T, c *process, topic string) {
			produce(t, c, topic+"-a", &doCommit, at(topic, 0, "a", ""), at(topic, 0, "b", ""), at(topic, 0, "c", ""))
		}, 1, 2, "b"},
		{"before the log's start", func(t *testing.T, c *process, topic string) {
			produce(t, c, topic+"-a", &doCommit, at(topic, 0, "a", ""), at(topic, 0, "b", ""))
			admin(t, c, func(ctx context.Context, adm *kadm.Client) error {
				upTo := kadm.Offsets{}
				upTo.AddOffset(topic, 0, 1, -1)
				rs, err := adm.DeleteRecords(ctx, upTo)
				return errors.Join(err, rs.Error())
			})
		}, 0, 0, "b"},
		{"empty", func(*testing.T, *process, string) {}, 0, 0, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := newCluster(t)
			topic := c.cfg.Topics.Events
			createTopic(t, c, topic, 1, "delete")
			tc.given(t, c, topic)
			until := tc.until
			if until <= 0 {
				until += offsets(t, c, topic, endOffsets)[0]
			}
			got, err := read(testContext(t), newReader(t, c), topic, tc.from, until)
			if err != nil || got != tc.want {
				t.Errorf("got %q, %v; want %q", got, err, tc.want)
			}
		})
	}
}

func TestReaderInterleavedTransactions(t *testing.T) {
	c := newCluster(t)
	topic := c.cfg.Topics.Events
	createTopic(t, c, topic, 1, "delete")
	ctx := testContext(t)
	a := produce(t, c, topic+"-a", nil, at(topic, 0, "a1", ""))
	b := produce(t, c, topic+"-b", nil, at(topic, 0, "b1", ""))
	for i := 2; i <= 3; i++ {
		if err := a.ProduceSync(ctx, at(topic, 0, fmt.Sprint("a", i), "")).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if err := b.ProduceSync(ctx, at(topic, 0, fmt.Sprint("b", i), "")).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	r := newReader(t, c)
	short, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	if got, err := read(short, r, topic, 0, 6); got != "" || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("both open: got %q, %v; want to wait", got, err)
	}
	if err := a.EndTransaction(ctx, doAbort); err != nil {
		t.Fatal(err)
	}
	if err := b.EndTransaction(ctx, doCommit); err != nil {
		t.Fatal(err)
	}
	got, err := read(ctx, r, topic, 0, offsets(t, c, topic, endOffsets)[0])
	if err != nil || got != "b1 b2 b3" {
		t.Errorf("got %q, %v; want b's alone", got, err)
	}
}

func TestReaderFollows(t *testing.T) {
	c := newCluster(t)
	topic := c.cfg.Topics.Events
	createTopic(t, c, topic, 1, "delete")
	ctx, cancel := context.WithCancelCause(testContext(t))
	defer cancel(nil)
	stop := errors.New("enough")
	produce(t, c, topic+"-a", &doCommit, at(topic, 0, "0", ""))
	n := 0
	var last error
	for rec, err := range newReader(t, c).Partition(ctx, topic, 0, 0, kafka.Forever) {
		if last = err; err != nil {
			break
		}
		if string(rec.Key) != fmt.Sprint(n) {
			t.Fatalf("got %s, want %d", rec.Key, n)
		}
		if n++; n == 3 {
			cancel(stop)
			continue
		}
		produce(t, c, topic+"-a", &doCommit, at(topic, 0, fmt.Sprint(n), "")) // behind what was the end
	}
	if n != 3 || !errors.Is(last, stop) {
		t.Errorf("got %d records and %v, want 3 and the context's cause", n, last)
	}
}

func TestReaderFollowsTheLeader(t *testing.T) {
	fake, c := newFake(t, kfake.NumBrokers(3))
	topic := c.cfg.Topics.Events
	createTopic(t, c, topic, 1, "delete")
	r := newReader(t, c)
	want := ""
	for i := range 4 {
		produce(t, c, topic+"-a", &doCommit, at(topic, 0, fmt.Sprint(i), ""))
		want = strings.TrimSpace(want + " " + fmt.Sprint(i))
		before := fake.LeaderFor(topic, 0)
		if got, err := read(testContext(t), r, topic, 0, offsets(t, c, topic, endOffsets)[0]); err != nil || got != want {
			t.Fatalf("got %q, %v; want %q", got, err, want)
		}
		if err := fake.MoveTopicPartition(topic, 0, (before+1)%3); err != nil {
			t.Fatal(err)
		}
		if fake.LeaderFor(topic, 0) == before {
			t.Fatal("the leader did not move")
		}
	}
}

// Errors that reading again does not mend are yielded, not retried until the context ends.
func TestReaderYieldsFinalErrors(t *testing.T) {
	c := newCluster(t)
	topic := c.cfg.Topics.Events
	createTopic(t, c, topic, 1, "delete")
	produce(t, c, topic+"-a", &doCommit, at(topic, 0, "a", ""))
	for name, tc := range map[string]struct {
		topic string
		from  int64
		want  string
	}{
		"beyond the end": {topic, 1000, "truncated"},
		"no such topic":  {topic + "-none", 0, "UNKNOWN_TOPIC_OR_PARTITION"},
	} {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		_, err := read(ctx, newReader(t, c), tc.topic, tc.from, 2000)
		if err == nil || !strings.Contains(err.Error(), tc.want) || ctx.Err() != nil {
			t.Errorf("%s: got %v, want %q", name, err, tc.want)
		}
		cancel()
	}
}

func TestReaderEdges(t *testing.T) {
	c := newCluster(t)
	topic := c.cfg.Topics.Events
	createTopic(t, c, topic, 1, "delete")
	ctx := testContext(t)
	produce(t, c, topic+"-a", &doCommit, at(topic, 0, "a", ""))
	produce(t, c, topic+"-b", nil, at(topic, 0, "open", ""))
	r := newReader(t, c)
	got := map[string]int64{}
	for name, fn := range map[string]func(context.Context, string) (map[int32]int64, error){"stable": r.StableEnds, "end": r.Ends,
		"future": func(ctx context.Context, topic string) (map[int32]int64, error) {
			return r.Since(ctx, topic, time.Now().Add(time.Hour))
		}} {
		m, err := fn(ctx, topic)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got[name] = m[0]
	}
	if diff := cmp.Diff(map[string]int64{"stable": 2, "end": 3, "future": 3}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
