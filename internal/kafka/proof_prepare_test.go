package kafka_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"pstncalls/internal/kafka"
)

func TestPrepareCreatesTopics(t *testing.T) {
	c := newCluster(t)
	l := prepare(t, c)
	if l.EventsPartitions != 6 || l.StatePartitions != 12 {
		t.Errorf("layout: got %+v, want 6 and 12 partitions", l)
	}
	tp := c.cfg.Topics
	want := map[string]map[string]string{
		tp.Events: {"cleanup.policy": "delete", "retention.ms": "7776000000"},
		tp.State: {"cleanup.policy": "compact", "retention.ms": "-1", "segment.bytes": "67108864", "min.cleanable.dirty.ratio": "0.1",
			"unclean.leader.election.enable": "false"},
		tp.DLQ:       {"cleanup.policy": "delete"},
		tp.Watermark: {"cleanup.policy": "compact"},
	}
	admin(t, c, func(ctx context.Context, adm *kadm.Client) error {
		rcs, err := adm.DescribeTopicConfigs(ctx, tp.Events, tp.State, tp.DLQ, tp.Watermark)
		for _, rc := range rcs {
			for _, kv := range rc.Configs {
				if w, ok := want[rc.Name][kv.Key]; ok {
					if kv.MaybeValue() != w {
						t.Errorf("%s: %s is %q, want %q", rc.Name, kv.Key, kv.MaybeValue(), w)
					}
					delete(want[rc.Name], kv.Key)
				}
			}
		}
		return err
	})
	for topic, left := range want {
		if len(left) > 0 {
			t.Errorf("%s: not configured: %v", topic, left)
		}
	}
	metas := 0
	for _, r := range dump(t, c, tp.State) {
		if string(r.Key) == "meta" {
			metas++
		}
	}
	if metas != 12 {
		t.Errorf("got %d metas, want one a partition", metas)
	}
	// The claims of the preparation are no crashed owner's.
	if got, err := c.Look(testContext(t), 3, kafka.Look{}); err != nil || got.Claim.Released == nil {
		t.Errorf("claim: got %+v, %v; want a released one", got, err)
	}
	before := allEnds(t, c)
	prepare(t, c)
	if diff := cmp.Diff(before, allEnds(t, c)); diff != "" {
		t.Errorf("the second Prepare wrote (-before +after):\n%s", diff)
	}
}

// used brings a cluster to where one commit has been made.
func used(t *testing.T, c *process) {
	t.Helper()
	prepared(t, c)
	s, _ := open(t, c, 0)
	commit(t, s, batch(s, "row"))
	s.Close()
}

// alterRecord writes the newest record of a key anew, changed.
func alterRecord(t *testing.T, c *process, partition int32, key, property string, value any) {
	t.Helper()
	var newest []byte
	for _, r := range dump(t, c, c.cfg.Topics.State) {
		if r.Partition == partition && string(r.Key) == key {
			newest = r.Value
		}
	}
	m := map[string]any{}
	if err := json.Unmarshal(newest, &m); err != nil {
		t.Fatalf("%s: %v", key, err)
	}
	m[property] = value
	b, _ := json.Marshal(m)
	produce(t, c, c.cfg.Group+"-alter", &doCommit, at(c.cfg.Topics.State, partition, key, string(b)))
}

