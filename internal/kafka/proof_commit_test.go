package kafka_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"pstncalls/internal/kafka"
)

func TestCommitIsAtomicAndCounted(t *testing.T) {
	c := newCluster(t)
	prepared(t, c)
	s, _ := open(t, c, 0)
	var want []string
	for i := range 3 {
		name := fmt.Sprint("row", i)
		if got := s.Next(); got != int64(i+1) {
			t.Fatalf("next commit: got %d, want %d", got, i+1)
		}
		commit(t, s, batch(s, name))
		want = append(want, name)
		_, snap := open(t, as(t, c, "reader"), 0) // fences s: each round goes on with a new session
		if snap.Mark.N != int64(i+1) {
			t.Errorf("commit mark: got %d, want %d", snap.Mark.N, i+1)
		}
		s, _ = open(t, c, 0)
		checkVisible(t, c, want)
	}
}

// checkVisible checks that events, rejects and state hold the same rows, all of them or none.
func checkVisible(t *testing.T, c *process, want []string) {
	t.Helper()
	for _, topic := range []string{c.cfg.Topics.Events, c.cfg.Topics.DLQ, c.cfg.Topics.State} {
		decided(t, c, topic)
	}
	for _, topic := range []string{c.cfg.Topics.Events, c.cfg.Topics.DLQ} {
		if diff := cmp.Diff(want, keys(t, c, topic)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", topic, diff)
		}
	}
	v, err := c.ReadState(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	got := []string{}
	for k := range v.State {
		got = append(got, strings.TrimPrefix(k, "contoso/pstn/"))
	}
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("state (-want +got):\n%s", diff)
	}
}

// A record that fails takes the whole commit with it: the client itself would commit the others.
func TestCommitProduceError(t *testing.T) {
	for _, tc := range []struct {
		name  string
		topic func(kafka.Topics) string
		err   *kerr.Error
	}{
		{"events too large", func(t kafka.Topics) string { return t.Events }, kerr.MessageTooLarge},
		{"rejects too large", func(t kafka.Topics) string { return t.DLQ }, kerr.MessageTooLarge},
		{"state too large", func(t kafka.Topics) string { return t.State }, kerr.MessageTooLarge},
		{"events denied", func(t kafka.Topics) string { return t.Events }, kerr.TopicAuthorizationFailed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			fake, c := newFake(t)
			prepared(t, c)
			s, _ := open(t, c, 0)
			commit(t, s, batch(s, "kept"))
			topic := tc.topic(c.cfg.Topics)
			fault := fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: topic, Err: tc.err, Count: 1})
			err := s.Commit(batch(s, "lost"))
			if !errors.Is(err, tc.err) || fault.Hits() != 1 {
				t.Fatalf("got %v after %d faults, want %v after one", err, fault.Hits(), tc.err)
			}
			for _, topic := range []string{c.cfg.Topics.Events, c.cfg.Topics.DLQ, c.cfg.Topics.State} {
				if diff := cmp.Diff(offsets(t, c, topic, endOffsets), offsets(t, c, topic, committedOffsets)); diff != "" {
					t.Errorf("%s: a transaction was left open (-end +stable):\n%s", topic, diff)
				}
			}
			if err := s.Commit(batch(s, "dead")); !errors.Is(err, tc.err) {
				t.Errorf("dead session: got %v, want its cause", err)
			}
			next, _ := open(t, c, 0)
			commit(t, next, batch(next, "later"))
			checkVisible(t, c, []string{"kept", "later"})
		})
	}
}

