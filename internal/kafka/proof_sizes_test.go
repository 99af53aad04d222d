package kafka_test

import (
	"crypto/rand"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"

	"pstncalls/internal/kafka"
	"pstncalls/schema"
)

// TestTransactionsOfAllSizes: whatever its size, a transaction that was not committed shows nothing, and one that was shows all of its
// records as they were written, in order.
func TestTransactionsOfAllSizes(t *testing.T) {
	for _, n := range []int{1, 1000, 10_000} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			c := newCluster(t)
			l := prepared(t, c)
			var s *kafka.Session
			s, _ = open(t, with(t, c, func(cfg *kafka.Config) {
				cfg.Observer = observe(func(_ int32, p kafka.Point) {
					if p == kafka.AtEnd && s != nil {
						s.Close() // with all records acknowledged
					}
				})
			}), 0)
			events := make([]kafka.Record, n)
			for i := range events {
				e := event(0, 1, fmt.Sprint("call", i))
				e.Value = make([]byte, 300)
				_, _ = rand.Read(e.Value) // never fails
				e.Headers = append(e.Headers, schema.Header{Key: "n", Value: fmt.Append(nil, i)}, schema.Header{Key: "n", Value: []byte{}})
				events[i] = e
			}
			b := kafka.Batch{At: time.Now(), Events: events, State: []kafka.Record{rec("contoso/pstn/tenant", "{}")}}
			if err := s.Commit(b); err == nil {
				t.Fatal("the commit was not interrupted")
			}
			if got := len(uncommitted(t, c, c.cfg.Topics.Events)); got != n {
				t.Fatalf("%d records in the log, want %d: the test proves nothing", got, n)
			}
			s, snap := open(t, c, 0)
			if got := keys(t, c, c.cfg.Topics.Events); len(got) != 0 || len(snap.State) != 0 {
				t.Errorf("of a transaction without its end: %d events, state %v", len(got), snap.State)
			}
			commit(t, s, b)
			decided(t, c, c.cfg.Topics.Events)

			want := map[int32][]kafka.Record{}
			for _, e := range events {
				p := kafka.ShardOf(string(e.Key), l.EventsPartitions) // the same law
				want[p] = append(want[p], e)
			}
			for _, r := range dump(t, c, c.cfg.Topics.Events) {
				if len(want[r.Partition]) == 0 {
					t.Fatalf("partition %d holds more than was written", r.Partition)
				}
				e := want[r.Partition][0]
				want[r.Partition] = want[r.Partition][1:]
				got := kafka.Record{Key: r.Key, Value: r.Value}
				for _, h := range r.Headers {
					got.Headers = append(got.Headers, schema.Header{Key: h.Key, Value: h.Value})
				}
				if !reflect.DeepEqual(e, got) {
					t.Fatalf("partition %d, offset %d: (-want +got):\n%s", r.Partition, r.Offset, cmp.Diff(e, got))
				}
			}
			for p, left := range want {
				if len(left) > 0 {
					t.Errorf("partition %d: %d events are missing", p, len(left))
				}
			}
		})
	}
}

// fill puts one record into the part of a batch that belongs to a topic.
func fill(b *kafka.Batch, tp kafka.Topics, topic string, r kafka.Record) {
	switch topic {
	case tp.Events:
		b.Events = append(b.Events, r)
	case tp.DLQ:
		b.Rejects = append(b.Rejects, r)
	case tp.State:
		b.State = append(b.State, r)
	case tp.Watermark:
		b.Watermarks = append(b.Watermarks, r)
	}
}

// ofSize is a record of so many bytes by its own account, which no codec makes smaller.
func ofSize(n int) kafka.Record {
	r := kafka.Record{Key: []byte("contoso/pstn/large"), Headers: []schema.Header{{Key: "reason", Value: []byte("size")}}}
	r.Value = make([]byte, n-r.Size())
	_, _ = rand.Read(r.Value) // never fails
	return r
}

// TestRecordsAtTheLimit: a record of the size that the layout allows is taken, whatever the codec. A larger one, refused by the client,
// and one that was allowed when the session began, refused by the brokers, take their commit with them: the session ends with an
// error that names the topic and what to change, and the next one goes on with what the topic takes now.
func TestRecordsAtTheLimit(t *testing.T) {
	const limit = 700_000
	tp := func(c *process) []string {
		return []string{c.cfg.Topics.Events, c.cfg.Topics.DLQ, c.cfg.Topics.State, c.cfg.Topics.Watermark}
	}
	for i, name := range []string{"events", "rejects", "state", "watermark"} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t)
			createTopics(t, c)
			topic := tp(c)[i]
			alterTopic(t, c, topic, "max.message.bytes", fmt.Sprint(limit))
			prepare(t, c)
			large := func() (n int) {
				decided(t, c, topic)
				for _, r := range dump(t, c, topic) {
					if len(r.Value) > limit-1000 {
						n++
					}
				}
				return n
			}
			for n, codec := range []string{"none", "snappy", "lz4", "zstd", "gzip"} {
				s, snap := open(t, with(t, c, func(cfg *kafka.Config) { cfg.Compression = codec }), 0)
				if i < 2 && snap.Layout.MaxRecordBytes != limit {
					t.Errorf("largest record: got %d, want %d", snap.Layout.MaxRecordBytes, limit)
				}
				b := batch(s, "kept")
				fill(&b, c.cfg.Topics, topic, ofSize(limit))
				commit(t, s, b)
				if got := large(); got != n+1 {
					t.Errorf("%s: %d large records are there, want %d", codec, got, n+1)
				}
			}

			refused := func(s *kafka.Session, size int) {
				t.Helper()
				b := batch(s, "lost")
				fill(&b, c.cfg.Topics, topic, ofSize(size))
				err := s.Commit(b)
				if !errors.Is(err, kerr.MessageTooLarge) || kafka.IsRefused(err) {
					t.Fatalf("got %v, want MESSAGE_TOO_LARGE", err)
				}
				for _, want := range []string{topic, "max.message.bytes"} {
					if !strings.Contains(kafka.Explain(err), want) {
						t.Errorf("it does not say %q: %s", want, kafka.Explain(err))
					}
				}
				if err := s.Commit(batch(s, "dead")); err == nil {
					t.Error("a dead session committed")
				}
			}
			s, _ := open(t, c, 0)
			refused(s, limit+256) // that much is allowed for what the format adds

			s, _ = open(t, c, 0)
			alterTopic(t, c, topic, "max.message.bytes", fmt.Sprint(limit-50_000))
			refused(s, limit)
			s, _ = open(t, c, 0)
			b := batch(s, "later")
			fill(&b, c.cfg.Topics, topic, noise(1, 10)[0])
			fill(&b, c.cfg.Topics, topic, ofSize(limit-50_000))
			commit(t, s, b)
			decided(t, c, c.cfg.Topics.Events)
			if got := keys(t, c, c.cfg.Topics.Events); slices.Contains(got, "lost") || !slices.Contains(got, "kept") || !slices.Contains(got, "later") {
				t.Errorf("events: got %v, want those of the commits kept and later", got)
			}
		})
	}
}
