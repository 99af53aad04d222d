package kafka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// topicIDs is the version from which the answer to a metadata request carries topic ids (Kafka 2.8).
const topicIDs = 10

// able refuses brokers that offer no transactions, and says so of ones that know no topic ids.
func (c *Cluster) able(ctx context.Context, adm *kadm.Client) error {
	all, err := adm.ApiVersions(ctx)
	if err != nil {
		return fmt.Errorf("what the brokers offer: %w", err)
	}
	withoutIDs := false
	for _, broker := range all.Sorted() {
		if broker.Err != nil { // it is away: those that answer are of the same kind
			continue
		}
		for _, key := range []kmsg.Key{kmsg.InitProducerID, kmsg.AddPartitionsToTxn, kmsg.EndTxn} {
			if _, _, ok := broker.KeyVersions(key.Int16()); !ok {
				return &RefusedError{Subject: fmt.Sprintf("broker %d", broker.NodeID), Reason: fmt.Sprintf("it offers no transactions (the request %s), and nothing is exactly once without them", key.Name()),
					Mend: "use a cluster that has them: Apache Kafka, 2.8 or newer, or one that is compatible with it"}
			}
		}
		if most, ok := broker.KeyMaxVersion(kmsg.Metadata.Int16()); ok && most < topicIDs {
			withoutIDs = true
		}
	}
	if withoutIDs {
		c.cfg.Log.Warn("the brokers know no topic ids (Kafka before 2.8): a topic that is deleted and created again will not be noticed, and what was on it stays lost")
	}
	return nil
}

// essential are the settings that a topic has to have. What the program sets beside them is better, but a cluster may forbid it.
var essential = []string{"cleanup.policy", "retention.ms"}

func (c *Cluster) create(ctx context.Context, adm *kadm.Client, w wantedTopic, brokers int) error {
	configs := map[string]*string{"unclean.leader.election.enable": kadm.StringPtr("false")}
	for k, v := range w.configs {
		configs[k] = kadm.StringPtr(v)
	}
	replicas := int16(min(3, brokers))
	if replicas == 3 {
		configs["min.insync.replicas"] = kadm.StringPtr("2")
	}
	err := c.createWith(ctx, adm, w, replicas, configs)
	if unwanted(err) {
		left := maps.Clone(configs)
		maps.DeleteFunc(left, func(k string, _ *string) bool { return slices.Contains(essential, k) })
		maps.DeleteFunc(configs, func(k string, _ *string) bool { return !slices.Contains(essential, k) })
		refusal := err
		if err = c.createWith(ctx, adm, w, replicas, configs); err == nil {
			c.cfg.Log.Warn("the cluster does not let this program set all that it wants of a topic: its own defaults hold", "topic", w.name,
				"settings", strings.Join(slices.Sorted(maps.Keys(left)), ","), "refusal", refusal)
		}
	}
	switch {
	case err == nil:
		c.cfg.Log.Info("created topic", "topic", w.name, "partitions", w.partitions, "replicas", replicas)
		return nil
	case errors.Is(err, kerr.TopicAlreadyExists): // another replica was faster
		return nil
	case denied(err) || unwanted(err) || errors.Is(err, kerr.InvalidReplicationFactor):
		return &RefusedError{Subject: "topic " + w.name, Reason: "it does not exist and could not be created: " + err.Error(),
			Mend: "create it by hand: " + w.createCommand(replicas)}
	}
	return fmt.Errorf("create topic %s: %w", w.name, err)
}

// unwanted reports whether a cluster does not take the settings of a topic.
func unwanted(err error) bool {
	return errors.Is(err, kerr.InvalidConfig) || errors.Is(err, kerr.PolicyViolation) || errors.Is(err, kerr.InvalidRequest) || errors.Is(err, kerr.UnsupportedVersion)
}

func (c *Cluster) createWith(ctx context.Context, adm *kadm.Client, w wantedTopic, replicas int16, configs map[string]*string) error {
	// The fault of a bad config is in the topic's own response, not in the request's error.
	resp, err := adm.CreateTopic(ctx, w.partitions, replicas, configs, w.name)
	if err == nil {
		err = resp.Err
	}
	if err != nil && resp.ErrMessage != "" {
		return fmt.Errorf("%w (%s)", err, resp.ErrMessage)
	}
	return err
}

func (w wantedTopic) createCommand(replicas int16) string {
	s := fmt.Sprintf("kafka-topics.sh --bootstrap-server … --create --topic %s --partitions %d --replication-factor %d", w.name, w.partitions, replicas)
	for _, k := range essential {
		if v, ok := w.configs[k]; ok {
			s += " --config " + k + "=" + v
		}
	}
	return s
}