func TestPrepareRefuses(t *testing.T) {
	create := func(t *testing.T, c *process, events, state string) {
		createTopic(t, c, c.cfg.Topics.Events, 3, events)
		createTopic(t, c, c.cfg.Topics.State, 2, state)
		createTopic(t, c, c.cfg.Topics.DLQ, 3, "delete")
		createTopic(t, c, c.cfg.Topics.Watermark, 1, "compact")
	}
	for _, tc := range []struct {
		name  string
		given func(*testing.T, *process)
		want  string // in the error's text
	}{
		{"state deletes", func(t *testing.T, c *process) { create(t, c, "delete", "delete") }, "cleanup.policy=compact"},
		{"state compacts and deletes", func(t *testing.T, c *process) { create(t, c, "delete", "compact,delete") }, "cleanup.policy=compact"},
		{"events compacted", func(t *testing.T, c *process) { create(t, c, "compact", "compact") }, "cleanup.policy=delete"},
		{"events compact and delete", func(t *testing.T, c *process) { create(t, c, "compact,delete", "compact") }, "cleanup.policy=delete"},
		{"partitions added", func(t *testing.T, c *process) {
			used(t, c)
			admin(t, c, func(ctx context.Context, adm *kadm.Client) error {
				rs, err := adm.CreatePartitions(ctx, 1, c.cfg.Topics.State)
				return errors.Join(err, rs.Error())
			})
		}, "was started with 2"},
		{"events re-created", func(t *testing.T, c *process) {
			used(t, c)
			deleteTopic(t, c, c.cfg.Topics.Events)
			createTopic(t, c, c.cfg.Topics.Events, 3, "delete")
		}, "re-created"},
		{"marks of shards without a commit, and events", func(t *testing.T, c *process) {
			prepared(t, c)
			open(t, c, 0) // leaves the shard's first mark
			produce(t, c, c.cfg.Group+"-other", &doCommit, at(c.cfg.Topics.Events, 0, "k", "of a lost state"))
		}, "POLL_FRESH_START"},
		{"newer meta", func(t *testing.T, c *process) { used(t, c); alterRecord(t, c, 1, "meta", "v", 2) }, "newer version"},
		{"meta without version", func(t *testing.T, c *process) { used(t, c); alterRecord(t, c, 1, "meta", "v", 0) }, "damaged"},
		{"state emptied", func(t *testing.T, c *process) {
			used(t, c)
			deleteTopic(t, c, c.cfg.Topics.State)
			createTopic(t, c, c.cfg.Topics.State, 2, "compact")
		}, "POLL_FRESH_START"},
		{"partition without meta", func(t *testing.T, c *process) {
			used(t, c)
			produce(t, c, c.cfg.Group+"-alter", &doCommit, &kgo.Record{Topic: c.cfg.Topics.State, Partition: 1, Key: []byte("x"), Value: []byte("y")})
			admin(t, c, func(ctx context.Context, adm *kadm.Client) error {
				upTo := kadm.Offsets{}
				upTo.AddOffset(c.cfg.Topics.State, 1, offsets(t, c, c.cfg.Topics.State, endOffsets)[1], -1)
				policy := func(p string) error { // Kafka removes no records of a topic that is compacted only
					rs, err := adm.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Name: "cleanup.policy", Value: &p}}, c.cfg.Topics.State)
					for _, r := range rs {
						err = errors.Join(err, r.Err)
					}
					return err
				}
				err := policy("compact,delete")
				rs, deleted := adm.DeleteRecords(ctx, upTo)
				return errors.Join(err, deleted, rs.Error(), policy("compact"))
			})
		}, "meta record is missing"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := newCluster(t)
			tc.given(t, c)
			decided(t, c, c.cfg.Topics.Events)
			before := allEnds(t, c)
			_, err := c.Prepare(testContext(t), false)
			var refused *kafka.RefusedError
			if !errors.As(err, &refused) || !kafka.IsRefused(err) || !strings.Contains(err.Error(), tc.want) || refused.Mend == "" {
				t.Errorf("got %v, want a refusal that says %q and how to mend it", err, tc.want)
			}
			if diff := cmp.Diff(before, allEnds(t, c)); diff != "" {
				t.Errorf("something was written (-before +after):\n%s", diff)
			}
		})
	}
}

// A name that is misspelt is refused before a topic of that name is there: it would stay, and nobody would miss what is in the right one.
func TestPrepareMisspelt(t *testing.T) {
	for variable, misspell := range map[string]func(*kafka.Topics) string{
		"KAFKA_EVENTS_TOPIC": func(ts *kafka.Topics) string { ts.Events += "-x"; return ts.Events },
		"KAFKA_STATE_TOPIC":  func(ts *kafka.Topics) string { ts.State += "-x"; return ts.State },
	} {
		t.Run(variable, func(t *testing.T) {
			c := newCluster(t)
			used(t, c)
			decided(t, c, c.cfg.Topics.Events)
			name := ""
			wrong := with(t, c, func(cfg *kafka.Config) { name = misspell(&cfg.Topics) })
			_, err := wrong.Prepare(testContext(t), false)
			if !kafka.IsRefused(err) || !strings.Contains(err.Error(), "put "+variable+" right") {
				t.Errorf("got %v, want a refusal that names %s", err, variable)
			}
			admin(t, c, func(ctx context.Context, adm *kadm.Client) error {
				ts, err := adm.ListTopics(ctx, name)
				if err == nil && ts.Has(name) {
					t.Errorf("topic %s was created", name)
				}
				return err
			})
		})
	}
}

