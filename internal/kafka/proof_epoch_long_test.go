//go:build long

package kafka_test

import (
	"encoding/json"
	"testing"
	"time"

	"pstncalls/internal/kafka"
)

// TestEpochsRollOver: every transaction uses up one of a producer's 32,767 epochs; what comes then is a new producer id, in the same
// session, without an error or a gap.
func TestEpochsRollOver(t *testing.T) {
	const commits = 33_500
	c := newCluster(t)
	prepared(t, c)
	s, _ := open(t, c, 0)
	began := time.Now()
	for n := int64(1); n <= commits; n++ {
		if got := s.Next(); got != n {
			t.Fatalf("next commit: got %d, want %d", got, n)
		}
		if err := s.Commit(kafka.Batch{At: time.Now()}); err != nil {
			t.Fatalf("commit %d after %v: %v", n, time.Since(began), err)
		}
	}
	t.Logf("%d commits in %v", commits, time.Since(began).Round(time.Second))
	decided(t, c, c.cfg.Topics.State)
	next := int64(0) // the mark of no commit comes first
	var ids []int64
	var epochs []int16 // the highest of each
	for _, r := range dump(t, c, c.cfg.Topics.State) {
		if r.Partition != 0 || string(r.Key) != "commit" {
			continue
		}
		var m kafka.Mark
		if err := json.Unmarshal(r.Value, &m); err != nil || m.N != next {
			t.Fatalf("mark at offset %d: got %d, %v; want %d", r.Offset, m.N, err, next)
		}
		next++
		if len(ids) == 0 || ids[len(ids)-1] != r.ProducerID {
			ids, epochs = append(ids, r.ProducerID), append(epochs, r.ProducerEpoch)
		}
		epochs[len(epochs)-1] = max(epochs[len(epochs)-1], r.ProducerEpoch)
	}
	t.Logf("producer ids %v, highest epochs %v", ids, epochs)
	if next != commits+1 || len(ids) != 2 || epochs[0] < 32_000 {
		t.Errorf("got %d marks of producers %v with epochs up to %v; want %d, of two producers, the first's epochs used up", next, ids, epochs, commits+1)
	}
	deposed := s
	successor, snap := open(t, as(t, c, "second"), 0)
	if snap.Mark.N != commits {
		t.Errorf("commit mark: got %d, want %d", snap.Mark.N, commits)
	}
	if err := deposed.Commit(kafka.Batch{At: time.Now()}); !kafka.FencedOrTimedOut(err) {
		t.Errorf("the deposed owner's commit after the roll-over: got %v, want one of the four faces", err)
	}
	commit(t, successor, kafka.Batch{At: time.Now()})
}
