//go:build synctests

package poller_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pstncalls/internal/graphfake"
	"pstncalls/internal/state"
)

// refuse answers every request that holds the noon of a day with an error.
func (s *scene) refuse(day, status int) *graphfake.Script {
	return s.graph.Script(graphfake.Fault{Kind: graphfake.Status, Status: status, Count: -1, Day: s.day(day).Start().Add(12 * time.Hour)})
}

// unanswered returns what the state says of days that Graph does not answer for.
func unanswered(t *state.Tenant) string {
	for _, c := range t.Header.Conditions {
		if c.Name == "day-unanswered" {
			return c.Sentence
		}
	}
	return ""
}

// A day that Graph cannot answer does not keep today from being read.
func TestOneDayUnanswered(t *testing.T) {
	h := history{interval: 10 * time.Minute, lookback: 3 * dayLong, back: 3, pageSize: 1000}
	stage(t, h, -3, 6, graphfake.TenantConfig{RowsPerDay: 50, Flat: true}, func(s *scene) {
		time.Sleep(2 * time.Hour)
		script := s.refuse(-2, 500)
		time.Sleep(9 * time.Hour)
		st := s.state()
		if script.Fired() < 5 || !strings.Contains(unanswered(st), s.day(-2).String()) {
			s.Errorf("%d requests for the day have failed, and the state says %q of it", script.Fired(), unanswered(st))
		}
		s.Logf("conditions %+v, watermark %s at %s", st.Header.Conditions, st.CompleteUpTo(time.Now()), time.Now())
		if time.Since(st.CompleteUpTo(time.Now())) > 2*time.Hour {
			s.Error("today is not read any more")
		}
	})
}

// Two dense days that Graph does not answer for do not keep the others from being read, though no more are read at once. They are
// said by name, asked for now and then, and read when they are answered.
func TestTwoDaysUnanswered(t *testing.T) {
	h := history{interval: time.Hour, lookback: 3 * dayLong, back: 4, pageSize: 200}
	stage(t, h, -4, 6, graphfake.TenantConfig{RowsPerDay: 1200, Flat: true}, func(s *scene) {
		time.Sleep(2 * time.Hour)
		first, second := s.refuse(-2, 500), s.refuse(-1, 500)
		time.Sleep(6 * dayLong)
		s.tell(-4, 6)
		st := s.state()
		if !st.Settled(s.day(1)) {
			s.Error("a day that Graph answers never settles: two others own the slots for ever")
		}
		if said := unanswered(st); !strings.Contains(said, "2 days") || !strings.Contains(said, s.day(-2).String()) {
			s.Errorf("the state says %q of the two days", said)
		}
		if n := first.Fired() + second.Fired(); n < 60 || n > 600 { // every six hours in the end, three times each
			s.Errorf("they were asked for %d times in six days", n)
		}
		first.Off()
		second.Off()
		time.Sleep(dayLong)
		st = s.state()
		if !st.Settled(s.day(-2)) || !st.Settled(s.day(-1)) || unanswered(st) != "" {
			s.tell(-3, 6)
			s.Error("they are answered now, and not settled")
		}
		s.clean()
	})
}

// A day that Graph refuses for good, for it may be older than what it keeps, does not keep the other old days from settling.
func TestOldDayRefused(t *testing.T) {
	h := history{interval: 10 * time.Minute, lookback: dayLong, back: 10, pageSize: 60}
	stage(t, h, -10, 3, graphfake.TenantConfig{RowsPerDay: 200, Flat: true}, func(s *scene) {
		s.refuse(-10, 400)
		time.Sleep(3 * dayLong)
		s.tell(-10, -1)
		st := s.state()
		for d := s.day(-9); d <= s.day(-2); d++ {
			if !st.Settled(d) {
				s.Errorf("%s does not settle", d)
			}
		}
		if said := unanswered(st); !strings.Contains(said, s.day(-10).String()) || !strings.Contains(said, "400") {
			s.Errorf("the state says %q of the day", said)
		}
		if at := st.CompleteUpTo(time.Now()); at.After(s.day(-10).Start()) {
			s.Errorf("the watermark is %s: the first day was never read", at)
		}
	})
}

