package main

import (
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// cut is which ways of the network are cut, and when: at a moment of a request.
type cut struct {
	ways [2]bool
	key  kmsg.Key
	at   moment
}

func (c cut) name() string {
	switch c.ways {
	case onlyAnswers:
		return "answers"
	case onlyRequests:
		return "requests"
	}
	return "both"
}

func (c cut) String() string { return c.name() + " at " + c.key.Name() }

var (
	onlyAnswers  = [2]bool{answers: true}  // brokers act on what they get, and nobody hears of it
	onlyRequests = [2]bool{requests: true} // brokers get them when nobody waits any more
	bothWays     = [2]bool{requests: true, answers: true}
)

// TestBrokerCut cuts the network between a producer and its brokers in the middle of a transaction, and starts another one in its place.
// The first lives on, and what it has sent as the owner arrives when it is the owner no more. A cut that ends soon is sat out, and a slow
// network is no fault.
func TestBrokerCut(t *testing.T) {
	t.Parallel()
	o := newOutages(t, "cut", 1)
	for _, c := range []cut{{onlyRequests, kmsg.EndTxn, leaves}, {onlyRequests, kmsg.Produce, leaves}, {onlyAnswers, kmsg.EndTxn, leaves}} {
		o.cut(c)
		deposed, n := o.replicas[0], o.nets[0]
		o.nets[0] = newNetwork(t)
		o.begin(0)
		o.recovered()
		before := n.seen().late
		n.set(weather{})
		if c.ways[requests] {
			o.until("what was sent arrives", func() bool { return n.seen().late > before })
		}
		o.pass(500 * time.Millisecond) // it goes on from there
		deposed.kill()
		o.hit(c.String() + ", replaced")
	}
	c := cut{bothWays, kmsg.EndTxn, answered}
	o.cut(c)
	o.mend()
	o.recovered()
	o.hit(c.String())
	o.slow(weather{delay: 50 * time.Millisecond, rate: 1 << 20}, 20)
	o.finish()
}

// cut cuts a replica's network, and returns whose when the cut has met what it cuts.
func (o *outages) cut(c cut) (victim int) {
	o.t.Helper()
	o.rounds++
	var before seen
	victim = o.strike(c.key, c.at, func(n *network) {
		before = n.seen()
		n.set(weather{cut: c.ways})
	})
	o.until("the cut has met what it cuts", func() bool {
		now := o.nets[victim].seen()
		return (!c.ways[requests] || now.cuts[requests] > before.cuts[requests]) && (!c.ways[answers] || now.cuts[answers] > before.cuts[answers]) &&
			(c.ways[requests] || now.arrived > before.arrived)
	})
	return victim
}

// mend ends what the networks do.
func (o *outages) mend() {
	for _, n := range o.nets {
		n.set(weather{})
	}
}

// slow lets the network be slow until so many frames were late and a call of meanwhile is published.
func (o *outages) slow(how weather, frames int) {
	o.t.Helper()
	o.rounds++
	before := 0
	for _, n := range o.nets {
		before += n.seen().slow
		n.set(how)
	}
	o.until("the network has been slow", func() bool {
		now := 0
		for _, n := range o.nets {
			now += n.seen().slow
		}
		return now-before >= frames
	})
	o.recovered()
	o.mend()
	o.hit(fmt.Sprintf("slow by %s and %d kB/s", how.delay, how.rate>>10))
}
