package kafka

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// Layout is what the topics are on this cluster: read at the start of every session, for a topic may be altered or re-created
// at any time, and compared with what meta recorded at the first start.
type Layout struct {
	ClusterID        string
	EventsPartitions int32
	StatePartitions  int32
	TopicIDs         TopicIDs
	// MaxRecordBytes is the largest record, before compression, that events and dead-letter topic take.
	MaxRecordBytes int

	batchBytes map[string]int32 // by topic: how large a batch may grow
}

// TopicIDs are the ids that the cluster gave the topics when they were created (base64); a re-created topic has another.
type TopicIDs struct {
	Events string `json:"events"`
	State  string `json:"state"`
	DLQ    string `json:"dlq"`
}

const (
	createEventsPartitions = 6
	createStatePartitions  = 12
	createRetention        = 90 * 24 * time.Hour
	// maxBatchBytes is what this program lets a batch grow to: Kafka's default for a topic's max.message.bytes.
	maxBatchBytes = 1_000_012
)

type wantedTopic struct {
	name       string
	partitions int32
	configs    map[string]string
	policy     func(string) string // "" or why the existing topic's cleanup.policy is refused
	mend       string              // the value of cleanup.policy that mends it
	leastBytes int                 // max.message.bytes may not be below
}

func (c *Cluster) wanted() []wantedTopic {
	retention := strconv.FormatInt(createRetention.Milliseconds(), 10)
	noCompact := func(p string) string {
		if strings.Contains(p, "compact") {
			return "rows that share a callId would vanish"
		}
		return ""
	}
	return []wantedTopic{
		{name: c.cfg.Topics.Events, partitions: createEventsPartitions, mend: "delete", policy: noCompact, leastBytes: leastBytes,
			configs: map[string]string{"cleanup.policy": "delete", "retention.ms": retention}},
		{name: c.cfg.Topics.State, partitions: createStatePartitions, mend: "compact", leastBytes: leastStateBytes,
			policy: func(p string) string {
				if p != "compact" {
					return "the state would be deleted by age"
				}
				return ""
			},
			configs: map[string]string{"cleanup.policy": "compact", "retention.ms": "-1", "segment.bytes": strconv.Itoa(64 << 20),
				"min.cleanable.dirty.ratio": "0.1"}},
		{name: c.cfg.Topics.DLQ, partitions: createEventsPartitions, mend: "delete", policy: noCompact, leastBytes: leastBytes,
			configs: map[string]string{"cleanup.policy": "delete", "retention.ms": retention}},
		{name: c.cfg.Topics.Watermark, partitions: 1, mend: "compact", leastBytes: leastBytes,
			policy: func(p string) string {
				if !strings.Contains(p, "compact") {
					return "a tenant's watermark would be deleted by age"
				}
				return ""
			},
			configs: map[string]string{"cleanup.policy": "compact"}},
	}
}

// ensureTopics creates the topics that are missing, checks the others, and returns what they are. A topic that the program
// may not work on, or not create (mayCreate), is a RefusedError that says how to mend it.
func (c *Cluster) ensureTopics(ctx context.Context, r *Reader, freshStart bool) (Layout, error) {
	var l Layout
	err := c.withAdmin(func(adm *kadm.Client) error {
		md, err := c.metadata(ctx, adm)
		if err != nil {
			return err
		}
		if err := c.able(ctx, adm); err != nil {
			return err
		}
		var missing []wantedTopic
		for _, w := range c.wanted() {
			if err := md.Topics[w.name].Err; errors.Is(err, kerr.UnknownTopicOrPartition) {
				missing = append(missing, w)
			} else if err != nil {
				return fmt.Errorf("topic %s: %w", w.name, err)
			}
		}
		if err := c.mayCreate(ctx, adm, r, md, missing, freshStart); err != nil {
			return err
		}
		for _, w := range missing {
			if err := c.create(ctx, adm, w, len(md.Brokers)); err != nil {
				return err
			}
		}
		if len(missing) > 0 {
			if err := c.await(ctx, adm); err != nil {
				return err
			}
		}
		l, err = c.layout(ctx, adm)
		return err
	})
	return l, err
}

func (c *Cluster) topicNames() []string {
	t := c.cfg.Topics
	return []string{t.Events, t.State, t.DLQ, t.Watermark}
}

// whichDenied wraps the error of a question about all topics. Of a denied one it says which, asking again one by one: the client
// says only that there is one.
func (c *Cluster) whichDenied(what string, err error, ask func(topic string) error) error {
	if denied(err) {
		for _, topic := range c.topicNames() {
			if err := ask(topic); denied(err) {
				return fmt.Errorf("%s: topic %s: %w", what, topic, err)
			}
		}
	}
	return fmt.Errorf("%s: %w", what, err)
}

