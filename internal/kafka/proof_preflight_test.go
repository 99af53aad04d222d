package kafka_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kmsg"

	"pstncalls/internal/kafka"
)

// preflight returns what a process finds.
func preflight(t *testing.T, c *process, host string, freshStart bool) (fs []kafka.Finding) {
	t.Helper()
	c.Preflight(testContext(t), host, freshStart, func(f kafka.Finding) { fs = append(fs, f) })
	return fs
}

// bad returns the findings with a result.
func bad(fs []kafka.Finding, r kafka.Result) (out []string) {
	for _, f := range fs {
		if f.Result == r {
			out = append(out, f.Check+" "+f.Subject+": "+f.Sentence+"; "+f.Do)
		}
	}
	return out
}

// What Prepare or Open refuses, the preflight has said before; and what they take, it does not call failed.
func TestPreflightFindsWhatIsRefused(t *testing.T) {
	for _, tc := range []struct {
		name        string
		given       func(*testing.T, *process)
		check, want string // of the line that fails; want "": none
	}{
		{"nothing there yet", func(*testing.T, *process) {}, "", ""},
		{"first start", func(t *testing.T, c *process) { createTopics(t, c) }, "", ""},
		{"in use", func(t *testing.T, c *process) { used(t, c) }, "", ""},
		{"events compacted", func(t *testing.T, c *process) {
			used(t, c)
			alterTopic(t, c, c.cfg.Topics.Events, "cleanup.policy", "compact")
		}, "topics", "--add-config cleanup.policy=delete"},
		{"state deleted by age", func(t *testing.T, c *process) {
			used(t, c)
			alterTopic(t, c, c.cfg.Topics.State, "cleanup.policy", "compact,delete")
		}, "topics", "--add-config cleanup.policy=compact"},
		{"small records only", func(t *testing.T, c *process) {
			used(t, c)
			alterTopic(t, c, c.cfg.Topics.State, "max.message.bytes", "500000")
		}, "topics", "max.message.bytes=1000012"},
		{"events re-created", func(t *testing.T, c *process) {
			used(t, c)
			deleteTopic(t, c, c.cfg.Topics.Events)
			createTopic(t, c, c.cfg.Topics.Events, 3, "delete")
		}, "state", "re-created"},
		{"events deleted", func(t *testing.T, c *process) {
			used(t, c)
			deleteTopic(t, c, c.cfg.Topics.Events)
		}, "state", "does not exist, and the state topic"},
		{"state re-created", func(t *testing.T, c *process) {
			used(t, c)
			deleteTopic(t, c, c.cfg.Topics.State)
			createTopic(t, c, c.cfg.Topics.State, 2, "compact")
		}, "state", "POLL_FRESH_START=true"},
		{"state deleted", func(t *testing.T, c *process) {
			used(t, c)
			deleteTopic(t, c, c.cfg.Topics.State)
		}, "state", "POLL_FRESH_START=true"},
		{"partitions added", func(t *testing.T, c *process) {
			used(t, c)
			admin(t, c, func(ctx context.Context, adm *kadm.Client) error {
				rs, err := adm.CreatePartitions(ctx, 1, c.cfg.Topics.State)
				if err = errors.Join(err, rs.Error()); err != nil {
					return err
				}
				return everywhere(ctx, c, c.cfg.Topics.State, func(t kmsg.MetadataResponseTopic) bool { return len(t.Partitions) == 3 })
			})
		}, "state", "was started with 2"},
		{"another group's", func(t *testing.T, c *process) {
			used(t, with(t, c, func(cfg *kafka.Config) { cfg.Group += "-other" }))
		}, "state", "set KAFKA_GROUP="},
		{"another group's, and a topic is missing", func(t *testing.T, c *process) {
			used(t, with(t, c, func(cfg *kafka.Config) { cfg.Group += "-other" }))
			deleteTopic(t, c, c.cfg.Topics.DLQ)
		}, "state", "set KAFKA_GROUP="},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := newCluster(t)
			tc.given(t, c)
			fs := preflight(t, c, "127.0.0.1", false)
			failed := bad(fs, kafka.Failed)
			if tc.want == "" && len(failed) > 0 || tc.want != "" && (len(failed) != 1 || !strings.HasPrefix(failed[0], tc.check+" ") || !strings.Contains(failed[0], tc.want)) {
				t.Errorf("failed: %q, want one of %s that says %q", failed, tc.check, tc.want)
			}
			if blind := bad(fs, kafka.NotCheckable); tc.want == "" && tc.name != "nothing there yet" && len(blind) > 0 {
				t.Errorf("not checkable: %q", blind)
			}
			var err error
			for ctx := testContext(t); ctx.Err() == nil; {
				if _, err = c.Prepare(ctx, false); err == nil || kafka.IsRefused(err) {
					break
				}
			}
			if kafka.IsRefused(err) != (tc.want != "") {
				t.Errorf("Prepare then said %v", err)
			}
		})
	}
}

