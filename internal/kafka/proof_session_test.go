package kafka_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"pstncalls/internal/kafka"
)

func TestOpenFencesThePredecessor(t *testing.T) {
	for name, make := range map[string]func(testing.TB) *process{
		"as configured": func(t testing.TB) *process { return newCluster(t) },
		"before KIP-890": func(t testing.TB) *process {
			_, c := newFake(t, kfake.MaxVersions(kversion.V3_7_0()))
			return c
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := make(t)
			prepared(t, c)
			old, _ := open(t, c, 0)
			commit(t, old, batch(old, "before"))

			_, snap := open(t, as(t, c, "second"), 0)
			err := old.Commit(batch(old, "after"))
			if !kafka.FencedOrTimedOut(err) {
				t.Errorf("the deposed owner's commit: got %v, want one of the four faces", err)
			}
			if got, want := keys(t, c, c.cfg.Topics.Events), []string{"before"}; !cmp.Equal(got, want) {
				t.Errorf("events: got %v, want %v", got, want)
			}
			if snap.Previous == nil || snap.Previous.Instance != "first" || snap.Previous.Released != nil {
				t.Errorf("previous claim: got %+v, want the first's, not released", snap.Previous)
			}
			if err := old.Commit(batch(old, "again")); err == nil {
				t.Error("a dead session committed")
			}
		})
	}
}

func TestOpenAbortsWhatWasLeftOpen(t *testing.T) {
	c := newCluster(t)
	prepared(t, c)
	var s *kafka.Session
	var left bool
	leaver := with(t, c, func(cfg *kafka.Config) {
		cfg.Observer = observe(func(_ int32, p kafka.Point) {
			if p == kafka.AtProduced && s != nil && s.Next() == 2 {
				left = true
				s.Close() // as a crash does: no End is sent
			}
		})
	})
	s, _ = open(t, leaver, 0)
	commit(t, s, batch(s, "kept"))
	if err := s.Commit(batch(s, "lost")); err == nil || !left {
		t.Fatalf("abandoned commit: error %v, left %v", err, left)
	}
	stable, end := offsets(t, c, c.cfg.Topics.State, committedOffsets), offsets(t, c, c.cfg.Topics.State, endOffsets)
	if stable[0] >= end[0] {
		t.Fatal("no transaction was left open: the test proves nothing")
	}

	next, snap := open(t, as(t, c, "second"), 0)
	if diff := cmp.Diff(map[string][]byte{"contoso/pstn/kept": []byte("kept")}, snap.State); diff != "" {
		t.Errorf("state (-want +got):\n%s", diff)
	}
	if got := next.Next(); got != 2 {
		t.Errorf("next commit: got %d, want 2", got)
	}
	commit(t, next, batch(next, "later"))
	if got, want := keys(t, c, c.cfg.Topics.Events), []string{"kept", "later"}; !cmp.Equal(got, want) {
		t.Errorf("events: got %v, want %v", got, want)
	}
}

func TestOpenReadsTheState(t *testing.T) {
	c := newCluster(t)
	prepared(t, c)
	s, snap := open(t, c, 1)
	if len(snap.State) != 0 || snap.Mark.N != 0 || snap.Meta == nil {
		t.Fatalf("first start: got %+v", snap)
	}
	commit(t, s, kafka.Batch{State: []kafka.Record{rec("a", "1"), rec("b", "1")}, At: time.Now()})
	commit(t, s, kafka.Batch{State: []kafka.Record{rec("a", "2"), {Key: []byte("b")}, rec("c", "1")}, At: time.Now()})
	if err := s.Release([]kafka.Record{rec("d", "1")}, nil); err != nil {
		t.Fatal(err)
	}
	_, snap = open(t, as(t, c, "second"), 1)
	want := map[string][]byte{"a": []byte("2"), "c": []byte("1"), "d": []byte("1")}
	if diff := cmp.Diff(want, snap.State); diff != "" {
		t.Errorf("state (-want +got):\n%s", diff)
	}
	if snap.Mark.N != 3 || snap.Previous == nil || snap.Previous.Released == nil {
		t.Errorf("got mark %+v, previous %+v; want commit 3 and a released claim", snap.Mark, snap.Previous)
	}
}

