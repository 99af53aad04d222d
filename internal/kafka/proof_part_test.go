package kafka_test

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"pstncalls/internal/kafka"
)

// A broker has lost track of the producer, in a partition whose older records retention, or somebody, has deleted. The client then
// takes a new epoch by itself, which aborts what the transaction holds, and sends the rest again: End would commit a part.
func TestCommitOfAPart(t *testing.T) {
	for _, lost := range []*kerr.Error{kerr.OutOfOrderSequenceNumber, kerr.UnknownProducerID, kerr.InvalidProducerIDMapping, kerr.InvalidProducerEpoch} {
		t.Run(lost.Message, func(t *testing.T) {
			c := newCluster(t)
			prepared(t, c)
			w := &wire{key: kmsg.Produce, forward: true, answer: func(_ kmsg.Request, resp kmsg.Response) {
				p := &resp.(*kmsg.ProduceResponse).Topics[0].Partitions[0]
				p.ErrorCode, p.LogStartOffset = lost.Code, 1<<40
			}}
			s, _ := open(t, with(t, c, func(cfg *kafka.Config) { cfg.Dialer = w.dial }), 0)
			commit(t, s, batch(s, "first"))
			second := batch(s, "first") // the same keys, and so the same partitions
			w.armed.Store(true)
			err := s.Commit(second)
			if err == nil || w.armed.Load() {
				t.Errorf("the commit said %v", err)
			}
			s.Close()
			next, snap := open(t, as(t, c, "next"), 0)
			if snap.Mark.N != 1 {
				t.Errorf("commit mark: got %d, want 1", snap.Mark.N)
			}
			checkVisible(t, c, []string{"first"})
			commit(t, next, batch(next, "later"))
			checkVisible(t, c, []string{"first", "later"})
		})
	}
}