// A broker that has just started may not know of a topic yet that is there.
func TestPrepareStaleBroker(t *testing.T) {
	for _, topic := range []func(kafka.Topics) string{func(ts kafka.Topics) string { return ts.Events }, func(ts kafka.Topics) string { return ts.State }} {
		fake, c := newFake(t)
		used(t, c)
		name := topic(c.cfg.Topics)
		fault := fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Metadata}, Topic: name, Err: kerr.UnknownTopicOrPartition, Count: 1})
		if _, err := c.Prepare(testContext(t), false); err != nil || fault.Hits() != 1 {
			t.Errorf("%s, unknown %d times: %v", name, fault.Hits(), err)
		}
	}
}

func TestPrepareForeignGroup(t *testing.T) {
	c := newCluster(t)
	used(t, c)
	before := allEnds(t, c)
	other := with(t, c, func(cfg *kafka.Config) { cfg.Group = "another" })
	_, err := other.Prepare(testContext(t), false)
	var foreign *kafka.ForeignGroupError
	if !errors.As(err, &foreign) || foreign.Owner != c.cfg.Group || !kafka.IsRefused(err) {
		t.Errorf("got %v, want a ForeignGroupError that names %s", err, c.cfg.Group)
	}
	if diff := cmp.Diff(before, allEnds(t, c)); diff != "" {
		t.Errorf("something was written (-before +after):\n%s", diff)
	}
}

// Claim and commit mark are read by Open, not by Prepare.
func TestOpenRefusesNewerFormat(t *testing.T) {
	for _, record := range []string{"claim", "commit", "meta"} {
		t.Run(record, func(t *testing.T) {
			c := newCluster(t)
			prepared(t, c)
			s, _ := open(t, c, 0)
			commit(t, s, batch(s, "row"))
			key := record
			if record == "claim" {
				key = "claim/" + c.cfg.Group
			}
			alterRecord(t, c, 0, key, "v", 2)
			_, _, err := c.Open(testContext(t), 0)
			if !kafka.IsRefused(err) || !strings.Contains(err.Error(), "newer version") {
				t.Errorf("got %v, want a refusal", err)
			}
		})
	}
}

func TestFreshStart(t *testing.T) {
	c := newCluster(t)
	used(t, c)
	deleteTopic(t, c, c.cfg.Topics.State)
	createTopic(t, c, c.cfg.Topics.State, 2, "compact")
	if _, err := c.Prepare(testContext(t), false); !kafka.IsRefused(err) {
		t.Fatalf("without POLL_FRESH_START: got %v", err)
	}
	if _, err := c.Prepare(testContext(t), true); err != nil {
		t.Fatalf("with it: %v", err)
	}
	if _, err := c.Prepare(testContext(t), false); err != nil {
		t.Fatalf("the next start without it: %v", err)
	}
	// The old copy's events have higher commit numbers and lie before the fresh start: they are not taken for a cut state.
	s, snap := open(t, c, 0)
	if snap.Mark.N != 0 {
		t.Errorf("mark: got %d", snap.Mark.N)
	}
	commit(t, s, batch(s, "again"))
	open(t, c, 0)
}

// A commit need not have a state record beside its mark.
func TestMarkOfACommitIsState(t *testing.T) {
	c := newCluster(t)
	prepared(t, c)
	s, _ := open(t, c, 0)
	commit(t, s, kafka.Batch{Events: []kafka.Record{event(0, 1, "row")}, At: time.Now()})
	prepare(t, c)
}

