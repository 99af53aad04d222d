package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"pstncalls/internal/graphfake"
)

// outages are producers at work on a call log that keeps changing, while the brokers or the network to them fail, again and again. A
// plain reader watches what is published.
type outages struct {
	t        *testing.T
	fault    string
	w        *world
	nets     []*network // of the replicas
	source   *source
	follower *follower
	seed     uint64
	rng      *rand.Rand
	replicas []*process

	rounds, fired int
	kinds         []string // of what fired, in the order of their first time
	times         map[string]int
	away          time.Duration // the longest time from the end of an outage until a call of then was shown
}

// beat is how often the call log changes.
const beat = 100 * time.Millisecond

// patience is how long something may take that an outage holds up. What may come together: a request to a broker that does not answer
// is given up after 20 s, a transaction after as many and 10 more, a member is missed after 6 s; and the machine is slow.
const patience = 3 * time.Minute

// newOutages starts replicas on several tenants, and waits until they publish.
func newOutages(t *testing.T, fault string, replicas int, tenants ...string) *outages {
	t.Helper()
	seed := seedOf(t)
	today := time.Now().UTC().Truncate(24 * time.Hour)
	cfg := graphfake.Config{Seed: seed, PageSize: 100}
	for _, tenant := range append([]string{worldTenant}, tenants...) {
		cfg.Tenants = append(cfg.Tenants, graphfake.TenantConfig{ID: tenant, RowsPerDay: 300, Flat: true, From: today.Add(-72 * time.Hour),
			To: today.Add(-24 * time.Hour), NoIDShare: 0.02, NullCallIDShare: 0.02, RejectShare: 0.01})
	}
	o := &outages{t: t, fault: fault, w: newWorld(t, cfg), seed: seed, rng: rand.New(rand.NewPCG(seed, 2)), times: map[string]int{}}
	for i := range replicas {
		o.nets, o.replicas = append(o.nets, newNetwork(t)), append(o.replicas, nil)
		o.begin(i)
	}
	for _, p := range o.replicas {
		for !strings.Contains(p.log.String(), "joining the group") { // before, it waits with other words
			time.Sleep(beat)
		}
	}
	for len(o.w.read(o.w.name)) == 0 { // the topic exists before it is followed
		time.Sleep(beat)
	}
	o.follower = follow(t, o.w)
	o.source = newSource(t, o.w, o.follower, seed)
	o.recovered()
	o.away = 0
	return o
}

// begin starts the i-th replica: it comes back under its name in the group.
func (o *outages) begin(i int) {
	o.t.Helper()
	o.replicas[i] = o.w.start("none", fmt.Sprint("KAFKA_GROUP_INSTANCE_ID=outages-", i), networkVariable+"="+o.nets[i].address)
}

// live lets the call log change for one beat.
func (o *outages) live() {
	o.t.Helper()
	o.source.change()
	o.source.wait()
	for i, p := range o.replicas {
		select {
		case <-p.done:
			o.t.Fatalf("replica %d ended by itself: %s; round %d, seed %d\n%.4000s", i, p.cmd.ProcessState, o.rounds, o.seed, p.log.String())
		default:
		}
	}
	time.Sleep(beat)
}

// pass lets the call log change for a while.
func (o *outages) pass(d time.Duration) {
	o.t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); {
		o.live()
	}
}

// until lets the call log change until a condition is met.
func (o *outages) until(what string, met func() bool) {
	o.t.Helper()
	began := time.Now()
	for !met() {
		if time.Since(began) > patience {
			o.t.Fatalf("waited %s in vain until %s; round %d, seed %d", patience, what, o.rounds, o.seed)
		}
		o.live()
	}
	if d := time.Since(began); d > time.Second {
		o.t.Logf("round %d: %s until %s", o.rounds, d.Round(beat), what)
	}
}

// strike does something at a moment of the next request of a kind, while that is held on its way, and returns whose it is.
func (o *outages) strike(key kmsg.Key, at moment, do func(*network)) (victim int) {
	o.t.Helper()
	a := &ambush{key: key, at: at, done: make(chan struct{}), do: func(n *network) {
		victim = slices.Index(o.nets, n)
		do(n)
	}}
	for _, n := range o.nets {
		n.arm(a)
	}
	o.until(fmt.Sprintf("a %s comes by (%s)", key.Name(), at), func() bool {
		select {
		case <-a.done:
			return true
		default:
			return false
		}
	})
	return victim
}

// hit counts a fault that is proved to have come about.
func (o *outages) hit(kind string) {
	o.fired++
	if o.times[kind] == 0 {
		o.kinds = append(o.kinds, kind)
	}
	o.times[kind]++
}

// recovered waits until a reader is shown a call of now.
func (o *outages) recovered() {
	o.t.Helper()
	began := time.Now()
	id := o.w.addRow(o.rounds)
	o.until("a call of after the outage is published", func() bool { return o.follower.revision(id) >= 0 })
	o.away = max(o.away, time.Since(began))
}

// finish lets all become published, ends the producers, and judges: by the truth, by the program's own proof, and by what the reader
// saw meanwhile.
func (o *outages) finish() {
	t := o.t
	t.Helper()
	v := o.w.settle(o.source.added, stall)
	check(t, v)
	for i, p := range o.replicas {
		if code := p.stop(); code != exitDone {
			t.Errorf("replica %d: exit code %d", i, code)
		}
	}
	(&soak{t: t, w: o.w, seed: o.seed}).verify()
	all := o.w.read(o.w.name)
	for deadline := time.Now().Add(30 * time.Second); o.follower.differs(all) != "" && time.Now().Before(deadline); {
		time.Sleep(beat)
	}
	if d := o.follower.differs(all); d != "" {
		t.Error(d)
	}
	var kinds []string
	for _, kind := range o.kinds {
		kinds = append(kinds, fmt.Sprintf("%s %d", kind, o.times[kind]))
	}
	t.Logf("seed %d: %s; after an outage a call of then was shown within %s, and one of an outage waited %s at most", o.seed, strings.Join(kinds, ", "),
		o.away.Round(beat), o.source.longest.Round(beat))
	t.Logf("broker: fault=%s rounds=%d fired=%d rows=%d events=%d lost=%d doubled=%d wrong=%d", o.fault, o.rounds, o.fired, v.Rows, v.Events,
		v.Lost, v.Doubled, v.Wrong)
	if o.fired != o.rounds || o.rounds == 0 {
		t.Errorf("the fault came about in %d of %d rounds", o.fired, o.rounds)
	}
	if v.Revisions == 0 {
		t.Error("no correction was published: the call log did not change")
	}
}