// Later pages of ranges of several days are not answered: single days are asked for then.
func TestDeepPageUnanswered(t *testing.T) {
	h := history{interval: 10 * time.Minute, lookback: 3 * dayLong, back: 3, pageSize: 60}
	stage(t, h, -3, 6, graphfake.TenantConfig{RowsPerDay: 50, Flat: true}, func(s *scene) {
		time.Sleep(2 * time.Hour)
		script := s.graph.Script(graphfake.Fault{Kind: graphfake.Status, Status: 504, Count: -1, Match: func(r graphfake.Request) bool {
			return r.Skip > 0 && r.To.Sub(r.From) > dayLong
		}})
		time.Sleep(20 * time.Hour)
		if script.Fired() < 5 {
			s.Errorf("only %d later pages were refused", script.Fired())
		}
		s.tell(-3, 0)
		st := s.state()
		if time.Since(st.CompleteUpTo(time.Now())) > 2*time.Hour {
			s.Error("today is not read any more, though Graph answers for it alone")
		}
	})
}

// In an outage a scan keeps its place, and nothing is left out when it is over.
func TestOutage(t *testing.T) {
	h := history{interval: 10 * time.Minute, lookback: 3 * dayLong, back: 1, pageSize: 50}
	stage(t, h, -1, 1, graphfake.TenantConfig{RowsPerDay: 5000, Flat: true}, func(s *scene) {
		s.until("half of yesterday", time.Second, time.Hour, func(st *state.Tenant) bool {
			return slices.ContainsFunc(st.Scans(), func(sc *state.Scan) bool { return sc.Range.From == s.day(-1) && sc.Pages > 50 })
		})
		for _, outage := range []time.Duration{4 * time.Minute, 5 * time.Hour} {
			script := s.graph.Script(graphfake.Fault{Kind: graphfake.Status, Status: 503, Count: -1})
			time.Sleep(outage)
			if script.Fired() < 5 {
				s.Fatalf("only %d requests failed", script.Fired())
			}
			script.Off()
			if outage == 4*time.Minute {
				s.until("yesterday", time.Second, time.Hour, func(st *state.Tenant) bool { return st.Window(s.day(-1)).LastScan != nil })
				if s.log.has("scan given up") {
					s.Errorf("it did not go on where it was:\n%s", tail(s.log.String(), 6000))
				}
				continue
			}
			time.Sleep(10 * time.Minute)
			st := s.state()
			if said := unanswered(st); said != "" || time.Since(st.CompleteUpTo(time.Now())) > 20*time.Minute {
				s.tell(-1, 0)
				s.Errorf("ten minutes after an outage: %q", said)
			}
		}
	})
}

// Today is not answered for, nor is anything else for a time. When it is again, the days left out are asked for at once.
func TestTodayUnanswered(t *testing.T) {
	h := history{interval: 10 * time.Minute, lookback: 3 * dayLong, back: 4, pageSize: 200}
	stage(t, h, -4, 2, graphfake.TenantConfig{RowsPerDay: 1200, Flat: true}, func(s *scene) {
		time.Sleep(2 * time.Hour)
		script := s.graph.Script(graphfake.Fault{Kind: graphfake.Status, Status: 400, Count: -1})
		time.Sleep(14 * time.Hour)
		if said := unanswered(s.state()); !strings.Contains(said, "days") {
			s.Errorf("the state says %q", said)
		}
		script.Off()
		time.Sleep(45 * time.Minute)
		st := s.state()
		if said := unanswered(st); said != "" {
			s.tell(-4, 0)
			s.Errorf("all is answered for, and the state says %q", said)
		}
	})
}