// A preflight leaves no trace: no request of it writes, and an owner at work goes on.
func TestPreflightWritesNothing(t *testing.T) {
	fake, c := newFake(t)
	reads := []kmsg.Key{kmsg.ApiVersions, kmsg.Metadata, kmsg.DescribeConfigs, kmsg.DescribeACLs, kmsg.Heartbeat, kmsg.DescribeTransactions,
		kmsg.ListOffsets, kmsg.Fetch, kmsg.GetTelemetrySubscriptions, kmsg.PushTelemetry} // the last two: the client's metrics, if a broker wants them
	var mu sync.Mutex
	watching := false
	var others []string
	validated := 0
	for key := range int16(93) {
		if kmsg.RequestForKey(key) == nil {
			continue
		}
		fake.ControlKey(key, func(r kmsg.Request) (kmsg.Response, error, bool) {
			fake.KeepControl()
			mu.Lock()
			defer mu.Unlock()
			create, isCreate := r.(*kmsg.CreateTopicsRequest)
			if !watching {
				return nil, nil, false
			}
			if isCreate && create.ValidateOnly {
				validated++
			} else if isCreate || !slices.Contains(reads, kmsg.Key(r.Key())) {
				others = append(others, kmsg.NameForKey(r.Key()))
			}
			if m, ok := r.(*kmsg.MetadataRequest); ok && m.AllowAutoTopicCreation {
				others = append(others, "metadata that creates topics")
			}
			return nil, nil, false
		})
	}
	watch := func(on bool) {
		mu.Lock()
		defer mu.Unlock()
		watching = on
	}
	topics := func() (names []string) {
		admin(t, c, func(ctx context.Context, adm *kadm.Client) error {
			td, err := adm.ListTopics(ctx)
			names = td.Names()
			return err
		})
		return names
	}
	watch(true)
	preflight(t, c, "127.0.0.1", false)
	watch(false)
	if validated != 4 || len(topics()) > 0 {
		t.Errorf("on a new cluster: %d of 4 topics validated, and there are %q", validated, topics())
	}
	prepared(t, c)
	s, _ := open(t, c, 0)
	commit(t, s, batch(s, "before"))
	before, names := allEnds(t, c), topics()
	watch(true)
	preflight(t, as(t, c, "another"), "127.0.0.1", false)
	watch(false)
	if after := allEnds(t, c); fmt.Sprint(before) != fmt.Sprint(after) || !slices.Equal(names, topics()) {
		t.Errorf("the topics ended at %v, now at %v; they were %q, now %q", before, after, names, topics())
	}
	commit(t, s, batch(s, "after")) // the owner was not fenced
	if len(others) > 0 {
		t.Errorf("it made the requests %q", others)
	}
}

// Each right that is taken away is the one line that fails, and what to do names it.
func TestPreflightRights(t *testing.T) {
	topic := func(name func(kafka.Topics) string) func(*process, *kadm.ACLBuilder) *kadm.ACLBuilder {
		return func(c *process, b *kadm.ACLBuilder) *kadm.ACLBuilder { return b.Topics(name(c.cfg.Topics)) }
	}
	events := topic(func(t kafka.Topics) string { return t.Events })
	state := topic(func(t kafka.Topics) string { return t.State })
	dlq := topic(func(t kafka.Topics) string { return t.DLQ })
	watermark := topic(func(t kafka.Topics) string { return t.Watermark })
	group := func(c *process, b *kadm.ACLBuilder) *kadm.ACLBuilder { return b.Groups(c.cfg.Group) }
	transaction := func(c *process, b *kadm.ACLBuilder) *kadm.ACLBuilder { return b.TransactionalIDs(c.TransactionalID(1)) }
	for _, tc := range []struct {
		name string
		op   kadm.ACLOperation
		on   func(*process, *kadm.ACLBuilder) *kadm.ACLBuilder
		want string
	}{
		{"write events", kadm.OpWrite, events, "grant WRITE on topic"},
		{"read events", kadm.OpRead, events, "grant READ on topic"},
		{"write state", kadm.OpWrite, state, "grant WRITE on topic"},
		{"describe the state's configuration", kadm.OpDescribeConfigs, state, "grant DESCRIBE_CONFIGS on topic"},
		{"describe events", kadm.OpDescribe, events, "DESCRIBE is denied"},
		{"write rejects", kadm.OpWrite, dlq, "grant WRITE on topic"},
		{"read rejects", kadm.OpRead, dlq, ""}, // nobody does
		{"write watermarks", kadm.OpWrite, watermark, "grant WRITE on topic"},
		{"read the group", kadm.OpRead, group, "grant READ on group"},
		{"write transactions", kadm.OpWrite, transaction, "grant WRITE, DESCRIBE on transactional ids"},
		{"write transactions of others", kadm.OpWrite, func(_ *process, b *kadm.ACLBuilder) *kadm.ACLBuilder { return b.TransactionalIDs("of-others") }, ""},
		{"describe transactions", kadm.OpDescribe, transaction, "grant WRITE, DESCRIBE on transactional ids"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, restricted := newDeniable(t)
			prepared(t, c)
			if failed := bad(preflight(t, restricted, restrictedHost, false), kafka.Failed); len(failed) > 0 {
				t.Fatalf("with all rights: %q", failed)
			}
			deny(t, c, tc.op, func(b *kadm.ACLBuilder) *kadm.ACLBuilder { return tc.on(c, b) })
			if failed := bad(preflight(t, c, "127.0.0.1", false), kafka.Failed); len(failed) > 0 {
				t.Errorf("to who may do it: %q", failed)
			}
			failed := bad(preflight(t, restricted, restrictedHost, false), kafka.Failed)
			if tc.want == "" && len(failed) == 0 {
				return
			}
			if len(failed) != 1 || !strings.HasPrefix(failed[0], "acls ") || !strings.Contains(failed[0], tc.want) {
				t.Errorf("failed: %q, want one of acls that says %q", failed, tc.want)
			}
		})
	}
}

