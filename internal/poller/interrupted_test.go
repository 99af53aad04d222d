package poller_test

import (
	"testing"
	"time"

	"pstncalls/internal/kafka"
)

// TestStoppedWhileItOpens tells an owner to stop before it has read the state: it has asked Graph for nothing, and who comes after it
// does not take it for crashed.
func TestStoppedWhileItOpens(t *testing.T) {
	for _, at := range []kafka.Point{kafka.AtClaimed, kafka.AtState, kafka.AtReady} {
		t.Run(string(at), func(t *testing.T) {
			c := &steps{}
			w := nineDays(t, c)
			first := w.run("a", setUp{change: polite})
			w.clean("before the hand-over")
			first.stop()
			c.step(2 * time.Minute)
			reached, told := make(chan struct{}), make(chan struct{})
			second := w.run("b", setUp{change: polite, observer: stopAt(at, 1, func() { close(reached); <-told })})
			<-reached
			second.cancel()
			close(told)
			second.stop()
			served := w.graph.Requests(200)
			third := w.run("c", setUp{change: polite})
			w.until("the third owns the shard", func() bool { return third.log.has("owner of the shard") })
			deadline := time.Now().Add(time.Minute)
			for w.graph.Requests(200) <= served+3 && time.Now().Before(deadline) {
				time.Sleep(20 * time.Millisecond)
			}
			if n := w.graph.Requests(200) - served; n <= 3 {
				t.Errorf("%d requests in a minute: it takes the one before it for crashed", n)
			}
		})
	}
}
