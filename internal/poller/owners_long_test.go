//go:build synctests

package poller_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pstncalls/internal/graphfake"
)

// TestTwoMembers lets two replicas both count as members for good, as where one is cut off from the group's coordinator and not
// from the transactions'. While the owner commits, the deposed one stands by; where it does not, the other takes the shard.
func TestTwoMembers(t *testing.T) {
	stage(t, history{interval: 5 * time.Second, lookback: 2 * dayLong, pageSize: 1000}, 0, 1, graphfake.TenantConfig{}, func(s *scene) {
		n := 0
		calls := func(d time.Duration) {
			for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(4 * time.Second) {
				n++
				row := map[string]any{"id": fmt.Sprint("row", n), "callId": fmt.Sprint("call", n), "startDateTime": stamp(time.Now()), "duration": 5}
				if err := s.graph.AddRow(tenant, row, time.Now()); err != nil {
					s.Fatal(err)
				}
			}
		}
		owners := func(when string, want int) {
			s.Helper()
			if got := strings.Count(s.log.String(), "owner of the shard"); got != want {
				s.Errorf("%s: the shard has had %d owners, want %d:\n%s", when, got, want, tail(s.log.String(), 3000))
			}
		}
		calls(time.Minute)
		s.start(false)
		calls(30 * time.Minute)
		owners("while the second one commits", 2)

		time.Sleep(3 * time.Minute)
		owners("when it has nothing to commit", 3)
		calls(30 * time.Minute)
		owners("while the first one commits", 3)
		s.main.stop()
		calls(time.Minute)
		owners("after a hand-over", 4)
		time.Sleep(2 * time.Minute)
		s.clean()
	})
}
