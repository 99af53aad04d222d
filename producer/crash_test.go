package main

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"pstncalls/internal/graphfake"
	"pstncalls/internal/kafka"
)

// static lets a child take over at once, without waiting until the group has missed the one before.
const static = "KAFKA_GROUP_INSTANCE_ID=crash"

func crashGraph(rowsPerDay int) graphfake.Config {
	today := time.Now().UTC().Truncate(24 * time.Hour)
	return graphfake.Config{Seed: 7, PageSize: 20, Tenants: []graphfake.TenantConfig{{
		ID: worldTenant, RowsPerDay: rowsPerDay, Flat: true, From: today.Add(-72 * time.Hour), To: today.Add(-24 * time.Hour),
		NoIDShare: 0.02, NullCallIDShare: 0.02, RejectShare: 0.01,
	}}}
}

func check(t *testing.T, v graphfake.Verdict) {
	t.Helper()
	if !v.OK() {
		t.Errorf("%s", v)
		for _, d := range v.Details {
			t.Log(d)
		}
	}
}

// TestRestartPublishesNothing restarts a producer that finds nothing new.
func TestRestartPublishesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, crashGraph(500), static)
	proc := w.start("none")
	check(t, w.settle(900, 3*time.Minute))
	if code := proc.stop(); code != exitDone {
		t.Errorf("exit code %d:\n%.4000s", code, proc.log.String())
	}
	before, asked := len(w.read(w.name)), w.graph.Requests(http.StatusOK)
	proc = w.start("none")
	for w.graph.Requests(http.StatusOK) < asked+2*51 { // all days twice
		time.Sleep(50 * time.Millisecond)
	}
	proc.stop()
	if after := len(w.read(w.name)); after != before {
		t.Errorf("a restart published %d events although nothing changed", after-before)
	}
}

// TestCrashEndAnswerLost loses the answer to End after the broker has applied it, and kills the producer then: the outcome is
// known from the state alone.
func TestCrashEndAnswerLost(t *testing.T) {
	t.Parallel()
	w := newWorld(t, crashGraph(500), static)
	first := w.start("none") // makes the topics, so that the commits counted below are those of rows
	w.settle(100, 3*time.Minute)
	first.kill()
	for i := range 5 {
		for range 5 { // something new for every round
			w.addRow(i)
		}
		lost := w.loss.next(1 + i%2) // the first is the claim, the second carries rows
		proc := w.start("none")
		select {
		case <-lost:
		case <-time.After(2 * time.Minute):
			t.Fatalf("round %d: no answer was lost:\n%.4000s", i, proc.log.String())
		}
		proc.kill()
	}
	last := w.start("none")
	v := w.settle(900, 3*time.Minute)
	check(t, v)
	last.stop()
	t.Log(v)
}

// TestEndAnswerLost loses the answer to End and lets the producer live: it must not assume the outcome either way.
func TestEndAnswerLost(t *testing.T) {
	t.Parallel()
	w := newWorld(t, crashGraph(500))
	proc := w.start("none")
	w.settle(100, 3*time.Minute)
	lost := w.loss.next(1)
	for range 5 {
		w.addRow(0)
	}
	select {
	case <-lost:
	case <-time.After(2 * time.Minute):
		t.Fatalf("no answer was lost:\n%.4000s", proc.log.String())
	}
	for range 5 {
		w.addRow(1)
	}
	v := w.settle(900, 3*time.Minute)
	check(t, v)
	proc.stop()
	t.Log(v)
}

// addRow adds a call of today, which the next poll of the open window shows.
func (w *world) addRow(i int) string {
	w.t.Helper()
	id := fmt.Sprintf("%08x-0000-4000-8000-%012x", i, rand.Uint64()&0xffffffffffff)
	start := time.Now().UTC().Truncate(24 * time.Hour)
	row := map[string]any{"id": id, "callId": "call-" + id[:8], "startDateTime": start.Format("2006-01-02T15:04:05.0000000Z"),
		"duration": i, "charge": 0.25, "currency": "EUR"}
	if err := w.graph.AddRow(worldTenant, row, time.Now().Add(20*time.Millisecond)); err != nil {
		w.t.Fatal(err)
	}
	return id
}