// The order fence, claim, read: from the fence on the old owner can commit nothing, so the read cannot miss anything of it.
func TestOpenOrder(t *testing.T) {
	for _, point := range []kafka.Point{kafka.AtFenced, kafka.AtClaimed, kafka.AtState} {
		t.Run(string(point), func(t *testing.T) {
			c := newCluster(t)
			prepared(t, c)
			old, _ := open(t, c, 0)
			commit(t, old, batch(old, "one"))
			var tried error
			var order []kafka.Point
			_, snap := open(t, with(t, c, func(cfg *kafka.Config) {
				cfg.Instance = "second"
				cfg.Observer = observe(func(_ int32, p kafka.Point) {
					if len(order) == 0 || order[len(order)-1] != p {
						order = append(order, p)
					}
					if p == point && tried == nil {
						tried = old.Commit(batch(old, "two"))
						if tried == nil {
							tried = errors.New("committed")
						}
					}
				})
			}), 0)
			if !kafka.FencedOrTimedOut(tried) {
				t.Errorf("old owner's commit at %s: got %v, want fenced", point, tried)
			}
			want := []kafka.Point{kafka.AtFenced, kafka.AtBegin, kafka.AtProduced, kafka.AtEnd, kafka.AtCommitted, kafka.AtClaimed, kafka.AtState, kafka.AtReady}
			if diff := cmp.Diff(want, order); diff != "" {
				t.Errorf("points (-want +got):\n%s", diff)
			}
			if snap.Mark.N != 1 || len(snap.State) != 1 {
				t.Errorf("got %+v, want the state of commit 1", snap)
			}
		})
	}
}

// The old owner commits until the very instant in which it is fenced: the new one begins with that commit. Whatever is looked up
// before the fence, an end of the partition, say, is out of date by then.
func TestOpenReadsUpToItsFence(t *testing.T) {
	fake, c := newFake(t)
	prepared(t, c)
	old, _ := open(t, c, 0)
	commit(t, old, batch(old, "one"))
	var last error
	fenced := false
	fake.ControlKey(kmsg.InitProducerID.Int16(), func(kmsg.Request) (kmsg.Response, error, bool) {
		fenced = true
		fake.SleepControl(func() { last = old.Commit(batch(old, "two")) })
		return nil, nil, false
	})
	_, snap := open(t, as(t, c, "second"), 0)
	if !fenced || last != nil {
		t.Fatalf("fenced %t, and the commit before that: %v", fenced, last)
	}
	if _, ok := snap.State["contoso/pstn/two"]; !ok || snap.Mark.N != 2 {
		t.Errorf("it begins with commit %d, want 2, the last before its fence", snap.Mark.N)
	}
}

