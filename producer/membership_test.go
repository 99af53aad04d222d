//go:build long

package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// What is promised of fail-over, hand-over and a rolling restart. A machine that is busy with other things measures itself: for how
// long it kept this process waiting is printed with every figure.
const (
	failOverBound = 7 * time.Second // p95 from SIGKILL until the successors' first events can be read
	handOverBound = time.Second     // p95 from the word to stop until the successors' claims can be read; and how late a poll may come
)

// memberships are the ways to be a member of the group. With none of the two others a replica that ends in order gives its shards
// away at once: a static member keeps them until its session lapses, for it is expected back; and with the protocol consumer it is
// the brokers who say how often members ask (group.consumer.heartbeat.interval.ms, 5 s by default).
var memberships = []struct {
	name               string
	env                []string
	share              int           // of the rounds: one in so many
	failOver, handOver time.Duration // 0: not promised
}{
	{"classic", nil, 1, failOverBound, handOverBound},
	{"static", []string{staticMembers}, 2, failOverBound, 0},
	{"consumer", []string{"KAFKA_GROUP_PROTOCOL=consumer"}, 2, failOverBound, 0}, // with the 6 s and 1 s of .ci/servers
}

// rounds is how often something is done that is measured.
func rounds(t *testing.T) int {
	t.Helper()
	n := 20
	if s := os.Getenv("PSTNCALLS_TEST_ROUNDS"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

// figures prints percentiles, and fails beyond a bound.
func figures(t *testing.T, what string, ds []time.Duration, bound time.Duration) {
	t.Helper()
	if len(ds) == 0 { // what was to be measured has failed
		return
	}
	slices.Sort(ds)
	rank := func(percent int) time.Duration { return ds[(len(ds)*percent+99)/100-1].Round(time.Millisecond) }
	t.Logf("figures: %s: %d times, p50 %v, p95 %v, max %v", what, len(ds), rank(50), rank(95), rank(100))
	if p95 := rank(95); bound > 0 && p95 > bound {
		t.Errorf("%s: p95 is %v, promised are %v: %v", what, p95, bound, ds)
	}
}

// TestMembersFailOver kills replicas that own something, one after another.
func TestMembersFailOver(t *testing.T) {
	for _, m := range memberships {
		t.Run(m.name, func(t *testing.T) {
			f := newFleet(t, 3, m.env...)
			f.calm(time.Now())
			var all []time.Duration
			for range max(1, rounds(t)/m.share) {
				i, p := f.anOwner()
				all = append(all, f.away(p, time.Second, p.kill).event)
				f.replicas[i] = f.begin(i)
				f.calm(time.Now())
			}
			f.finish()
			figures(t, "fail-over, "+m.name, all, m.failOver)
		})
	}
}

// TestMembersHandOver stops replicas in order that own something, one after another.
func TestMembersHandOver(t *testing.T) {
	for _, m := range memberships {
		t.Run(m.name, func(t *testing.T) {
			f := newFleet(t, 3, m.env...)
			f.calm(time.Now())
			var claims, late []time.Duration
			for range max(1, rounds(t)/m.share) {
				i, p := f.anOwner()
				a := f.away(p, time.Second, func() { p.in.Close() })
				claims, late = append(claims, a.claim), append(late, a.late)
				f.stop(p)
				f.replicas[i] = f.begin(i)
				f.calm(time.Now())
			}
			f.finish()
			figures(t, "hand-over, "+m.name, claims, m.handOver)
			figures(t, "polls late after a hand-over, "+m.name, late, m.handOver)
		})
	}
}

// TestMembersRollingRestart stops each of three replicas in order and starts it anew, one after another, and looks at the requests for
// the open window: none comes later than the interval and a hand-over after the one before it.
func TestMembersRollingRestart(t *testing.T) {
	for _, r := range []struct {
		name     string
		env      []string
		interval time.Duration
		promised bool
	}{
		{"every second", nil, time.Second, true},
		{"in Graph's budget", []string{"GRAPH_REQUESTS_PER_MINUTE=45", "POLL_INTERVAL=3s"}, 3 * time.Second, true},
		{"static", []string{staticMembers}, time.Second, false}, // a shard waits for its own replica to be back
	} {
		t.Run(r.name, func(t *testing.T) {
			f := newFleet(t, 3, r.env...)
			f.calm(time.Now())
			var gaps []time.Duration
			abandoned := 0
			for range max(1, rounds(t)/5) {
				began := time.Now()
				for i, p := range f.replicas {
					f.stop(p)
					p = f.begin(i)
					f.replicas[i] = p
					f.wait("the new replica owns a shard", time.Minute, func() bool { return len(f.owned(p)) > 0 })
				}
				f.calm(time.Now())
				gaps = append(gaps, f.gaps(began)...)
				abandoned += f.abandoned(began)
			}
			f.finish()
			if abandoned > 0 {
				t.Errorf("%d shards changed hands without a release: the successors take that for a crash", abandoned)
			}
			bound := r.interval + handOverBound
			if !r.promised {
				bound = 0
			}
			figures(t, "longest time between two polls in a rolling restart, "+r.name, gaps, bound)
			if last := gaps[len(gaps)-1]; bound > 0 && last > bound { // gaps are sorted now; none may be late
				t.Errorf("a poll came %v after the one before it, promised are %v", last, bound)
			}
		})
	}
}

// TestMembersKilledJoining kills replicas just after they have begun to join, when they own nothing and the others may wait for them.
func TestMembersKilledJoining(t *testing.T) {
	for _, m := range memberships {
		t.Run(m.name, func(t *testing.T) {
			f := newFleet(t, 2, m.env...)
			f.calm(time.Now())
			var all []time.Duration
			for range max(1, rounds(t)/m.share) {
				began := time.Now()
				p := f.begin(2)
				for !strings.Contains(p.log.String(), "joining the group") {
					time.Sleep(time.Millisecond)
				}
				after := rand.N(500 * time.Millisecond)
				time.Sleep(after)
				p.kill()
				f.calm(time.Now().Add(failOverBound))
				all = append(all, slices.Max(f.gaps(began)))
				t.Logf("killed %v after it began to join: %v", after.Round(time.Millisecond), all[len(all)-1].Round(time.Millisecond))
			}
			f.finish()
			figures(t, "longest time between two polls where a replica dies joining, "+m.name, all, time.Second+m.failOver)
		})
	}
}

// TestMembersFirstStart starts three replicas at the same time on topics that are not there yet.
func TestMembersFirstStart(t *testing.T) {
	var polls, gaps []time.Duration
	for i := range max(1, rounds(t)/4) {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			began := time.Now()
			f := newFleet(t, 3, "GRAPH_REQUESTS_PER_MINUTE=45", "POLL_INTERVAL=3s")
			f.calm(time.Now())
			f.mu.Lock()
			for _, tenant := range f.tenants {
				polls = append(polls, f.asked[tenant][0].Sub(began))
			}
			f.mu.Unlock()
			gaps = append(gaps, f.gaps(began)...)
			f.finish()
		})
	}
	figures(t, "from the first start to a tenant's first poll", polls, 0)
	figures(t, "longest time between two polls at a first start", gaps, 0)
}
