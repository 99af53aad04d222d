package kafka_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"pstncalls/internal/kafka"
)

// alterTopic sets a setting, on every broker when it returns.
func alterTopic(t *testing.T, c *process, topic, name, value string) {
	t.Helper()
	admin(t, c, func(ctx context.Context, adm *kadm.Client) error {
		rs, err := adm.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: name, Value: &value}}, topic)
		for _, r := range rs {
			err = errors.Join(err, r.Err)
		}
		if err != nil {
			return err
		}
		return eachBroker(ctx, c, func(b *kgo.Broker) (bool, error) {
			resource := kmsg.NewDescribeConfigsRequestResource()
			resource.ResourceType, resource.ResourceName, resource.ConfigNames = kmsg.ConfigResourceTypeTopic, topic, []string{name}
			req := kmsg.NewPtrDescribeConfigsRequest()
			req.Resources = append(req.Resources, resource)
			resp, err := b.RetriableRequest(ctx, req)
			if err != nil {
				return false, err
			}
			set := resp.(*kmsg.DescribeConfigsResponse).Resources[0].Configs
			return len(set) == 1 && set[0].Value != nil && *set[0].Value == value, nil
		})
	})
}

// noise is n records of so many bytes that no codec makes smaller.
func noise(n, size int) []kafka.Record {
	recs := make([]kafka.Record, n)
	for i := range recs {
		b := make([]byte, size)
		_, _ = rand.Read(b)                                          // never fails
		recs[i] = rec("contoso/pstn/ledger/2026-11-01/1", string(b)) // one key: one partition
	}
	return recs
}

// A batch is never larger than its topic takes, whichever topic it is and whenever that was changed.
func TestCommitFitsTheTopics(t *testing.T) {
	topics := func(c *process) map[string]func(*kafka.Batch, []kafka.Record) {
		tp := c.cfg.Topics
		return map[string]func(*kafka.Batch, []kafka.Record){
			tp.Events:    func(b *kafka.Batch, rs []kafka.Record) { b.Events = rs },
			tp.DLQ:       func(b *kafka.Batch, rs []kafka.Record) { b.Rejects = rs },
			tp.State:     func(b *kafka.Batch, rs []kafka.Record) { b.State = rs },
			tp.Watermark: func(b *kafka.Batch, rs []kafka.Record) { b.Watermarks = rs },
		}
	}
	const limit = 650_000
	for _, when := range []string{"before the start", "later"} {
		c := newCluster(t)
		createTopics(t, c)
		for topic, into := range topics(c) {
			t.Run(when+"/"+strings.TrimPrefix(topic, c.cfg.Group[:len(c.cfg.Group)-len("group")]), func(t *testing.T) {
				if when == "later" {
					prepare(t, c)
				}
				alterTopic(t, c, topic, "max.message.bytes", fmt.Sprint(limit))
				if when != "later" {
					prepare(t, c)
				}
				s, snap := open(t, c, 0)
				b := kafka.Batch{At: time.Now()}
				into(&b, noise(4, limit/2-1000))
				commit(t, s, b)
				if isEvents := topic == c.cfg.Topics.Events || topic == c.cfg.Topics.DLQ; isEvents && snap.Layout.MaxRecordBytes != limit {
					t.Errorf("largest record: got %d, want %d", snap.Layout.MaxRecordBytes, limit)
				}
			})
		}
	}
}

