package kafka_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

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

// What End answers, and what is true: an error leaves it unknown, and the next Open tells all or nothing.
func TestCommitEndAnswers(t *testing.T) {
	for _, tc := range []struct {
		name      string
		err       *kerr.Error
		recovers  bool // inside Commit
		committed bool // in truth
	}{
		{"moved once", kerr.CoordinatorNotAvailable, true, true},
		{"loading once", kerr.CoordinatorLoadInProgress, true, true},
		{"timed out", kerr.RequestTimedOut, false, false},
		{"unknown", kerr.UnknownServerError, false, false},
		{"fenced", kerr.ProducerFenced, false, false},
		{"epoch", kerr.InvalidProducerEpoch, false, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			fake, c := newFake(t)
			prepared(t, c)
			s, _ := open(t, c, 0)
			commit(t, s, batch(s, "first"))
			fault := fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.EndTxn}, TxnID: c.TransactionalID(0), Err: tc.err, Count: 1})
			err := s.Commit(batch(s, "second"))
			if fault.Hits() != 1 {
				t.Fatalf("the fault did not fire: %v", err)
			}
			if tc.recovers != (err == nil) {
				// A retry may mend more than the table says; the truth below is what counts.
				t.Errorf("got error %v, want recovered %v", err, tc.recovers)
			}
			if err != nil {
				if err := s.Commit(batch(s, "dead")); err == nil {
					t.Error("a session whose outcome is unknown committed")
				}
			}
			want, n := []string{"first"}, int64(1)
			if tc.committed {
				want, n = []string{"first", "second"}, 2
			}
			_, snap := open(t, as(t, c, "second"), 0)
			if snap.Mark.N != n {
				t.Errorf("commit mark: got %d, want %d", snap.Mark.N, n)
			}
			checkVisible(t, c, want)
		})
	}
}

// The connection is cut instead of an answer: what the client makes of it may differ, what Open finds is all or nothing.
func TestCommitConnectionCut(t *testing.T) {
	fake, c := newFake(t)
	prepared(t, c)
	s, _ := open(t, c, 0)
	commit(t, s, batch(s, "first"))
	var cuts atomic.Int32
	fake.ControlKey(int16(kmsg.EndTxn), func(kmsg.Request) (kmsg.Response, error, bool) {
		cuts.Add(1)
		return nil, errors.New("cut"), true
	})
	err := s.Commit(batch(s, "second"))
	if cuts.Load() != 1 {
		t.Fatalf("cut %d times: %v", cuts.Load(), err)
	}
	_, snap := open(t, as(t, c, "second"), 0)
	want := []string{"first"}
	if snap.Mark.N == 2 {
		want = append(want, "second")
	}
	if err == nil && snap.Mark.N != 2 {
		t.Error("a commit that was answered as done is not")
	}
	checkVisible(t, c, want)
}

// End is applied and its answer lost: whatever Commit says, the truth is that all of it is committed, once.
func TestCommitReplyLost(t *testing.T) {
	_, c := newFake(t)
	prepared(t, c)
	var armed, lost atomic.Bool
	s, _ := open(t, with(t, c, func(cfg *kafka.Config) {
		cfg.Dialer = func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, address)
			return &deafConn{Conn: conn, armed: &armed, lost: &lost}, err
		}
	}), 0)
	commit(t, s, batch(s, "first"))
	armed.Store(true)
	err := s.Commit(batch(s, "second"))
	if !lost.Load() {
		t.Fatalf("no answer was lost: %v", err)
	}
	t.Logf("commit said: %v", err)
	_, snap := open(t, as(t, c, "second"), 0)
	if snap.Mark.N != 2 {
		t.Errorf("commit mark: got %d, want 2", snap.Mark.N)
	}
	checkVisible(t, c, []string{"first", "second"})
}

// deafConn drops the connection when the answer to an EndTxn arrives, once.
type deafConn struct {
	net.Conn
	armed, lost *atomic.Bool
	deaf        atomic.Bool
}

func (c *deafConn) Write(b []byte) (int, error) {
	// A request: four bytes of length, then its key.
	if len(b) >= 6 && binary.BigEndian.Uint16(b[4:]) == uint16(kmsg.EndTxn) && c.armed.CompareAndSwap(true, false) {
		c.deaf.Store(true)
	}
	return c.Conn.Write(b)
}

func (c *deafConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.deaf.Load() && n > 0 {
		c.lost.Store(true)
		c.Conn.Close()
		return 0, io.ErrUnexpectedEOF
	}
	return n, err
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
