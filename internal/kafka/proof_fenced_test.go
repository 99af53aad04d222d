package kafka_test

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"pstncalls/internal/kafka"
)

// TestFaces brings about what a session sees that was deposed, or that stood still until its transaction had timed out, before it
// produced and before it committed. Each is known for what it is, nothing of the commit is ever seen, and the next Open goes on.
func TestFaces(t *testing.T) {
	for _, tc := range []struct {
		name   string
		frozen bool
		at     kafka.Point    // where it happens
		want   [2]*kerr.Error // with transaction version 1, and 2
	}{
		{"fenced before produce", false, kafka.AtBegin, [2]*kerr.Error{kerr.ProducerFenced, kerr.InvalidProducerEpoch}},
		{"fenced before commit", false, kafka.AtEnd, [2]*kerr.Error{kerr.ProducerFenced, kerr.ProducerFenced}},
		{"frozen before produce", true, "", [2]*kerr.Error{kerr.InvalidProducerEpoch, kerr.InvalidProducerEpoch}},
		{"frozen before commit", true, kafka.AtEnd, [2]*kerr.Error{kerr.ProducerFenced, kerr.InvalidTxnState}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t)
			var armed atomic.Bool
			happen := func() {
				if !armed.CompareAndSwap(true, false) {
					return
				}
				if tc.frozen {
					waitForAbort(t, c)
				} else {
					open(t, as(t, c, "second"), 0)
				}
			}
			var produced atomic.Int32 // to whichever broker
			old := with(t, c, func(cfg *kafka.Config) {
				cfg.Observer = observe(func(_ int32, p kafka.Point) {
					if p == tc.at {
						happen()
					}
				})
				cfg.Dialer = gatedDialer(func(key kmsg.Key) {
					if tc.at != "" || key != kmsg.Produce || !armed.Load() {
						return
					}
					if produced.Add(1) > 1 { // the first one has opened the transaction
						happen()
					}
				})
			})
			if tc.frozen { // and may stand still for long: the brokers look for old transactions every ten seconds only
				old.SetLimits(2*time.Second, 50*time.Second, 55*time.Second)
			}
			prepared(t, old)
			s, _ := open(t, old, 0)
			commit(t, s, batch(s, "kept"))
			for _, topic := range topicsOf(c) { // or that one's end is taken for the next one's
				decided(t, c, topic)
			}
			lost := batch(s, "lost")
			lost.Events = append(lost.Events, noise(3, 400_000)...) // more than one request
			armed.Store(true)
			err := s.Commit(lost)
			if armed.Load() {
				t.Fatalf("it did not happen: %v", err)
			}
			if want := tc.want[transactionVersion(t, c)-1]; !kafka.FencedOrTimedOut(err) || !errors.Is(err, want) {
				t.Errorf("got %v, want %v", err, want)
			}
			if !strings.Contains(kafka.Explain(err), "another owner took the shard over, or a transaction timed out") {
				t.Errorf("explained as %s", kafka.Explain(err))
			}
			if err := s.Commit(batch(s, "dead")); err == nil {
				t.Error("a dead session committed")
			}
			aborted := 0
			for _, topic := range topicsOf(c) {
				aborted += len(uncommitted(t, c, topic)) - len(dump(t, c, topic))
			}
			if inLog := tc.at != kafka.AtBegin; inLog != (aborted > 0) {
				t.Errorf("%d records of the lost commit in the log: want any: %v", aborted, inLog)
			}
			next, snap := open(t, as(t, c, "third"), 0)
			if snap.Mark.N != 1 {
				t.Errorf("commit mark: got %d, want 1", snap.Mark.N)
			}
			commit(t, next, batch(next, "later"))
			checkVisible(t, c, []string{"kept", "later"})
		})
	}
}

// The fourth face is the client's own: it does not send a commit after it has learnt that it was fenced.
func TestFaceOfTheClient(t *testing.T) {
	c := newCluster(t)
	prepared(t, c)
	old := produce(t, c, c.TransactionalID(0), nil, at(c.cfg.Topics.Events, 0, "lost", "event"))
	open(t, c, 0)
	err := old.ProduceSync(testContext(t), at(c.cfg.Topics.Events, 0, "lost", "event")).FirstErr()
	if !kafka.FencedOrTimedOut(err) {
		t.Errorf("produce: got %v, want one of the four faces", err)
	}
	err = old.EndTransaction(testContext(t), kgo.TryCommit)
	if !errors.Is(err, kerr.OperationNotAttempted) || !kafka.FencedOrTimedOut(err) {
		t.Errorf("commit: got %v, want OPERATION_NOT_ATTEMPTED", err)
	}
	next, _ := open(t, c, 0)
	commit(t, next, batch(next, "later"))
	checkVisible(t, c, []string{"later"})
}

// A commit without a row carries the commit mark, so a deposed owner cannot make it; the client's own empty commit succeeds.
func TestEmptyCommitOfADeposedOwner(t *testing.T) {
	c := newCluster(t)
	prepared(t, c)
	s, _ := open(t, c, 0)
	commit(t, s, kafka.Batch{At: time.Now()})
	bare := produce(t, c, c.TransactionalID(1), &doCommit, at(c.cfg.Topics.DLQ, 0, "k", ""))
	open(t, as(t, c, "second"), 0)
	open(t, as(t, c, "second"), 1)
	if err := s.Commit(kafka.Batch{At: time.Now()}); !kafka.FencedOrTimedOut(err) {
		t.Errorf("got %v, want one of the four faces", err)
	}
	if _, snap := open(t, as(t, c, "third"), 0); snap.Mark.N != 1 {
		t.Errorf("commit mark: got %d, want 1", snap.Mark.N)
	}
	if err := errors.Join(bare.BeginTransaction(), bare.EndTransaction(testContext(t), kgo.TryCommit)); err != nil {
		t.Errorf("the client's empty commit: got %v: it has come to prove something", err)
	}
}

// waitForAbort waits until a transaction is open on one of the topics, and then until the brokers have ended it.
func waitForAbort(t *testing.T, c *process) {
	t.Helper()
	ctx := testContext(t)
	for _, open := range []bool{true, false} {
		for open != undecided(t, c) {
			select {
			case <-time.After(20 * time.Millisecond):
			case <-ctx.Done():
				t.Errorf("a transaction: open %v did not come", open)
				return
			}
		}
	}
}

// gatedDialer connects; before is called with the key of each request, before it is sent.
func gatedDialer(before func(kmsg.Key)) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		return &gatedConn{Conn: conn, before: before}, err
	}
}

type gatedConn struct {
	net.Conn
	before func(kmsg.Key)
}

func (c *gatedConn) Write(b []byte) (int, error) {
	if len(b) >= 6 { // a request: four bytes of length, then its key
		c.before(kmsg.Key(binary.BigEndian.Uint16(b[4:])))
	}
	return c.Conn.Write(b)
}
