package kafka_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"

	"pstncalls/internal/kafka"
)

// TestCompactionUnderTransactions lets the brokers compact the state all the time, while transactions on it are committed, aborted
// by the session and by others, and left open and then fenced; records are written anew and deleted, ledger records are merged and
// dropped. Every Open finds exactly what was committed.
func TestCompactionUnderTransactions(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	prepared(t, c)
	topic := c.cfg.Topics.State
	for name, value := range map[string]string{"segment.ms": "100", "min.cleanable.dirty.ratio": "0.01", "delete.retention.ms": "100", "max.compaction.lag.ms": "1000"} {
		alterTopic(t, c, topic, name, value)
	}
	w := &stateWriter{t: t, rnd: rand.New(rand.NewPCG(1, 2)), want: map[string][]byte{}, seqs: map[int][]int{}}

	opens, cleanedUnderOpen, aborted := 0, 0, 0
	check := func(instance string) *kafka.Session {
		opens++
		s, snap := open(t, as(t, c, instance), 0)
		if diff := cmp.Diff(w.want, snap.State); diff != "" || snap.Mark.N != w.commits {
			t.Fatalf("open %d: commit %d, want %d; state (-want +got):\n%s", opens, snap.Mark.N, w.commits, diff)
		}
		return s
	}
	ctx := testContext(t)
	for round := 0; round < 4 || c.fake == nil && cleanedUnderOpen < 3; round++ {
		if ctx.Err() != nil {
			t.Fatalf("the cleaner ran under an open transaction in %d of %d rounds", cleanedUnderOpen, round)
		}
		s := check("worker")
		for began := time.Now(); w.commits%10 != 9 || c.fake == nil && time.Since(began) < 250*time.Millisecond; { // some segments
			w.commit(s)
		}
		w.commit(s)

		// Aborted by the session: one of the records is too large.
		before := offsets(t, c, topic, endOffsets)[0]
		b := kafka.Batch{At: time.Now(), State: append(w.garbage(), noise(1, 2_000_000)...)}
		if err := s.Commit(b); !errors.Is(err, kerr.MessageTooLarge) {
			t.Fatalf("got %v, want MESSAGE_TOO_LARGE", err)
		}
		if offsets(t, c, topic, endOffsets)[0] > before+1 {
			aborted++
		}
		s = check("after an abort")

		// Aborted by somebody else, over keys that are there.
		for key := range w.want {
			produce(t, c, c.cfg.Group+"-stranger", &doAbort, at(topic, 0, key, "aborted"))
			break
		}

		// Left open, and compacted under it.
		s.Close()
		var leaving *kafka.Session
		leaver := with(t, c, func(cfg *kafka.Config) {
			cfg.Observer = observe(func(_ int32, p kafka.Point) {
				if p == kafka.AtProduced && leaving != nil {
					leaving.Close()
				}
			})
		})
		s, _ = open(t, leaver, 0)
		leaving = s
		if err := s.Commit(kafka.Batch{At: time.Now(), State: w.garbage()}); err == nil {
			t.Fatal("it was not left open")
		}
		if stable, end := offsets(t, c, topic, committedOffsets)[0], offsets(t, c, topic, endOffsets)[0]; stable >= end {
			t.Fatal("no transaction is open")
		}
		if c.fake == nil && cleaned(t, c, topic) {
			cleanedUnderOpen++
		}
		s = check("after a fence")
		s.Close()
		if c.fake != nil {
			c.fake.Compact()
		}
	}
	check("last")
	view, err := c.ReadState(testContext(t))
	if err != nil || !maps.EqualFunc(view.State, w.want, bytes.Equal) {
		t.Errorf("read beside the owner: %v (-want +got):\n%s", err, cmp.Diff(w.want, view.State))
	}
	kept, end := len(uncommitted(t, c, topic)), offsets(t, c, topic, endOffsets)
	t.Logf("%d opens, %d commits, %d keys; %d aborted by the session; %d records are left of %d; cleaned %d times under an open transaction",
		opens, w.commits, len(w.want), aborted, kept, end[0]+end[1], cleanedUnderOpen)
	if int64(kept) > (end[0]+end[1])/2 {
		t.Errorf("%d records are left of %d: the cleaner did not run", kept, end[0]+end[1])
	}
	if aborted == 0 {
		t.Error("the session never aborted a record")
	}
}

// cleaned waits a little for the cleaner to take a record away from what lies there now.
func cleaned(t *testing.T, c *process, topic string) bool {
	t.Helper()
	before := len(uncommitted(t, c, topic))
	for until := time.Now().Add(4 * time.Second); time.Now().Before(until); time.Sleep(50 * time.Millisecond) {
		if len(uncommitted(t, c, topic)) < before {
			return true
		}
	}
	return false
}

// stateWriter commits what package state commits, to its form: records by key, and ledgers whose records are merged and dropped.
type stateWriter struct {
	t       *testing.T
	rnd     *rand.Rand
	want    map[string][]byte
	commits int64
	seqs    map[int][]int // by day: the seqs of a ledger's records
}

func ledgerKey(day, seq int) string {
	return fmt.Sprintf("contoso/pstn/ledger/2026-11-%02d/%d", day, seq)
}

func (w *stateWriter) commit(s *kafka.Session) {
	w.t.Helper()
	b := kafka.Batch{At: time.Now()}
	put := func(key string, value []byte) {
		b.State = append(b.State, kafka.Record{Key: []byte(key), Value: value})
		if value == nil {
			delete(w.want, key)
		} else {
			w.want[key] = value
		}
	}
	n := int(w.commits)
	put("contoso/pstn/tenant", fmt.Append(nil, n))
	day := 1 + w.rnd.IntN(3)
	put(fmt.Sprint("contoso/pstn/scan/", day), map[bool][]byte{true: fmt.Append(nil, n)}[w.rnd.IntN(3) > 0]) // or deleted
	seqs := append(w.seqs[day], n)
	put(ledgerKey(day, n), []byte{1, byte(n), byte(n >> 8)})
	switch {
	case len(seqs) >= 8: // merged into the last
		var all []byte
		for _, seq := range seqs {
			all = append(all, w.want[ledgerKey(day, seq)]...)
		}
		for _, seq := range seqs[:len(seqs)-1] {
			put(ledgerKey(day, seq), nil)
		}
		put(ledgerKey(day, n), all)
		seqs = seqs[len(seqs)-1:]
	case w.rnd.IntN(20) == 0: // dropped
		for _, seq := range seqs {
			put(ledgerKey(day, seq), nil)
		}
		seqs = nil
	}
	w.seqs[day] = seqs
	commit(w.t, s, b)
	w.commits++
}

// garbage is what must never be seen: new values and tombstones for keys that are there, and a new key.
func (w *stateWriter) garbage() []kafka.Record {
	rs := []kafka.Record{rec("contoso/pstn/new", "garbage")}
	for i, key := range slices.Sorted(maps.Keys(w.want)) {
		r := rec(key, "garbage")
		if i%2 == 0 {
			r.Value = nil
		}
		rs = append(rs, r)
	}
	return rs
}
