package kafka_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"pstncalls/internal/kafka"
)

// TestDeniedRights takes one right away from the program: what it then says names what it was refused and what to grant, nothing is
// published in part, and once it is granted the next session goes on.
func TestDeniedRights(t *testing.T) {
	topic := func(name func(kafka.Topics) string) func(*process) func(*kadm.ACLBuilder) *kadm.ACLBuilder {
		return func(c *process) func(*kadm.ACLBuilder) *kadm.ACLBuilder {
			return func(b *kadm.ACLBuilder) *kadm.ACLBuilder { return b.Topics(name(c.cfg.Topics)) }
		}
	}
	events := func(t kafka.Topics) string { return t.Events }
	state := func(t kafka.Topics) string { return t.State }
	dlq := func(t kafka.Topics) string { return t.DLQ }
	transactions := func(c *process) func(*kadm.ACLBuilder) *kadm.ACLBuilder {
		return func(b *kadm.ACLBuilder) *kadm.ACLBuilder { return b.TransactionalIDs(c.TransactionalID(0)) }
	}
	for _, tc := range []struct {
		name string
		op   kadm.ACLOperation
		on   func(*process) func(*kadm.ACLBuilder) *kadm.ACLBuilder
		err  *kerr.Error
		want []string // in what is said; %e, %s, %d: the topics, %t: the transactional id
	}{
		{"write to events", kadm.OpWrite, topic(events), kerr.TopicAuthorizationFailed, []string{"topic %e", "WRITE"}},
		{"write to rejects", kadm.OpWrite, topic(dlq), kerr.TopicAuthorizationFailed, []string{"topic %d", "WRITE"}},
		{"write to state", kadm.OpWrite, topic(state), kerr.TopicAuthorizationFailed, []string{"topic %s", "WRITE"}},
		{"read state", kadm.OpRead, topic(state), kerr.TopicAuthorizationFailed, []string{"%s/0", "READ"}},
		{"describe events", kadm.OpDescribe, topic(events), kerr.TopicAuthorizationFailed, []string{"topic %e", "DESCRIBE"}},
		{"describe the configuration of state", kadm.OpDescribeConfigs, topic(state), kerr.TopicAuthorizationFailed, []string{"topic %s", "DESCRIBE_CONFIGS allows"}},
		{"write transactions", kadm.OpWrite, transactions, kerr.TransactionalIDAuthorizationFailed, []string{"%t", "WRITE and DESCRIBE on the transactional ids"}},
		{"describe transactions", kadm.OpDescribe, transactions, kerr.TransactionalIDAuthorizationFailed, []string{"%t", "WRITE and DESCRIBE on the transactional ids"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, restricted := newDeniable(t)
			prepared(t, c)
			s, _ := open(t, restricted, 0)
			commit(t, s, batch(s, "kept"))
			s.Close()
			grant := deny(t, c, tc.op, tc.on(c))
			s, _, err := restricted.Open(testContext(t), 0)
			if err == nil {
				err = s.Commit(batch(s, "lost"))
				s.Close()
			}
			if !errors.Is(err, tc.err) || kafka.IsRefused(err) {
				t.Fatalf("got %v, want %v, which is tried again", err, tc.err)
			}
			tp := c.cfg.Topics
			said := kafka.Explain(err)
			for _, want := range tc.want {
				want = strings.NewReplacer("%e", tp.Events, "%s", tp.State, "%d", tp.DLQ, "%t", c.TransactionalID(0)).Replace(want)
				if !strings.Contains(said, want) {
					t.Errorf("it does not say %q: %s", want, said)
				}
			}
			grant()
			s, snap := open(t, restricted, 0)
			if snap.Mark.N != 1 {
				t.Errorf("commit mark: got %d, want 1", snap.Mark.N)
			}
			commit(t, s, batch(s, "later"))
			checkVisible(t, c, []string{"kept", "later"})
		})
	}
}

// Topics that are missing and may not be created: the command that creates them.
func TestPrepareMayNotCreate(t *testing.T) {
	c, restricted := newDeniable(t)
	for _, name := range []string{c.cfg.Topics.State, c.cfg.Topics.DLQ, c.cfg.Topics.Watermark} {
		createTopic(t, c, name, 1, map[bool]string{true: "delete", false: "compact"}[name == c.cfg.Topics.DLQ])
	}
	grantCluster := deny(t, c, kadm.OpCreate, (*kadm.ACLBuilder).Clusters) // either right would do
	grant := deny(t, c, kadm.OpCreate, func(b *kadm.ACLBuilder) *kadm.ACLBuilder { return b.Topics(c.cfg.Topics.Events) })
	before := allEnds(t, c)
	_, err := restricted.Prepare(testContext(t), false)
	if !kafka.IsRefused(err) || !strings.Contains(err.Error(), "create it by hand: kafka-topics.sh") || !strings.Contains(err.Error(), "--topic "+c.cfg.Topics.Events) {
		t.Errorf("got %v, want a refusal with the command", err)
	}
	if after := allEnds(t, c); len(after) != len(before) || after[c.cfg.Topics.State+"/0"] != 0 {
		t.Errorf("something was written: %v", after)
	}
	grantCluster()
	grant()
	prepare(t, restricted)
}