// Settings that run takes, and that lose records or stop it: what they do is said before.
func TestPreflightTopicSettings(t *testing.T) {
	for _, tc := range []struct {
		setting, value string
		result         kafka.Result
		want           string
	}{
		{"min.insync.replicas", "4", kafka.Failed, "every write would be refused; run kafka-configs.sh"},
		{"unclean.leader.election.enable", "true", kafka.Warning, "committed records may be gone"},
		{"retention.ms", "3600000", kafka.Warning, "retention.ms keeps 1h0m0s"},
		{"retention.ms", "-1", kafka.Fine, "cleanup.policy=delete"},
	} {
		t.Run(tc.setting+"="+tc.value, func(t *testing.T) {
			c := newCluster(t)
			prepare(t, c)
			alterTopic(t, c, c.cfg.Topics.Events, tc.setting, tc.value)
			for _, f := range preflight(t, c, "127.0.0.1", false) {
				wantResult, isEvents := kafka.Fine, f.Subject == c.cfg.Topics.Events
				if isEvents {
					wantResult = tc.result
				}
				if f.Check == "topics" && (f.Result != wantResult || isEvents && !strings.Contains(f.Sentence+"; "+f.Do, tc.want)) {
					t.Errorf("%+v, want %s that says %q", f, wantResult, tc.want)
				}
			}
		})
	}
}

// Who may not list ACLs is told of WRITE on the transactional ids that it cannot be checked; all else is answered.
func TestPreflightMayNotListRights(t *testing.T) {
	c, restricted := newDeniable(t)
	prepared(t, c)
	deny(t, c, kadm.OpDescribe, (*kadm.ACLBuilder).Clusters)
	fs := preflight(t, restricted, restrictedHost, false)
	blind := bad(fs, kafka.NotCheckable)
	if failed := bad(fs, kafka.Failed); len(failed) > 0 || len(blind) != 1 || !strings.HasPrefix(blind[0], "acls transactional ids") {
		t.Errorf("failed %q, not checkable %q", failed, blind)
	}
}

// A missing topic that may not be created is a failure with the command that creates it.
func TestPreflightMayNotCreate(t *testing.T) {
	c, restricted := newDeniable(t)
	deny(t, c, kadm.OpCreate, (*kadm.ACLBuilder).Clusters)
	deny(t, c, kadm.OpCreate, func(b *kadm.ACLBuilder) *kadm.ACLBuilder { return b.Topics(c.cfg.Topics.DLQ) })
	fs := preflight(t, restricted, restrictedHost, false)
	failed := bad(fs, kafka.Failed)
	if len(failed) != 1 || !strings.HasPrefix(failed[0], "topics "+c.cfg.Topics.DLQ) || !strings.Contains(failed[0], "create it by hand: kafka-topics.sh") {
		t.Errorf("failed: %q", failed)
	}
	// Beside them some brokers' ACLs leave it open what the transactional ids are allowed.
	warned := slices.DeleteFunc(bad(fs, kafka.Warning), func(w string) bool { return !strings.HasPrefix(w, "topics ") })
	if len(warned) != 3 || !strings.Contains(warned[0], "run creates it with 6 partitions") {
		t.Errorf("warnings: %q", warned)
	}
}

// Brokers that are there and do not answer end it in time, and nothing that depends on them is called failed.
func TestPreflightEnds(t *testing.T) {
	fake, c := newFake(t)
	fake.ControlKey(int16(kmsg.Metadata), func(kmsg.Request) (kmsg.Response, error, bool) {
		fake.KeepControl()
		return nil, errors.New("cut"), true
	})
	ctx, cancel := context.WithTimeout(testContext(t), 20*time.Second)
	defer cancel()
	var fs []kafka.Finding
	c.Preflight(ctx, "127.0.0.1", false, func(f kafka.Finding) { fs = append(fs, f) })
	if failed := bad(fs, kafka.Failed); ctx.Err() != nil || len(failed) != 1 || !strings.HasPrefix(failed[0], "brokers ") || len(bad(fs, kafka.NotCheckable)) != 4 {
		t.Errorf("%v: %+v", ctx.Err(), fs)
	}
}
