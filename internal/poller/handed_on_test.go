package poller_test

import (
	"fmt"
	"net/http"
	"runtime"
	"testing"
	"time"

	"pstncalls/internal/graphfake"
	"pstncalls/internal/kafka"
	"pstncalls/internal/poller"
)

// TestPolitenessIsHandedOn lets the successor of a crashed owner hand over in order within its first minute: what the crashed one has
// asked is as little known to the next one.
func TestPolitenessIsHandedOn(t *testing.T) {
	c := &steps{}
	w := nineDays(t, c)
	first := w.run("a", setUp{change: polite, observer: stopAt(poller.AtPage, 9, runtime.Goexit)})
	<-first.done
	c.step(2 * time.Minute)
	second := w.run("b", setUp{change: polite})
	w.until("the successor has asked what it may", func() bool { return second.budget.LastMinute() >= 3 })
	second.stop()
	third := w.run("c", setUp{change: polite})
	w.until("the third owns the shard", func() bool { return third.log.has("owner of the shard") })
	time.Sleep(300 * time.Millisecond)          // many intervals
	if n := third.budget.LastMinute(); n != 3 { // the second's
		t.Errorf("%d requests in the first minute after a crash, want 3", n)
	}
}

// TestRetryAfterIsHandedOn lets an owner stop, in order or not, while Graph wants to be left alone: its successor asks nothing before
// that is over.
func TestRetryAfterIsHandedOn(t *testing.T) {
	for _, crash := range []bool{false, true} {
		t.Run(fmt.Sprintf("crash %t", crash), func(t *testing.T) {
			t.Parallel()
			c := &steps{}
			w := nineDays(t, c)
			u := setUp{}
			died := make(chan struct{})
			if crash { // at the first commit after it has been told to: the one that says what Graph wants
				u.observer = observed(func(_ int32, p kafka.Point) {
					if p == kafka.AtCommitted && w.graph.Requests(http.StatusTooManyRequests) > 0 {
						close(died)
						runtime.Goexit()
					}
				})
			}
			first := w.run("a", u)
			w.clean("before")
			w.graph.Script(graphfake.Fault{Kind: graphfake.Status, Status: http.StatusTooManyRequests, RetryAfter: "600"})
			w.until("Graph wants to be left alone, and was heard", func() bool { return !first.budget.Held().IsZero() })
			if crash {
				<-died
				<-first.done
			} else {
				first.stop()
			}
			served := w.graph.Requests(http.StatusOK)
			second := w.run("b", setUp{})
			w.until("the second owns the shard", func() bool { return second.log.has("owner of the shard") })
			time.Sleep(300 * time.Millisecond) // many intervals
			if n := w.graph.Requests(http.StatusOK) - served; n > 0 {
				t.Errorf("%d requests although Graph said ten minutes", n)
			}
			if at := w.state(second).Header.Requests.Hold; at == nil {
				t.Error("the state does not say so")
			}
			second.stop()
			c.step(11 * time.Minute)
			w.run("c", setUp{})
			w.until("it goes on", func() bool { return w.graph.Requests(http.StatusOK) > served })
		})
	}
}

type observed func(int32, kafka.Point)

func (f observed) Reached(shard int32, p kafka.Point) { f(shard, p) }