// A group that may not be read is no reason to end: it is said, and waited for.
func TestMembersDenied(t *testing.T) {
	c, restricted := newDeniable(t)
	createTopic(t, c, c.cfg.Topics.State, 1, "compact")
	grant := deny(t, c, kadm.OpRead, func(b *kadm.ACLBuilder) *kadm.ACLBuilder { return b.Groups(c.cfg.Group) })
	log := newSaid()
	member := with(t, restricted, func(cfg *kafka.Config) { cfg.Log = log.logger() })
	ctx, stop := context.WithCancel(testContext(t))
	defer stop()
	worked := make(chan struct{})
	done := make(chan error, 1)
	go func() {
		done <- member.RunMembers(ctx, func(ctx context.Context, _ int32) error {
			close(worked)
			<-ctx.Done()
			return nil
		})
	}()
	select {
	case line := <-log.lines:
		for _, want := range []string{"GROUP_AUTHORIZATION_FAILED", "READ on the group", c.cfg.Group} {
			if !strings.Contains(line, want) {
				t.Errorf("it does not say %q: %s", want, line)
			}
		}
	case <-worked:
		t.Error("it works without the right")
	case err := <-done:
		t.Fatalf("it ended: %v", err)
	}
	grant()
	select {
	case <-worked:
	case <-ctx.Done():
		t.Error("it did not go on")
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// Fewer replicas than the topic demands: the claim, or the commit, fails with what to change, and what comes after the brokers are
// back goes on. (A topic that demands more than it has replicas is taken by Kafka for one that demands all of them, so only brokers
// that are down bring this about: TestBrokerIsKilled of the long run, on three.)
func TestNotEnoughReplicas(t *testing.T) {
	for _, tc := range []struct {
		name  string
		topic func(kafka.Topics) string
		err   *kerr.Error
	}{
		{"at the claim", func(t kafka.Topics) string { return t.State }, kerr.NotEnoughReplicas},
		{"at the commit", func(t kafka.Topics) string { return t.Events }, kerr.NotEnoughReplicas},
		{"after append", func(t kafka.Topics) string { return t.Events }, kerr.NotEnoughReplicasAfterAppend},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel() // they wait
			fake, c := newFake(t)
			c.SetLimits(20*time.Second, 2*time.Second, 5*time.Second)
			prepared(t, c)
			s, _ := open(t, c, 0)
			commit(t, s, batch(s, "kept"))
			s.Close()
			topic := tc.topic(c.cfg.Topics)
			fault := fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: topic, Err: tc.err, Count: -1})
			s, _, err := c.Open(testContext(t), 0)
			if err == nil {
				err = s.Commit(batch(s, "lost"))
				s.Close()
			}
			if fault.Hits() == 0 {
				t.Fatalf("no produce request failed: %v", err)
			}
			for _, want := range []string{"topic " + topic, "min.insync.replicas", "bring them back"} {
				if !strings.Contains(kafka.Explain(err), want) {
					t.Errorf("it does not say %q: %s", want, kafka.Explain(err))
				}
			}
			if kafka.IsRefused(err) || kafka.FencedOrTimedOut(err) {
				t.Errorf("got %v, want an error that is tried again", err)
			}
			fault.Remove()
			s, snap := open(t, c, 0)
			if snap.Mark.N != 1 {
				t.Errorf("commit mark: got %d, want 1", snap.Mark.N)
			}
			commit(t, s, batch(s, "later"))
			checkVisible(t, c, []string{"kept", "later"})
		})
	}
}

// Brokers without transactions, and ones older than anything that the program can work with.
func TestNoTransactions(t *testing.T) {
	t.Run("not offered", func(t *testing.T) {
		fake, c := newFake(t)
		createTopics(t, c)
		fault := fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.InitProducerID}, TopLevel: true, Err: kerr.UnsupportedVersion, Count: -1})
		checkNoTransactions(t, c, "transactions, as Apache Kafka has them")
		if fault.Hits() == 0 {
			t.Error("the fault did not fire")
		}
	})
	t.Run("Kafka 0.10.2", func(t *testing.T) {
		_, c := newFake(t, kfake.MaxVersions(kversion.V0_10_2()), kfake.SeedTopics(3, "pstn-calls", "pstn-dlq", "pstn-state", "pstn-watermark"))
		checkNoTransactions(t, c, "offers no transactions")
	})
}

func checkNoTransactions(t *testing.T, c *process, want string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err := c.Prepare(ctx, false)
	if err == nil || ctx.Err() != nil {
		t.Fatalf("got %v, %v; want an error at once", err, ctx.Err())
	}
	if said := kafka.Explain(err); !strings.Contains(said, want) {
		t.Errorf("it does not say what is missing: %s", said)
	}
}
