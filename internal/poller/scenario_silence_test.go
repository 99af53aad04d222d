//go:build synctests

package poller_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"pstncalls/internal/graphfake"
	"pstncalls/internal/state"
)

// pageEnds is how long a page may take until it is an error that is in the state.
const pageEnds = 110 * time.Second

// silence returns the longest time without a warning since an instant.
func (s *scene) silence(since time.Time) time.Duration {
	last, worst := since, time.Duration(0)
	say := func(at time.Time) { worst, last = max(worst, at.Sub(last)), at }
	for line := range strings.Lines(s.log.String()) {
		stamp, ok := strings.CutPrefix(line, "time=")
		stamp, _, _ = strings.Cut(stamp, " ")
		at, err := time.Parse(time.RFC3339Nano, stamp)
		if ok && err == nil && at.After(since) && strings.Contains(line, "level=WARN") {
			say(at)
		}
	}
	say(time.Now())
	return worst
}

// TestNoSilence lets a fault of Graph last for hours: within a minute, and every minute after, the log says that rows cannot be
// read, and the state has the condition.
func TestNoSilence(t *testing.T) {
	drip := graphfake.Fault{Kind: graphfake.Answer, Answer: func(w http.ResponseWriter, r *http.Request) {
		for err := error(nil); err == nil && r.Context().Err() == nil; time.Sleep(time.Second) {
			_, err = io.WriteString(w, " ")
			w.(http.Flusher).Flush()
		}
	}}
	for _, c := range []struct {
		name  string
		fault graphfake.Fault
		says  string
	}{
		{"403", graphfake.Fault{Kind: graphfake.Status, Status: 403}, "CallRecords.Read.All"},
		{"400", graphfake.Fault{Kind: graphfake.Status, Status: 400}, "answered 400"},
		{"500", graphfake.Fault{Kind: graphfake.Status, Status: 500}, "answered 500"},
		{"Retry-After of six hours", graphfake.Fault{Kind: graphfake.Status, Status: 429, RetryAfter: "21600"}, "for 6h0m0s"},
		{"no answer", graphfake.Fault{Kind: graphfake.Slow, Delay: time.Hour}, "within 30s"},
		{"slow drip", drip, "more than 1m40s"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := history{interval: 10 * time.Minute, lookback: dayLong, back: 2, pageSize: 1000}
			stage(t, h, -2, 2, graphfake.TenantConfig{RowsPerDay: 50, Flat: true}, func(s *scene) {
				time.Sleep(2*time.Hour + time.Minute)
				c.fault.Count = -1
				script := s.graph.Script(c.fault)
				s.until("the fault strikes", time.Second, 11*time.Minute, func(*state.Tenant) bool { return script.Fired() > 0 })
				since := time.Now()
				s.until("the condition", time.Second, 3*time.Minute, func(t *state.Tenant) bool { _, ok := unreadable(t); return ok })
				said := time.Since(since)
				time.Sleep(5 * time.Hour)
				quiet := s.silence(since)
				unread, _ := unreadable(s.state())
				sentence := unread.Sentence
				s.Logf("in the state after %v, in the log every %v at least: %s", said.Round(time.Second), quiet.Round(time.Second), sentence)
				if quiet > 61*time.Second || said > pageEnds || !strings.Contains(sentence, c.says) {
					s.Errorf("want a minute, and %q", c.says)
				}
				script.Off()
				time.Sleep(25 * time.Hour)
				s.settleAll(2)
				if t := s.state(); len(t.Header.Conditions) > 0 {
					s.Errorf("afterwards: %+v", t.Header.Conditions)
				}
				s.clean()
			})
		})
	}
}