func (c *Cluster) metadata(ctx context.Context, adm *kadm.Client) (kadm.Metadata, error) {
	md, err := adm.Metadata(ctx, c.topicNames()...)
	if err != nil {
		err = c.whichDenied("topics", err, func(topic string) error {
			_, err := adm.Metadata(ctx, topic)
			return err
		})
	}
	return md, err
}

// await waits until freshly created topics are known to the brokers with a leader for every partition.
func (c *Cluster) await(ctx context.Context, adm *kadm.Client) error {
	for {
		md, err := adm.Metadata(ctx, c.topicNames()...)
		ready := err == nil
		for _, name := range c.topicNames() {
			t := md.Topics[name]
			ready = ready && t.Err == nil && len(t.Partitions) > 0
			for _, p := range t.Partitions {
				ready = ready && p.Err == nil && p.Leader >= 0
			}
		}
		if ready {
			return nil
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("created topics did not appear: %w", context.Cause(ctx))
		}
	}
}

// layout checks the topics and returns what they are now. A topic that is missing is not refused: who deletes one may be about
// to create it again, and its id then says that it is another.
func (c *Cluster) layout(ctx context.Context, adm *kadm.Client) (Layout, error) {
	md, err := c.metadata(ctx, adm)
	if err != nil {
		return Layout{}, err
	}
	for _, name := range c.topicNames() {
		if err := md.Topics[name].Err; err != nil {
			return Layout{}, fmt.Errorf("topic %s: %w", name, err)
		}
	}
	t := c.cfg.Topics
	id := func(topic string) string { return md.Topics[topic].ID.String() }
	l := Layout{
		ClusterID:        md.Cluster,
		EventsPartitions: int32(len(md.Topics[t.Events].Partitions)),
		StatePartitions:  int32(len(md.Topics[t.State].Partitions)),
		TopicIDs:         TopicIDs{Events: id(t.Events), State: id(t.State), DLQ: id(t.DLQ)},
		batchBytes:       map[string]int32{},
	}
	rcs, err := adm.DescribeTopicConfigs(ctx, c.topicNames()...)
	if err != nil {
		return l, c.whichDenied("topic configurations, which DESCRIBE_CONFIGS allows to read", err, func(topic string) error {
			_, err := adm.DescribeTopicConfigs(ctx, topic)
			return err
		})
	}
	for _, w := range c.wanted() {
		l.batchBytes[w.name] = maxBatchBytes
		rc, err := rcs.On(w.name, nil)
		if err == nil {
			err = rc.Err
		}
		if err != nil {
			return l, fmt.Errorf("configuration of topic %s: %w", w.name, err)
		}
		value := settings(rc)
		if err := w.unfit(value); err != nil {
			return l, err
		}
		if n, err := strconv.Atoi(value["max.message.bytes"]); err == nil {
			l.batchBytes[w.name] = int32(min(n, maxBatchBytes))
		}
	}
	l.MaxRecordBytes = int(min(l.batchBytes[t.Events], l.batchBytes[t.DLQ]))
	return l, nil
}

const (
	// leastBytes leaves room for the largest row that is likely, and for a batch's own bytes; kgo asks for 1 KiB at least.
	leastBytes = 16 << 10
	// leastStateBytes is what the largest state record (a ledger record of 512 KiB) needs.
	leastStateBytes = 600 << 10
)

func settings(rc kadm.ResourceConfig) map[string]string {
	value := map[string]string{}
	for _, kv := range rc.Configs {
		value[kv.Key] = kv.MaybeValue()
	}
	value["cleanup.policy"] = strings.ReplaceAll(value["cleanup.policy"], " ", "")
	return value
}

// unfit refuses settings of a topic with which the program cannot work; nil where it can.
func (w wantedTopic) unfit(value map[string]string) error {
	most, err := strconv.Atoi(value["max.message.bytes"])
	if policy := value["cleanup.policy"]; w.policy(policy) != "" {
		return &RefusedError{Subject: "topic " + w.name, Reason: fmt.Sprintf("cleanup.policy is %q: %s", policy, w.policy(policy)), Mend: w.alter("cleanup.policy=" + w.mend)}
	}
	if err == nil && most < w.leastBytes {
		return &RefusedError{Subject: "topic " + w.name, Reason: fmt.Sprintf("max.message.bytes is %d, below the %d that its records need", most, w.leastBytes),
			Mend: w.alter(fmt.Sprintf("max.message.bytes=%d", maxBatchBytes))}
	}
	return nil
}

func (w wantedTopic) alter(setting string) string {
	return fmt.Sprintf("run kafka-configs.sh --bootstrap-server … --alter --entity-type topics --entity-name %s --add-config %s", w.name, setting)
}
