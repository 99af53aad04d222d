//go:build long

package main

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"pstncalls/internal/kafka"
)

// brokerRounds is how often a broker is killed where PSTNCALLS_TEST_ROUNDS does not say.
const brokerRounds = 50

// noBroker is what a producer says that has lost all brokers: that it waits, for what, and why.
var noBroker = regexp.MustCompile(`level=WARN msg="no broker answers; what is not committed waits" for=\S+ error=.`)

// TestBrokerKilled kills the only broker, again and again, each time with a request of a transaction on its way, and starts it again on
// its data.
func TestBrokerKilled(t *testing.T) {
	brokers := ownServers(t, "kafka", "PSTNCALLS_TEST_KAFKA")
	o := newOutages(t, "killed", 2, "fabrikam", "northwind")
	moments := []struct {
		key kmsg.Key
		at  moment
	}{
		{kmsg.Produce, leaves}, {kmsg.Produce, delivered}, {kmsg.Produce, answered}, {kmsg.EndTxn, leaves}, {kmsg.EndTxn, delivered},
		{kmsg.EndTxn, delivered}, {kmsg.EndTxn, answered}, {kmsg.InitProducerID, delivered},
	}
	forgotten := 0
	for i := range countOf(t, "PSTNCALLS_TEST_ROUNDS", brokerRounds) {
		o.rounds++
		m := moments[i%len(moments)]
		if m.key == kmsg.InitProducerID { // of producers that start
			for i, p := range o.replicas {
				p.kill()
				o.begin(i)
			}
		}
		said := o.said()
		o.kill(brokers, 0, m.key, m.at)
		if i == 0 {
			o.says(said, noBroker)
		}
		o.during("the broker starts again", brokers.up)
		forgotten += o.completed(brokers)
		o.recovered()
		o.judge()
	}
	t.Logf("the broker has forgotten %d transactions that it had decided", forgotten)
	o.finish()
}

// TestBrokersKilled kills one of three brokers, again and again, in turn the leader of the partition that every transaction writes to,
// under a Produce, and the transactions' coordinator, under an EndTxn.
func TestBrokersKilled(t *testing.T) {
	brokers := ownServers(t, "kafka3", "PSTNCALLS_TEST_KAFKA3")
	o := newOutages(t, "one-of-three-killed", 2)
	for i := range countOf(t, "PSTNCALLS_TEST_ROUNDS", brokerRounds) {
		o.rounds++
		busy := []busy{o.leader(brokers), o.coordinator(brokers)}[i%2]
		node := busy.node()
		o.kill(brokers, node, busy.key, []moment{leaves, delivered, answered}[o.rng.IntN(3)])
		o.until("another broker is "+busy.name, func() bool { return busy.node() != node })
		o.times[busy.name]++
		o.recovered() // two brokers are enough
		o.during("the broker starts again", brokers.up)
		o.during("its replicas catch up", brokers.inSync)
		o.judge()
	}
	t.Logf("killed as leader %d times, as coordinator %d", o.times["leader"], o.times["coordinator"])
	o.finish()
}

