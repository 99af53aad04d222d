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
	withIDs, err := offered(all)
	if err == nil && !withIDs {
		c.cfg.Log.Warn("the brokers know no topic ids (Kafka before 2.8): a topic that is deleted and created again will not be noticed, and what was on it stays lost")
	}
	return err
}

// offered refuses brokers that offer no transactions, and reports whether all know topic ids.
func offered(all kadm.BrokersApiVersions) (withIDs bool, err error) {
	withIDs = true
	for _, broker := range all.Sorted() {
		if broker.Err != nil { // it is away: those that answer are of the same kind
			continue
		}
		for _, key := range []kmsg.Key{kmsg.InitProducerID, kmsg.AddPartitionsToTxn, kmsg.EndTxn} {
			if _, _, ok := broker.KeyVersions(key.Int16()); !ok {
				return false, &RefusedError{Subject: fmt.Sprintf("broker %d", broker.NodeID), Reason: fmt.Sprintf("it offers no transactions (the request %s), and nothing is exactly once without them", key.Name()),
					Mend: "use a cluster that has them: Apache Kafka, 2.8 or newer, or one that is compatible with it"}
			}
		}
		if most, ok := broker.KeyMaxVersion(kmsg.Metadata.Int16()); ok && most < topicIDs {
			withIDs = false
		}
	}
	return withIDs, nil
}

// essential are the settings that a topic has to have. What the program sets beside them is better, but a cluster may forbid it.
var essential = []string{"cleanup.policy", "retention.ms"}

// attempt is how a topic was asked for.
type attempt struct {
	replicas int16
	left     []string // the settings that were left out, in the end: the cluster does not take them all
	refusal  error    // its words for it
}

// attempt asks for the topic with all settings, and again with the essential ones alone where the cluster does not take those.
func (w wantedTopic) attempt(brokers int, ask func(replicas int16, configs map[string]*string) error) (a attempt, err error) {
	configs := map[string]*string{"unclean.leader.election.enable": kadm.StringPtr("false")}
	for k, v := range w.configs {
		configs[k] = kadm.StringPtr(v)
	}
	a.replicas = int16(min(3, brokers))
	if a.replicas == 3 {
		configs["min.insync.replicas"] = kadm.StringPtr("2")
	}
	if err = ask(a.replicas, configs); !unwanted(err) {
		return a, err
	}
	a.refusal = err
	for _, k := range slices.Sorted(maps.Keys(configs)) {
		if !slices.Contains(essential, k) {
			a.left = append(a.left, k)
			delete(configs, k)
		}
	}
	return a, ask(a.replicas, configs)
}

// validate has the brokers judge, without doing it, what create would ask of them.
func (w wantedTopic) validate(ctx context.Context, adm *kadm.Client, brokers int) (attempt, error) {
	return w.attempt(brokers, func(replicas int16, configs map[string]*string) error {
		rs, err := adm.ValidateCreateTopics(ctx, w.partitions, replicas, configs, w.name)
		if err == nil {
			err = rs[w.name].Err // the fault of a bad config is in the topic's own response
		}
		return err
	})
}

func (c *Cluster) create(ctx context.Context, adm *kadm.Client, w wantedTopic, brokers int) error {
	a, err := w.attempt(brokers, func(replicas int16, configs map[string]*string) error {
		// The fault of a bad config is in the topic's own response, not in the request's error.
		resp, err := adm.CreateTopic(ctx, w.partitions, replicas, configs, w.name)
		if err == nil {
			err = resp.Err
		}
		if err != nil && resp.ErrMessage != "" {
			return fmt.Errorf("%w (%s)", err, resp.ErrMessage)
		}
		return err
	})
	switch {
	case err == nil:
		if a.refusal != nil {
			c.cfg.Log.Warn("the cluster does not let this program set all that it wants of a topic: its own defaults hold", "topic", w.name,
				"settings", strings.Join(a.left, ","), "refusal", a.refusal)
		}
		c.cfg.Log.Info("created topic", "topic", w.name, "partitions", w.partitions, "replicas", a.replicas)
		return nil
	case errors.Is(err, kerr.TopicAlreadyExists): // another replica was faster
		return nil
	case impossible(err):
		return w.byHand(a.replicas, err)
	}
	return fmt.Errorf("create topic %s: %w", w.name, err)
}

// impossible reports whether asking again for a topic is of no use.
func impossible(err error) bool {
	return denied(err) || unwanted(err) || errors.Is(err, kerr.InvalidReplicationFactor)
}

func (w wantedTopic) byHand(replicas int16, err error) *RefusedError {
	return &RefusedError{Subject: "topic " + w.name, Reason: "it does not exist and could not be created: " + err.Error(),
		Mend: "create it by hand: " + w.createCommand(replicas)}
}

// unwanted reports whether a cluster does not take the settings of a topic.
func unwanted(err error) bool {
	return errors.Is(err, kerr.InvalidConfig) || errors.Is(err, kerr.PolicyViolation) || errors.Is(err, kerr.InvalidRequest) || errors.Is(err, kerr.UnsupportedVersion)
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
