//go:build long

package kafka_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"pstncalls/internal/kafka"
)

// servers are the brokers that .ci/servers has started for these tests.
type servers struct {
	t     *testing.T
	part  string
	nodes int
}

// ownServers returns the brokers of PSTNCALLS_TEST_KAFKA, if they are those of .ci/servers: nobody else's are killed.
func ownServers(t *testing.T) *servers {
	t.Helper()
	s := &servers{t: t}
	env := s.run("env")
	for part, variable := range map[string]string{"kafka": "PSTNCALLS_TEST_KAFKA", "kafka3": "PSTNCALLS_TEST_KAFKA3"} {
		brokers := os.Getenv("PSTNCALLS_TEST_KAFKA")
		if brokers != "" && slices.Contains(strings.Split(env, "\n"), "export "+variable+"="+brokers) {
			s.part, s.nodes = part, len(strings.Split(brokers, ","))
			return s
		}
	}
	t.Fatal("PSTNCALLS_TEST_KAFKA names no brokers of .ci/servers: eval \"$(.ci/servers up kafka)\"")
	return nil
}

func (s *servers) run(args ...string) string {
	s.t.Helper()
	out, err := exec.Command("../../.ci/servers", args...).CombinedOutput()
	if err != nil {
		s.t.Errorf(".ci/servers %v: %v\n%s", args, err, out)
	}
	return string(out)
}

// openAgain opens as the program does: until the brokers are there again.
func openAgain(t *testing.T, c *process, shard int32) (*kafka.Session, *kafka.Snapshot) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute) // a broker that was killed looks through its log first
	defer cancel()
	for {
		s, snap, err := c.Open(ctx, shard)
		if err == nil {
			t.Cleanup(s.Close)
			return s, snap
		}
		if kafka.IsRefused(err) || ctx.Err() != nil {
			t.Fatal(err)
		}
	}
}

// TestBrokerIsKilled kills a broker under a commit, again and again, and starts it again on its data: whatever the commit said, the
// next Open knows what came of it, and every commit is there once or not at all.
func TestBrokerIsKilled(t *testing.T) {
	brokers := ownServers(t)
	c := newCluster(t)
	prepared(t, c)
	var at kafka.Point
	var armed bool
	var up sync.WaitGroup
	kill := func() {
		if !armed {
			return
		}
		armed = false
		brokers.run("kill", brokers.part, fmt.Sprint(rand.IntN(brokers.nodes)))
		up.Go(func() { brokers.run("up", brokers.part) })
	}
	const withEnd kafka.Point = "while the end is under way"
	victim := with(t, c, func(cfg *kafka.Config) {
		cfg.Observer = observe(func(_ int32, p kafka.Point) {
			if p == at {
				kill()
			}
		})
		cfg.Dialer = gatedDialer(func(key kmsg.Key) {
			if at == withEnd && key == kmsg.EndTxn {
				up.Go(kill)
			}
		})
	})
	want := []string{}
	committed, lost := 0, 0
	for round := range 3 {
		for _, at = range []kafka.Point{kafka.AtBegin, kafka.AtProduced, kafka.AtEnd, withEnd, kafka.AtCommitted} {
			s, snap := openAgain(t, victim, 0)
			name := fmt.Sprintf("round %d, %s", round, at)
			armed = true
			err := s.Commit(batch(s, name))
			s.Close()
			up.Wait()
			if armed {
				t.Fatalf("%s: no broker was killed", name)
			}
			_, next := openAgain(t, c, 0)
			switch n := next.Mark.N - snap.Mark.N; {
			case n == 1:
				want = append(want, name)
				committed++
			case n != 0 || err == nil:
				t.Errorf("%s: the commit said %v, the mark went from %d to %d", name, err, snap.Mark.N, next.Mark.N)
			default:
				lost++
			}
			slices.Sort(want)
			checkVisible(t, c, want)
			t.Logf("%s: %v; committed: %v", name, err, next.Mark.N > snap.Mark.N)
		}
	}
	t.Logf("%d commits under a dying broker: %d committed, %d not; none in part, none twice", committed+lost, committed, lost)

	if brokers.nodes == 3 {
		t.Run("replica down", func(t *testing.T) { replicaDown(t, brokers) })
	}
}

// replicaDown: a topic that wants all its replicas takes no records while one is down. That is said, and it goes on when it is back.
func replicaDown(t *testing.T, brokers *servers) {
	c := newCluster(t)
	prepared(t, c)
	alterTopic(t, c, c.cfg.Topics.Events, "min.insync.replicas", "3")
	s, _ := open(t, c, 0)
	for ctx := testContext(t); s.Commit(batch(s, "kept")) != nil && ctx.Err() == nil; { // until the replicas killed before have caught up
		s, _ = openAgain(t, c, 0)
	}
	s.Close()
	// A commit is answered before its markers are written; with a replica down they could not be, and nobody could be the next owner.
	decided(t, c, c.cfg.Topics.Events)
	decided(t, c, c.cfg.Topics.State)
	brokers.run("kill", brokers.part, "2")
	hasty := as(t, c, "hasty")
	hasty.SetLimits(20*time.Second, 6*time.Second, 18*time.Second)
	s, _ = openAgain(t, hasty, 0)
	err := s.Commit(batch(s, "lost"))
	if err == nil || !strings.Contains(kafka.Explain(err), "min.insync.replicas") || !strings.Contains(kafka.Explain(err), "bring them back") {
		t.Errorf("with a replica down: got %s", kafka.Explain(err))
	}
	brokers.run("up", brokers.part)
	s, snap := openAgain(t, c, 0)
	if snap.Mark.N != 1 {
		t.Errorf("commit mark: got %d, want 1", snap.Mark.N)
	}
	for ctx := testContext(t); s.Commit(batch(s, "later")) != nil && ctx.Err() == nil; { // until the replica has caught up
		s, _ = openAgain(t, c, 0)
	}
	checkVisible(t, c, []string{"kept", "later"})
}
