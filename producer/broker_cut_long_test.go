//go:build long

package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"pstncalls/internal/kafka"
)

// TestBrokerCutLong cuts the network in the middle of transactions, of one producer or of all, for a few seconds and for longer than a
// transaction may last.
func TestBrokerCutLong(t *testing.T) {
	ownServers(t, "kafka", "PSTNCALLS_TEST_KAFKA")
	for _, c := range []cut{{ways: onlyAnswers, at: leaves}, {ways: onlyRequests, at: leaves}, {ways: bothWays, at: answered}} {
		t.Run(c.name(), func(t *testing.T) {
			o := newOutages(t, "cut-"+c.name(), 2, "fabrikam", "northwind")
			for _, d := range []time.Duration{5 * time.Second, transactionTimeout + 8*time.Second} {
				for _, c.key = range []kmsg.Key{kmsg.Produce, kmsg.EndTxn} {
					o.cutAll(c, d)
					o.cutOne(c, d)
				}
			}
			o.finish()
		})
	}
}

// cutAll cuts all producers off: calls wait, and the log says so.
func (o *outages) cutAll(c cut, d time.Duration) {
	o.t.Helper()
	said := o.said()
	o.cut(c)
	for _, n := range o.nets {
		n.set(weather{cut: c.ways})
	}
	began := time.Now()
	if d > transactionTimeout {
		o.says(said, noBroker)
	}
	o.pass(d - time.Since(began))
	o.mend()
	o.recovered()
	o.hit(fmt.Sprintf("all for %s, %s", d, c))
}

// cutOne cuts the owner of a shard off. Where that lasts, the other replica takes its shards, and what the one has sent as the owner
// arrives when it is deposed.
func (o *outages) cutOne(c cut, d time.Duration) {
	o.t.Helper()
	said := o.said()
	victim := o.cut(c)
	began := time.Now()
	if d > transactionTimeout {
		o.until("the other replica has its shards", func() bool {
			return !slices.Contains(o.owners(), o.replicas[victim].cmd.Process.Pid)
		})
		o.recovered()
		o.says(said, noBroker, victim)
	}
	o.pass(d - time.Since(began))
	before := o.nets[victim].seen().late
	o.mend()
	if c.ways[requests] {
		o.until("what was sent arrives", func() bool { return o.nets[victim].seen().late > before })
	}
	o.recovered()
	o.hit(fmt.Sprintf("one for %s, %s", d, c))
}

// owners returns the process ids of the newest claims of the shards that have tenants.
func (o *outages) owners() (pids []int) {
	o.t.Helper()
	claims := o.w.claims()
	for _, tenant := range o.w.graph.Tenants() {
		mine := claims[kafka.ShardOf(tenant, 12)]
		parts := strings.Split(mine[len(mine)-1].Instance, "-") // host, process id, a random number
		pid, err := strconv.Atoi(parts[max(0, len(parts)-2)])
		if err != nil {
			o.t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	return pids
}

// TestBrokerSlow lets the network be slow, with long ways and with narrow ones.
func TestBrokerSlow(t *testing.T) {
	ownServers(t, "kafka", "PSTNCALLS_TEST_KAFKA")
	o := newOutages(t, "slow", 2, "fabrikam", "northwind")
	for _, how := range []weather{{delay: 300 * time.Millisecond}, {delay: time.Second}, {rate: 64 << 10}, {delay: 300 * time.Millisecond, rate: 128 << 10}} {
		o.slow(how, 200)
		// A start has more ways to go.
		o.replicas[0].kill()
		o.begin(0)
		o.slow(how, 200)
	}
	o.finish()
}