// What a broker answers to a commit, or does not, and what it has done: two things. Each answer comes once, of a broker that has done
// what it was asked and of one that has not. Whatever Commit makes of it, nothing is assumed: where it says nil, all is committed;
// where it does not, the session is dead, the next Open tells, and a program that goes by that publishes every row once.
func TestCommitEndAnswers(t *testing.T) {
	type row struct {
		name string
		key  kmsg.Key
		err  *kerr.Error // nil: no answer
		cut  bool        // the connection ends in its place
	}
	rows := []row{
		{"nothing, until the commit's own deadline", kmsg.EndTxn, nil, false},
		{"connection closed", kmsg.EndTxn, nil, true},
		{"connection closed under records", kmsg.Produce, nil, true},
	}
	for _, err := range []*kerr.Error{kerr.RequestTimedOut, kerr.NetworkException, kerr.ConcurrentTransactions, kerr.NotCoordinator, kerr.CoordinatorNotAvailable, kerr.CoordinatorLoadInProgress,
		kerr.UnknownServerError, kerr.ProducerFenced, kerr.InvalidProducerEpoch, kerr.InvalidProducerIDMapping, kerr.InvalidTxnState, kerr.TransactionAbortable} {
		rows = append(rows, row{"end", kmsg.EndTxn, err, false})
	}
	for _, err := range []*kerr.Error{kerr.UnknownTopicID, kerr.UnknownTopicOrPartition, kerr.RequestTimedOut, kerr.NotLeaderForPartition, kerr.NotEnoughReplicasAfterAppend,
		kerr.UnknownServerError, kerr.ConcurrentTransactions, kerr.InvalidProducerIDMapping, kerr.OutOfOrderSequenceNumber, kerr.UnknownProducerID} {
		rows = append(rows, row{"produce", kmsg.Produce, err, false})
	}
	for _, err := range []*kerr.Error{kerr.UnknownTopicOrPartition, kerr.RequestTimedOut, kerr.ConcurrentTransactions, kerr.NotCoordinator, kerr.CoordinatorNotAvailable, kerr.CoordinatorLoadInProgress,
		kerr.UnknownServerError, kerr.InvalidProducerIDMapping} {
		rows = append(rows, row{"partitions", kmsg.AddPartitionsToTxn, err, false})
	}
	for _, r := range rows {
		name := r.name
		if r.err != nil {
			name += " " + r.err.Message
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t)
			if r.key == kmsg.AddPartitionsToTxn && transactionVersion(t, c) > 1 { // there the client sends none
				_, c = newFake(t, kfake.MaxVersions(kversion.V3_7_0()))
			}
			prepared(t, c)
			var want []string
			for _, done := range []bool{false, true} {
				w := &wire{key: r.key, forward: done, cut: r.cut}
				if r.err != nil {
					w.answer = func(req kmsg.Request, resp kmsg.Response) { answerWith(req, resp, r.err.Code) }
				}
				p := with(t, c, func(cfg *kafka.Config) { cfg.Dialer = w.dial })
				if r.err == nil && !r.cut {
					p.SetLimits(20*time.Second, 12*time.Second, 3*time.Second)
				}
				s, before := open(t, p, 0)
				first, second := fmt.Sprintf("first, done %t", done), fmt.Sprintf("second, done %t", done)
				commit(t, s, batch(s, first))
				w.armed.Store(true)
				err := s.Commit(batch(s, second))
				if w.armed.Load() {
					t.Fatalf("done %t: nothing was answered so: %v", done, err)
				}
				if err != nil && s.Commit(batch(s, "dead")) == nil {
					t.Errorf("done %t: a session whose outcome is unknown committed", done)
				}
				s.Close()
				next, snap := open(t, as(t, c, "next"), 0)
				made := snap.Mark.N - before.Mark.N
				t.Logf("done %t: the commit said %v; committed: %t", done, err, made == 2)
				if committed := err == nil || done && r.key == kmsg.EndTxn; committed != (made == 2) || !committed && made != 1 {
					t.Errorf("done %t: %d commits were made, want committed %t", done, made, committed)
				}
				if made < 2 { // what the program does: the row is still at Graph
					commit(t, next, batch(next, second))
				}
				next.Close()
				want = append(want, first, second)
				slices.Sort(want)
				checkVisible(t, c, want)
			}
		})
	}
}

// answerWith writes an error over the answer to a request, for everything that was asked.
func answerWith(req kmsg.Request, resp kmsg.Response, code int16) {
	switch resp := resp.(type) {
	case *kmsg.EndTxnResponse:
		resp.ErrorCode = code
	case *kmsg.ProduceResponse:
		resp.Topics = nil
		for _, topic := range req.(*kmsg.ProduceRequest).Topics {
			rt := kmsg.NewProduceResponseTopic()
			rt.Topic, rt.TopicID = topic.Topic, topic.TopicID
			for _, partition := range topic.Partitions {
				rp := kmsg.NewProduceResponseTopicPartition()
				rp.Partition, rp.ErrorCode, rp.BaseOffset = partition.Partition, code, -1
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.Topics = append(resp.Topics, rt)
		}
	case *kmsg.AddPartitionsToTxnResponse:
		resp.Topics = nil
		for _, topic := range req.(*kmsg.AddPartitionsToTxnRequest).Topics {
			rt := kmsg.NewAddPartitionsToTxnResponseTopic()
			rt.Topic = topic.Topic
			for _, partition := range topic.Partitions {
				rp := kmsg.NewAddPartitionsToTxnResponseTopicPartition()
				rp.Partition, rp.ErrorCode = partition, code
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.Topics = append(resp.Topics, rt)
		}
	}
}

func TestFencedOrTimedOut(t *testing.T) {
	for _, err := range []error{kerr.InvalidProducerEpoch, kerr.ProducerFenced, kerr.InvalidTxnState, kerr.OperationNotAttempted} {
		if !kafka.FencedOrTimedOut(fmt.Errorf("shard 1: %w", err)) {
			t.Errorf("%v: got false", err)
		}
	}
	for _, err := range []error{nil, kerr.MessageTooLarge, kerr.RequestTimedOut, errors.New("x")} {
		if kafka.FencedOrTimedOut(err) {
			t.Errorf("%v: got true", err)
		}
	}
}