// What Prepare would refuse is refused when it happens later, too: before anybody is fenced, or before anything is published.
func TestOpenRefusesChangedTopics(t *testing.T) {
	for _, tc := range []struct {
		name  string
		given func(*testing.T, *process)
		want  string
	}{
		{"events re-created", func(t *testing.T, c *process) {
			deleteTopic(t, c, c.cfg.Topics.Events)
			createTopic(t, c, c.cfg.Topics.Events, 3, "delete")
		}, "re-created"},
		{"state re-created", func(t *testing.T, c *process) {
			deleteTopic(t, c, c.cfg.Topics.State)
			createTopic(t, c, c.cfg.Topics.State, 2, "compact")
		}, "meta record is missing"},
		{"partitions added", func(t *testing.T, c *process) {
			admin(t, c, func(ctx context.Context, adm *kadm.Client) error {
				rs, err := adm.CreatePartitions(ctx, 1, c.cfg.Topics.State)
				return errors.Join(err, rs.Error())
			})
		}, "was started with 2"},
		{"events compacted", func(t *testing.T, c *process) { alterTopic(t, c, c.cfg.Topics.Events, "cleanup.policy", "compact") }, "cleanup.policy=delete"},
		{"small records only", func(t *testing.T, c *process) { alterTopic(t, c, c.cfg.Topics.State, "max.message.bytes", "500000") }, "max.message.bytes=1000012"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := newCluster(t)
			used(t, c)
			tc.given(t, c)
			before := offsets(t, c, c.cfg.Topics.Events, endOffsets)
			_, _, err := c.Open(testContext(t), 0)
			if !kafka.IsRefused(err) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want a refusal that says %q", err, tc.want)
			}
			if after := offsets(t, c, c.cfg.Topics.Events, endOffsets); fmt.Sprint(before) != fmt.Sprint(after) {
				t.Errorf("events ended at %v, now at %v", before, after)
			}
		})
	}
}

// A topic that is missing may be on its way: that is retried.
func TestOpenWaitsForATopic(t *testing.T) {
	c := newCluster(t)
	used(t, c)
	deleteTopic(t, c, c.cfg.Topics.DLQ)
	if _, _, err := c.Open(testContext(t), 0); err == nil || kafka.IsRefused(err) || !strings.Contains(err.Error(), c.cfg.Topics.DLQ) {
		t.Errorf("got %v, want an error that names the topic and is no refusal", err)
	}
	createTopic(t, c, c.cfg.Topics.DLQ, 3, "delete")
	open(t, c, 0)
}

// The first Open of a shard reads all events, to see that none is its own; the next ones need not.
func TestOpenReadsOldEventsOnce(t *testing.T) {
	fake, c := newFake(t)
	prepared(t, c)
	var old []*kgo.Record
	for p := range int32(3) {
		r := at(c.cfg.Topics.Events, p, "k", "of another shard")
		r.Timestamp = time.Now().Add(-time.Hour)
		r.Headers = []kgo.RecordHeader{{Key: "pstn-commit", Value: []byte("1/1")}}
		old = append(old, r)
	}
	produce(t, c, c.cfg.Group+"-other", &doCommit, old...)

	events := fake.TopicInfo(c.cfg.Topics.Events).TopicID
	var mu sync.Mutex
	read := map[int32]bool{} // event partitions that were read from the start
	fake.ControlKey(int16(kmsg.Fetch), func(r kmsg.Request) (kmsg.Response, error, bool) {
		fake.KeepControl()
		mu.Lock()
		defer mu.Unlock()
		for _, rt := range r.(*kmsg.FetchRequest).Topics {
			if rt.TopicID != events {
				continue
			}
			for _, rp := range rt.Partitions {
				if rp.FetchOffset == 0 {
					read[rp.Partition] = true
				}
			}
		}
		return nil, nil, false
	})
	for i, want := range []int{3, 0, 0} {
		clear(read)
		s, snap := open(t, c, 0)
		if snap.Mark.N != 0 || s.Next() != 1 {
			t.Errorf("open %d: commit %d, next %d; want none, and 1", i, snap.Mark.N, s.Next())
		}
		s.Close()
		if len(read) != want {
			t.Errorf("open %d: read %d partitions from the start, want %d", i, len(read), want)
		}
	}
	// What comes after the mark is looked at: an event of the shard, and no state that knows of it.
	produce(t, c, c.cfg.Group+"-cut", &doCommit, &kgo.Record{Topic: c.cfg.Topics.Events, Key: []byte("k"),
		Headers: []kgo.RecordHeader{{Key: "pstn-commit", Value: []byte("0/1")}}})
	if _, _, err := c.Open(testContext(t), 0); !kafka.IsRefused(err) {
		t.Errorf("after an event of a lost commit: got %v, want a refusal", err)
	}
}