// The first commit's events are readable and its state is not yet, for the brokers write its markers one after the other: that is no
// lost state.
func TestPrepareWaitsForTheMarkers(t *testing.T) {
	fake, c := newFake(t)
	prepared(t, c)
	mark := produce(t, c, c.cfg.Group+"-first", nil, at(c.cfg.Topics.State, 1, "contoso/pstn/tenant", "{}"))
	produce(t, c, c.cfg.Group+"-events", &doCommit, at(c.cfg.Topics.Events, 0, "k", "of the first commit"))
	asked := make(chan struct{})
	once := sync.OnceFunc(func() { close(asked) })
	fake.ControlKey(int16(kmsg.ListOffsets), func(r kmsg.Request) (kmsg.Response, error, bool) {
		req := r.(*kmsg.ListOffsetsRequest)
		if req.IsolationLevel == 0 && req.Topics[0].Topic == c.cfg.Topics.State { // how far the undecided go
			once()
		}
		fake.KeepControl()
		return nil, nil, false
	})
	done := make(chan error, 1)
	go func() {
		_, err := c.Prepare(testContext(t), false)
		done <- err
	}()
	select {
	case <-asked:
	case err := <-done:
		t.Fatalf("it did not wait: %v", err)
	}
	if err := mark.EndTransaction(testContext(t), doCommit); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestAbortedEventsAreNoEvents(t *testing.T) {
	c := newCluster(t)
	createTopics(t, c)
	produce(t, c, c.cfg.Group+"-other", &doAbort, at(c.cfg.Topics.Events, 0, "k", "aborted"))
	if offsets(t, c, c.cfg.Topics.Events, endOffsets)[0] == 0 {
		t.Fatal("nothing was aborted")
	}
	prepare(t, c)
}

// Of two first starts at once one may be fenced by the other; starting again mends that, as the start-up path does.
func TestPrepareTwiceAtOnce(t *testing.T) {
	c := newCluster(t)
	createTopics(t, c)
	ctx := testContext(t)
	var all sync.WaitGroup
	for _, name := range []string{"a", "b"} {
		p := as(t, c, name)
		all.Go(func() {
			for {
				_, err := p.Prepare(ctx, false)
				if err == nil {
					return
				}
				if !kafka.FencedOrTimedOut(err) {
					t.Errorf("%s: %v", name, err)
					return
				}
			}
		})
	}
	all.Wait()
	l := prepare(t, c)
	for shard := range l.StatePartitions {
		open(t, c, shard)
	}
}

// restoreOlder replaces the state topic by what its partitions held, up to limit records each, as a restored backup does.
func restoreOlder(t *testing.T, c *process, keep func(*kgo.Record) bool) {
	t.Helper()
	old := dump(t, c, c.cfg.Topics.State)
	deleteTopic(t, c, c.cfg.Topics.State)
	createTopic(t, c, c.cfg.Topics.State, 2, "compact")
	var rs []*kgo.Record
	for _, r := range old {
		if keep(r) {
			rs = append(rs, at(r.Topic, r.Partition, string(r.Key), string(r.Value)))
		}
	}
	produce(t, c, c.cfg.Group+"-restore", &doCommit, rs...)
}

func TestRefuseCut(t *testing.T) {
	for _, tc := range []struct {
		name  string
		marks int // kept; the first is of no commit
		newer bool
	}{{"nothing left", 0, false}, {"no commit left", 1, false}, {"one of three left", 2, false}, {"a newer owner is at work", 2, true}} {
		t.Run(tc.name, func(t *testing.T) {
			c := newCluster(t)
			prepared(t, c)
			s, _ := open(t, c, 0)
			for _, name := range []string{"one", "two", "three"} {
				commit(t, s, batch(s, name))
			}
			s.Close()
			seen := map[int32]int{}
			restoreOlder(t, c, func(r *kgo.Record) bool {
				keep := r.Partition != 0 || seen[0] < tc.marks || string(r.Key) == "meta"
				if string(r.Key) == "commit" {
					seen[r.Partition]++
				}
				return keep
			})
			opener := c
			if tc.newer {
				claimed := false
				opener = with(t, c, func(cfg *kafka.Config) {
					cfg.Observer = observe(func(_ int32, p kafka.Point) {
						if p == kafka.AtClaimed && !claimed {
							claimed = true
							b, _ := json.Marshal(kafka.Claim{V: 1, Instance: "newer", Host: "other", At: time.Now().UTC()})
							produce(t, c, c.cfg.Group+"-newer", &doCommit, at(c.cfg.Topics.State, 0, "claim/"+c.cfg.Group, string(b)))
						}
					})
				})
			}
			_, _, err := opener.Open(testContext(t), 0)
			if err == nil || kafka.IsRefused(err) == tc.newer {
				t.Errorf("got %v, want refused %v", err, !tc.newer)
			}
			if want := map[bool]string{false: "cut back", true: "newer owner"}[tc.newer]; err != nil && !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want it to say %q", err, want)
			}
			if _, _, err := c.Open(testContext(t), 1); err != nil {
				t.Errorf("the other shard: %v", err)
			}
		})
	}
}