// The negative control of TestOpenOrder: a reader that has not fenced sees a state to which the old owner still adds. A session
// that began with this state would publish "two" a second time.
func TestReadingBeforeTheFenceMissesCommits(t *testing.T) {
	c := newCluster(t)
	prepared(t, c)
	old, _ := open(t, c, 0)
	commit(t, old, batch(old, "one"))

	early, err := c.ReadState(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	commit(t, old, batch(old, "two")) // nothing hinders it: it is still the owner
	_, snap := open(t, as(t, c, "second"), 0)

	if _, ok := early.State["contoso/pstn/two"]; ok {
		t.Error("the early read saw a later commit")
	}
	if _, ok := snap.State["contoso/pstn/two"]; !ok {
		t.Error("Open missed what was committed before its fence")
	}
	if got, want := keys(t, c, c.cfg.Topics.Events), []string{"one", "two"}; !cmp.Equal(got, want) {
		t.Errorf("events: got %v, want %v", got, want)
	}
}

// What others see of a shard's owner: its claim, which is not released if the one before was, and whether it commits.
func TestLook(t *testing.T) {
	c := newCluster(t)
	prepared(t, c)
	s, _ := open(t, c, 0)
	if err := s.Release(nil, nil); err != nil {
		t.Fatal(err)
	}
	var last kafka.Look
	look := func(when, instance string, released, moved bool) {
		t.Helper()
		decided(t, c, c.cfg.Topics.State)
		got, err := c.Look(testContext(t), 0, last)
		if err != nil || got.Claim.Instance != instance || (got.Claim.Released != nil) != released || (got.Next > last.Next) != moved {
			t.Errorf("%s: got %+v after %+v, %v; want the claim of %s, released %v, moved %v", when, got, last, err, instance, released, moved)
		}
		last = got
	}
	look("after a hand-over", "first", true, true)
	next, _ := open(t, as(t, c, "second"), 0)
	look("after a claim", "second", false, true)
	look("idle", "second", false, false)
	commit(t, next, batch(next, "row"))
	look("after a commit", "second", false, true)
	produce(t, c, c.cfg.Group+"-other", &doAbort, at(c.cfg.Topics.State, 0, "x", "aborted"))
	look("after an abort", "second", false, false)
}

// The barrier ends the read although another id's open transaction lies behind it: the tail of a state partition is never waited for.
func TestOpenStopsAtItsBarrier(t *testing.T) {
	c := newCluster(t)
	prepared(t, c)
	var stranger bool
	_, snap := open(t, with(t, c, func(cfg *kafka.Config) {
		cfg.Observer = observe(func(_ int32, p kafka.Point) {
			if p == kafka.AtClaimed {
				stranger = true
				produce(t, c, c.cfg.Group+"-stranger", nil, at(c.cfg.Topics.State, 0, "x", "open"))
				produce(t, c, c.cfg.Group+"-other", &doAbort, at(c.cfg.Topics.State, 0, "y", "aborted"))
			}
		})
	}), 0)
	if !stranger || len(snap.State) != 0 {
		t.Errorf("stranger %v, state %v; want none", stranger, snap.State)
	}
}

func TestPartitioner(t *testing.T) {
	// murmur2 of Kafka's own tests.
	for key, hash := range map[string]int32{"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536,
		"a-little-bit-longer-string": -1486304829, "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971, "abc": 479470107} {
		for _, n := range []int32{1, 3, 6, 12, 1009} {
			want := (hash & 0x7fffffff) % n
			if got := kafka.ShardOf(key, n); got != want {
				t.Errorf("kafka.ShardOf(%q, %d): got %d, want %d", key, n, got, want)
			}
		}
	}
}

func TestRecordsLandWhereTheyBelong(t *testing.T) {
	c := newCluster(t)
	l := prepared(t, c)
	s, _ := open(t, c, 1)
	commit(t, s, kafka.Batch{Events: []kafka.Record{rec("21", ""), rec("foobar", ""), rec("abc", "")}, State: []kafka.Record{rec("21", "x"), rec("foobar", "x")}, At: time.Now()})
	for _, r := range dump(t, c, c.cfg.Topics.Events) {
		if want := kafka.ShardOf(string(r.Key), l.EventsPartitions); r.Partition != want {
			t.Errorf("event %s: partition %d, want %d", r.Key, r.Partition, want)
		}
	}
	n := 0
	for _, r := range dump(t, c, c.cfg.Topics.State) {
		if k := string(r.Key); k == "21" || k == "foobar" {
			n++
			if r.Partition != 1 {
				t.Errorf("state record %s: partition %d, want the shard, 1", k, r.Partition)
			}
		}
	}
	if n != 2 {
		t.Errorf("got %d state records, want 2", n)
	}
}