// TestCrashRandom kills producers at random instants while the source changes: rows arrive late and are corrected.
func TestCrashRandom(t *testing.T) {
	kills := randomKills
	seed := seedOf(t)
	rng := rand.New(rand.NewPCG(seed, 0))
	w := newWorld(t, crashGraph(1500), static)
	// A producer lives for as long as one needs to publish, more or less, on these brokers and on this machine: one whose topics are
	// there, and with nothing beside it.
	publishes := func() time.Duration {
		before := len(w.read(w.name))
		w.addRow(0)
		began := time.Now()
		proc := w.start("none")
		defer proc.kill()
		for len(w.read(w.name)) == before {
			time.Sleep(20 * time.Millisecond)
		}
		return time.Since(began)
	}
	first := w.start("none")
	for len(w.read(w.name)) == 0 {
		time.Sleep(20 * time.Millisecond)
	}
	first.kill()
	life := min(max(publishes(), 500*time.Millisecond), 2*time.Second)
	t.Parallel()
	// The rows that change are today's: the open window is read every second.
	var ids []string
	for i := range kills {
		proc := w.start("none")
		wait := life*3/10 + time.Duration(rng.Int64N(int64(life*14/10)))
		for range 3 {
			id := w.addRow(i)
			ids = append(ids, id)
			fixed := ids[rng.IntN(len(ids))]
			now := time.Now().Add(40 * time.Millisecond)
			if err := w.graph.CorrectRow(worldTenant, fixed, func(r map[string]any) { r["duration"] = rng.IntN(100000) }, now); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(wait)
		proc.kill()
		if i%25 == 24 {
			if v := w.verdict(); v.Doubled+v.Wrong > 0 {
				check(t, v)
				t.Fatalf("after %d kills, seed %d", i+1, seed)
			}
		}
	}
	last := w.start("none")
	v := w.settle(2*1450+1+len(ids), 30*time.Second)
	check(t, v)
	last.stop()
	t.Logf("%d kills; %s", kills, v)
	if v.Revisions == 0 {
		t.Error("no correction was published: the test shows nothing")
	}
}

// TestTakeOvers starts a successor while its predecessor is alive and publishing, again and again: both believe for a moment
// that they own the shard.
func TestTakeOvers(t *testing.T) {
	t.Parallel()
	const rows = 2 * 6000
	w := newWorld(t, crashGraph(rows/2), static, "GRAPH_CONCURRENCY=2")
	old := w.start("none")
	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
	for i := range takeOvers {
		next := w.start("none")
		time.Sleep(time.Duration(100+rng.IntN(300)) * time.Millisecond)
		old.kill()
		old = next
		if i%5 != 4 {
			continue
		}
		if v := w.verdict(); v.Doubled+v.Wrong > 0 {
			check(t, v)
			t.Fatalf("after %d take-overs", i+1)
		}
	}
	v := w.settle(rows-rows/50, 3*time.Minute)
	check(t, v)
	old.stop()
	t.Log(v)
}

// TestTakeOversOfThree lets successors take over from owners who are alive, in three places: both believe that they
// own the shards. Every other one is frozen until it has been robbed, and wakes as one who owns nothing and does not know.
func TestTakeOversOfThree(t *testing.T) {
	t.Parallel()
	seed, wanted := seedOf(t), countOf(t, "PSTNCALLS_TEST_TAKEOVERS", takeOvers)
	cfg := crashGraph(300)
	for _, tenant := range []string{"fabrikam", "northwind", "adventure-works", "tailspin", "wingtip"} { // so that hardly a place owns nothing
		another := cfg.Tenants[0]
		another.ID = tenant
		cfg.Tenants = append(cfg.Tenants, another)
	}
	w := newWorld(t, cfg)
	owners := &takeOver{last: map[int32]kafka.Claim{}}
	rng := rand.New(rand.NewPCG(seed, 0))
	owner := func(place int) *process {
		return w.start("none", fmt.Sprintf("KAFKA_GROUP_INSTANCE_ID=place-%d", place))
	}
	var places [3]*process
	for i := range places {
		places[i] = owner(i)
	}
	for len(w.read(w.name+".state")) == 0 { // the topics exist before
		time.Sleep(50 * time.Millisecond)
	}
	src := newSource(t, w, follow(t, w), seed)
	w.consume(w.name+".state", owners.take)
	pass := func(d time.Duration) {
		for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
			src.change()
		}
	}
	robbed := 0
	for n := 0; robbed < wanted; n++ {
		place, freeze, alive := rng.IntN(3), rng.IntN(2) == 0, time.Duration(rng.IntN(300))*time.Millisecond
		old := places[place]
		if freeze {
			if err := old.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
		}
		places[place] = owner(place)
		now := robbed
		for since := time.Now(); now == robbed && time.Since(since) < 4*time.Second; { // it may have owned nothing
			pass(20 * time.Millisecond)
			now = owners.count()
		}
		robbed = now
		if freeze {
			if err := old.cmd.Process.Signal(syscall.SIGCONT); err != nil {
				t.Fatal(err)
			}
		}
		pass(alive)
		old.kill()
		if n > 20*wanted {
			t.Fatalf("only %d shards were taken over by %d successors", robbed, n)
		}
		if n%10 != 9 {
			continue
		}
		if v := w.verdict(); v.Doubled+v.Wrong > 0 {
			check(t, v)
			t.Fatalf("after %d take-overs, seed %d", robbed, seed)
		}
	}
	v := w.settle(len(cfg.Tenants)*2*290, 60*time.Second)
	check(t, v)
	for _, p := range places {
		if code := p.stop(); code != exitDone {
			t.Errorf("exit code %d:\n%.4000s", code, p.log.String())
		}
	}
	t.Logf("seed=%d takeovers=%d; %s", seed, robbed, v)
}

// takeOver counts the claims that follow one of another process which had not released the shard.
type takeOver struct {
	mu   sync.Mutex
	last map[int32]kafka.Claim
	n    int
}

func (o *takeOver) take(rec *kgo.Record) {
	c, ok := claimOf(rec)
	if !ok {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if before, known := o.last[rec.Partition]; known && before.Instance != c.Instance && before.Released == nil {
		o.n++
	}
	o.last[rec.Partition] = c
}

func (o *takeOver) count() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.n
}

// TestReplicas lets three producers share the shards of several tenants, and kills one of them.
func TestReplicas(t *testing.T) {
	t.Parallel()
	w := newWorld(t, crashGraph(1500))
	var replicas []*process
	for range 3 {
		replicas = append(replicas, w.start("none"))
	}
	time.Sleep(1500 * time.Millisecond)
	replicas[0].kill()
	replicas[0] = w.start("none")
	v := w.settle(2900, 3*time.Minute)
	check(t, v)
	for _, r := range replicas {
		if code := r.stop(); code != exitDone {
			t.Errorf("exit code %d:\n%.4000s", code, r.log.String())
		}
	}
	t.Log(v)
}