// TestBrokerPaused stops one of three brokers for longer than anybody waits for an answer, and lets it go on: it believes then that it
// is still what it was.
func TestBrokerPaused(t *testing.T) {
	brokers := ownServers(t, "kafka3", "PSTNCALLS_TEST_KAFKA3")
	o := newOutages(t, "one-of-three-paused", 2)
	for i := range max(2, countOf(t, "PSTNCALLS_TEST_ROUNDS", brokerRounds)/8) {
		o.rounds++
		busy := []busy{o.leader(brokers), o.coordinator(brokers)}[i%2]
		node := busy.node()
		var failed error
		began, said := time.Now(), o.said()
		o.strike(busy.key, delivered, func(*network) { failed = brokers.signal(node, syscall.SIGSTOP) })
		if failed != nil {
			t.Fatal(failed)
		}
		t.Cleanup(func() { brokers.signal(node, syscall.SIGCONT) }) // a stopped one cannot even be asked to end
		o.until("another broker is "+busy.name, func() bool { return busy.node() != node })
		o.recovered() // two brokers are enough
		o.explained(said, began)
		o.pass(transactionTimeout + 15*time.Second - time.Since(began))
		if err := brokers.signal(node, syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		o.hit(busy.name)
		o.recovered()
		o.during("its replicas catch up", brokers.inSync)
		o.judge()
	}
	o.finish()
}

// completed completes what a broker has forgotten, and returns of how many transactions.
func (o *outages) completed(brokers *servers) (forgotten int) {
	o.t.Helper()
	o.during("what the broker has forgotten is completed", func() error {
		for deadline := time.Now().Add(patience / 2); ; time.Sleep(time.Second) {
			n, err := brokers.completeForgotten([]string{o.w.name, o.w.name + ".state", o.w.name + ".dlq", o.w.name + ".watermark"})
			forgotten += n
			if err == nil || time.Now().After(deadline) {
				return err
			}
		}
	})
	return forgotten
}

// during lets the call log change while something is done.
func (o *outages) during(what string, do func() error) {
	o.t.Helper()
	done := make(chan error, 1)
	go func() { done <- do() }()
	var err error
	o.until(what, func() bool {
		select {
		case err = <-done:
			return true
		default:
			return false
		}
	})
	if err != nil {
		o.t.Fatalf("%s: %v", what, err)
	}
}

// busy is something that one of the brokers is, and the request that needs it.
type busy struct {
	name string
	key  kmsg.Key
	node func() int
}

func (o *outages) leader(brokers *servers) busy {
	return busy{"leader", kmsg.Produce, func() int { return brokers.leader(o.w.name+".state", kafka.ShardOf(worldTenant, 12)) }}
}

func (o *outages) coordinator(brokers *servers) busy {
	id := fmt.Sprintf("%s-group.%s.state.%d", o.w.name, o.w.name, kafka.ShardOf(worldTenant, 12))
	return busy{"coordinator", kmsg.EndTxn, func() int { return brokers.coordinator(id) }}
}

// kill kills a broker at a moment of a request. One that has just got it may be killed before, while or after it acts on it.
func (o *outages) kill(brokers *servers, node int, key kmsg.Key, at moment) {
	o.t.Helper()
	var failed error
	o.strike(key, at, func(*network) {
		if at == delivered {
			time.Sleep(rand.N(4 * time.Millisecond))
		}
		failed = brokers.kill(node)
	})
	if failed != nil {
		o.t.Fatal(failed)
	}
	o.hit(fmt.Sprintf("%s of %s", at, key.Name()))
	o.t.Logf("round %d: node %d is killed (%s of %s)", o.rounds, node, at, key.Name())
}

// said returns how much the producers have logged so far.
func (o *outages) said() (lengths []int) {
	for _, p := range o.replicas {
		lengths = append(lengths, len(p.log.String()))
	}
	return lengths
}

// says waits until the producers have logged something since then, all of them or those that are named: within a minute.
func (o *outages) says(since []int, what *regexp.Regexp, who ...int) {
	o.t.Helper()
	began := time.Now()
	for i, p := range o.replicas {
		if len(who) > 0 && !slices.Contains(who, i) {
			continue
		}
		line := ""
		o.until("the log says what is waited for", func() bool {
			line = what.FindString(p.log.String()[since[i]:])
			return line != "" || time.Since(began) > time.Minute
		})
		if line == "" {
			o.t.Errorf("replica %d has not said for a minute what it waits for (%s), but:\n%s", i, what, p.log.String()[since[i]:])
		}
	}
	o.t.Logf("%s: said after %s", o.fault, time.Since(began).Round(beat))
}

// explained fails where nothing was published for more than a minute and no producer has said why.
func (o *outages) explained(since []int, began time.Time) {
	o.t.Helper()
	if time.Since(began) < time.Minute {
		return
	}
	for i, p := range o.replicas {
		if warned := strings.Contains(p.log.String()[since[i]:], "level=WARN"); warned {
			return
		}
	}
	o.t.Errorf("round %d: nothing is published for %s, and no producer has said why", o.rounds, time.Since(began).Round(beat))
}

// judge ends the test where something was published that must not be.
func (o *outages) judge() {
	o.t.Helper()
	if o.rounds%10 != 0 {
		return
	}
	if v := o.w.verdict(); v.Doubled+v.Wrong > 0 {
		check(o.t, v)
		o.t.Fatalf("after %d rounds, seed %d", o.rounds, o.seed)
	}
}
