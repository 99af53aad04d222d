package kafka_test

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"pstncalls/internal/kafka"
)

// Somebody else's transaction is open on the state partition, before what the old owner has committed: nobody sees that until it is
// decided. The claim lies behind it, so the new owner waits, where the last stable offset would tell it that there is no more.
func TestOpenReadsBehindAnOpenTransaction(t *testing.T) {
	c := newCluster(t)
	prepared(t, c)
	old, _ := open(t, c, 0)
	foreign := produce(t, c, c.cfg.Group+"-foreign", nil, at(c.cfg.Topics.State, 0, "contoso/pstn/foreign", "aborted"))
	commit(t, old, batch(old, "one"))
	if end, stable := offsets(t, c, c.cfg.Topics.State, endOffsets), offsets(t, c, c.cfg.Topics.State, committedOffsets); stable[0] >= end[0]-2 {
		t.Fatalf("the last stable offset is %d of %d: it hides no commit", stable[0], end[0])
	}
	decided := false
	_, snap := open(t, with(t, c, func(cfg *kafka.Config) {
		cfg.Instance = "second"
		cfg.Observer = observe(func(_ int32, p kafka.Point) {
			if p == kafka.AtClaimed {
				decided = true
				if err := foreign.EndTransaction(testContext(t), kgo.TryAbort); err != nil {
					t.Error(err)
				}
			}
		})
	}), 0)
	if _, ok := snap.State["contoso/pstn/one"]; !decided || !ok || snap.Mark.N != 1 || len(snap.State) != 1 {
		t.Errorf("decided %t; got %+v, want the state of commit 1", decided, snap)
	}
}
