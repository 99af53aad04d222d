//go:build synctests

package poller_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pstncalls/internal/graphfake"
	"pstncalls/internal/kafka"
	"pstncalls/internal/state"
	"pstncalls/internal/status"
	"pstncalls/internal/window"
)

// Parts of one day each, and rows that have moved from the newer to the older.
func TestScanInParts(t *testing.T) {
	h := history{interval: 10 * time.Minute, lookback: 36 * time.Hour, back: 9, pageSize: 1000, perMinute: 3000, partRows: 50}
	stage(t, h, -9, 3, graphfake.TenantConfig{RowsPerDay: 40, Flat: true}, func(s *scene) {
		time.Sleep(30 * time.Minute)
		var moved []string
		for _, r := range s.graph.Truth(tenant) {
			if at := r.Versions[0].Start; window.Of(at) == s.day(0) && at.Before(s.day(0).Start().Add(6*time.Hour)) && len(moved) < 2 {
				moved = append(moved, r.ID)
			}
		}
		for _, id := range moved {
			s.correctRow(id, func(v map[string]any) { v["startDateTime"] = stamp(s.day(-1).Start().Add(time.Hour)) })
		}
		s.until("all to settle", time.Hour, 15*dayLong, func(st *state.Tenant) bool { return st.Dropped(s.day(0)) && st.Dropped(s.day(1)) })
		before := s.events()
		s.askScan("one", -1, 1)
		if sig := s.answered("one", time.Hour); sig.Answer != state.AnswerDone {
			s.Errorf("the answer is %+v", sig)
		}
		s.proves()
		if n := s.events() - before; n != 0 {
			s.Errorf("%d events more, want 0", n)
		}
		seen := map[string]int{}
		for _, rec := range s.read(topics.Events) {
			call := decode(s.T, rec)
			if key := fmt.Sprintf("%s/%d", call.RowID, call.Revision); seen[key] > 0 {
				s.Errorf("%s is doubled", key)
			} else {
				seen[key]++
			}
		}
	})
}

// A scan further back that is canceled while another waits: its days are left alone.
func TestScanCanceledBesideAnother(t *testing.T) {
	h := history{interval: 10 * time.Minute, lookback: 12 * time.Hour, back: 5, pageSize: 1000, perMinute: 3000}
	stage(t, h, -30, -1, graphfake.TenantConfig{RowsPerDay: 40, Flat: true}, func(s *scene) {
		s.until("the first days", time.Hour, 10*dayLong, func(st *state.Tenant) bool { return st.Dropped(s.day(-5)) })
		before := s.events()
		sc := s.graph.Script(graphfake.Fault{Kind: graphfake.Status, Status: 500, Count: -1, Match: func(r graphfake.Request) bool { return r.From.Before(s.day(-5).Start()) }})
		s.askScan("back", -20, -5)
		s.askScan("week", -4, -3)
		time.Sleep(2 * time.Minute)
		s.give("xcancel", state.Signal{Kind: state.SignalCancel, Tenant: tenant, Target: "back"})
		s.answered("xcancel", time.Minute)
		sc.Off()
		if sig := s.answered("week", 12*time.Hour); sig.Answer != state.AnswerDone {
			s.Errorf("the other's answer is %+v", sig)
		}
		time.Sleep(dayLong)
		if n := s.events() - before; n != 0 {
			s.Errorf("%d events more, want 0: the canceled days were read; start %s origin %v", n, s.state().Header.Start, s.state().Header.Origin)
		}
	})
}

// A range that does not reach the days that are polled is refused: those in between would be read as well, or never.
func TestScanBehindAGap(t *testing.T) {
	h := history{interval: 10 * time.Minute, lookback: 12 * time.Hour, back: 5, pageSize: 1000, perMinute: 3000}
	stage(t, h, -30, -1, graphfake.TenantConfig{RowsPerDay: 40, Flat: true}, func(s *scene) {
		s.until("the first days", time.Hour, 10*dayLong, func(st *state.Tenant) bool { return st.Dropped(s.day(-5)) })
		before := s.events()
		s.askScan("one", -20, -19)
		if sig := s.answered("one", time.Hour); sig.Answer != state.AnswerRefused || !strings.Contains(sig.Why, "polling begins at "+s.day(-5).String()) {
			s.Errorf("the answer is %+v, want refused", sig)
		}
		time.Sleep(dayLong)
		if n := s.events() - before; n != 0 {
			s.Errorf("%d events more, want none", n)
		}
	})
}

// A scan and its cancel, whose id sorts before the scan's, are given while nobody runs.
func TestScanCanceledBeforeItWasHeard(t *testing.T) {
	settledWeek(t, func(s *scene) {
		s.addOn(3, s.day(-8))
		before := s.events()
		s.model.mu.Lock()
		s.armed = append(s.armed, &armed{op: op{kind: opKill, what: string(kafka.AtBegin), dur: 10 * time.Minute}, left: 1})
		s.model.mu.Unlock()
		for s.total()[opKill] == 0 {
			time.Sleep(10 * time.Second)
		}
		s.askScan("zz", -9, -2)
		time.Sleep(time.Second)
		s.give("aa", state.Signal{Kind: state.SignalCancel, Tenant: tenant, Target: "zz"})
		aa, zz := s.answered("aa", time.Hour), s.answered("zz", time.Hour)
		if aa.Answer != state.AnswerDone || zz.Answer != state.AnswerCanceled || s.events() != before {
			s.Errorf("cancel: %s %s; scan: %s, %d events more", aa.Answer, aa.Why, zz.Answer, s.events()-before)
		}
	})
}

// Graph refuses days for good: reopened ones, and one that has not settled.
func TestScanOfWhatGraphRefuses(t *testing.T) {
	settledWeek(t, func(s *scene) {
		s.graph.Script(graphfake.Fault{Kind: graphfake.Status, Status: 400, Count: -1, Match: func(r graphfake.Request) bool { return r.From.Before(s.day(-6).Start()) }})
		s.askScan("one", -9, -2)
		s.answered("one", 12*time.Hour)
		time.Sleep(2 * dayLong)
		if st := s.state(); slices.ContainsFunc(st.Header.Conditions, func(c state.Condition) bool { return c.Name == status.DayUnanswered }) {
			s.Errorf("two days later: %+v", st.Header.Conditions)
		}
		today := window.Of(time.Now())
		s.graph.Script(graphfake.Fault{Kind: graphfake.Status, Status: 400, Count: -1, Match: func(r graphfake.Request) bool {
			return window.Of(r.From) <= today && window.Of(r.To) >= today
		}})
		n := int(today - s.day(0))
		s.askScan("two", n, n+1)
		time.Sleep(6 * time.Hour)
		if said, ended := s.signals("two"); !ended {
			s.Errorf("6 hours later: %+v", said[len(said)-1])
		}
	})
}

// Two scans that overlap are done one after the other.
func TestScansOverlap(t *testing.T) {
	settledWeek(t, func(s *scene) {
		s.addOn(3, s.day(-8))
		before := s.events()
		s.askScan("wide", -9, -2)
		s.askScan("narrow", -8, -7)
		n, w := s.answered("narrow", time.Hour), s.answered("wide", time.Hour)
		if n.Answer != state.AnswerDone || w.Answer != state.AnswerDone || s.events()-before != 3 {
			s.Errorf("narrow %s %s; wide %s %s; %d more", n.Answer, n.Why, w.Answer, w.Why, s.events()-before)
		}
	})
}
