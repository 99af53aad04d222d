//go:build synctests

package poller_test

import (
	"testing"
	"time"

	"pstncalls/internal/graphfake"
)

// refuseParts lets Graph refuse times of day.
func (s *scene) refuseParts() {
	s.graph.Script(graphfake.Fault{Kind: graphfake.Status, Status: 400, Count: -1, Match: ofPart})
}

// tell logs what the state says of some days, the last one included, and in all.
func (s *scene) tell(from, to int) {
	s.Helper()
	st := s.state()
	for d := s.day(from); d <= s.day(to); d++ {
		w := st.Window(d)
		s.Logf("%s settled %v scans %d last %v rows %d vanished %d", d, w.Settled != nil, w.Scans, w.LastScan, w.Rows, w.Vanished)
	}
	s.Logf("conditions %+v; tails %d of %d; watermark %s at %s", st.Header.Conditions, s.tails(), s.asked(), st.CompleteUpTo(time.Now()), time.Now())
}

// A Graph that refuses times of day from the start.
func TestProbeRefused(t *testing.T) {
	for _, c := range []struct {
		name                             string
		interval                         time.Duration
		pageSize, rowsPerDay, last, days int
	}{
		{"days of a page", 10 * time.Minute, 100, 50, 4, 6},
		{"dense days", time.Hour, 1000, 3000, 8, 8},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := history{interval: c.interval, lookback: dayLong, back: 3, pageSize: c.pageSize, reading: graphfake.Reading{TimesHonoured: true}}
			stage(t, h, -3, c.last, graphfake.TenantConfig{RowsPerDay: c.rowsPerDay, Flat: true}, func(s *scene) {
				s.refuseParts()
				time.Sleep(time.Duration(c.days) * dayLong)
				s.tell(-3, c.days)
				if s.tails() == 0 {
					s.Error("no probe was refused: the test shows nothing")
				}
				if !s.state().Settled(s.day(-1)) {
					s.Error("yesterday never settles: a refused probe owns it for ever")
				}
				s.clean()
			})
		})
	}
}

func TestClockStepsBack(t *testing.T) {
	h := history{interval: 10 * time.Minute, lookback: 2 * dayLong, back: 40, pageSize: 100}
	stage(t, h, -40, 0, graphfake.TenantConfig{RowsPerDay: 5, Flat: true}, func(s *scene) {
		time.Sleep(8 * time.Hour)
		s.offs.Store(int64(-36 * time.Hour))
		time.Sleep(6 * time.Hour)
		st := s.state()
		s.Logf("while off: conditions %+v, asked %d", st.Header.Conditions, s.asked())
		if len(st.Header.Conditions) == 0 {
			s.Error("six hours after the clock stepped back 36 hours the state says nothing")
		}
	})
}

func TestStartWithAClockBehind(t *testing.T) {
	h := history{interval: 10 * time.Minute, lookback: 2 * dayLong, back: 40, pageSize: 100}
	stage(t, h, -40, 10, graphfake.TenantConfig{RowsPerDay: 5, Flat: true}, func(s *scene) {
		time.Sleep(8 * time.Hour)
		time.AfterFunc(30*time.Second, func() { s.offs.Store(int64(-10 * dayLong)) })
		s.pause(op{kind: opStop, dur: time.Minute})
		time.Sleep(time.Minute)
		n := s.asked()
		time.Sleep(2 * dayLong)
		st := s.state()
		s.Logf("conditions %+v, asked %d more", st.Header.Conditions, s.asked()-n)
		if s.asked() == n && len(st.Header.Conditions) == 0 {
			s.Error("two days without a request and without a condition")
		}
	})
}

func TestClockWasAhead(t *testing.T) {
	h := history{interval: 10 * time.Minute, lookback: 30 * time.Hour, back: 2, pageSize: 1000, perMinute: 1, reading: graphfake.Reading{TimesHonoured: true}}
	stage(t, h, -2, 1, graphfake.TenantConfig{RowsPerDay: 12_000, Flat: true, LateShare: 0.05, MaxLateness: 5 * time.Hour}, func(s *scene) {
		time.Sleep(4 * time.Hour)
		n := s.tails()
		time.Sleep(time.Hour)
		before := s.tails() - n
		s.offs.Store(int64(5 * time.Hour))
		time.Sleep(30 * time.Minute)
		s.offs.Store(0)
		time.Sleep(15 * time.Minute)
		n = s.tails()
		asked := s.asked()
		time.Sleep(time.Hour)
		after := s.tails() - n
		s.Logf("tails in an hour: %d before, %d after the clock was 5 h ahead for half an hour (%d requests)", before, after, s.asked()-asked)
		s.Logf("complete up to %s at %s", s.state().CompleteUpTo(time.Now()), time.Now())
		if after > 3*before {
			s.Error("tails spin")
		}
		worst := time.Duration(0)
		for _, rec := range s.read(topics.Watermark) {
			worst = max(worst, completeUpTo(s.T, rec).Sub(rec.Timestamp))
		}
		if worst > time.Minute {
			s.Errorf("a watermark was %s in the future", worst)
		}
	})
}

// A day that was read once while it was open, then a stop longer than the lookback: its next scan is its first whole one.
func TestLongStop(t *testing.T) {
	h := history{interval: 10 * time.Minute, lookback: dayLong, back: 1, pageSize: 20}
	stage(t, h, -1, 1, graphfake.TenantConfig{RowsPerDay: 60, Flat: true}, func(s *scene) {
		time.Sleep(time.Hour)
		time.AfterFunc(4*dayLong-time.Minute, func() {
			first := s.graph.Truth(tenant)[0].ID
			fired := false
			s.graph.Script(graphfake.Fault{Kind: graphfake.Hook, Count: -1, Match: func(r graphfake.Request) bool {
				return r.Skip == 100 && !r.From.After(s.day(-1).Start()) && !fired
			}, Hook: func(r graphfake.Request) {
				fired = true
				s.Logf("%s to %s at %d: %s vanishes: %v", r.From, r.To, r.Skip, first, s.graph.RemoveRow(tenant, first, time.Now()))
			}})
		})
		s.pause(op{kind: opStop, dur: 4 * dayLong})
		time.Sleep(2 * dayLong)
		s.tell(-1, 1)
		s.clean()
	})
}

func TestClockFarOff(t *testing.T) {
	for _, by := range []time.Duration{400 * dayLong, 3 * dayLong, -400 * dayLong, -3 * dayLong} {
		t.Run(by.String(), func(t *testing.T) {
			h := history{interval: 10 * time.Minute, lookback: 2 * dayLong, back: 5, pageSize: 20}
			stage(t, h, -5, 8, graphfake.TenantConfig{RowsPerDay: 50, Flat: true}, func(s *scene) {
				time.Sleep(8 * time.Hour)
				s.offs.Store(int64(by))
				time.Sleep(2 * time.Hour)
				s.pause(op{kind: opStop, dur: time.Minute})
				time.Sleep(time.Hour)
				s.offs.Store(0)
				time.Sleep(30 * time.Minute)
				s.pause(op{kind: opStop, dur: time.Minute})
				time.Sleep(30 * time.Minute)
				st := s.state()
				n := s.asked()
				time.Sleep(time.Hour)
				s.Logf("conditions %+v, watermark %s at %s, backfill %+v, %d windows, %d requests in an hour", st.Header.Conditions, st.CompleteUpTo(time.Now()), time.Now(), st.Header.Backfill, len(st.Windows()), s.asked()-n)
				for d := 0; d < 9; d++ {
					time.Sleep(dayLong)
					if late := time.Since(s.state().CompleteUpTo(time.Now())); late > time.Hour || late < 0 {
						s.Errorf("watermark %s late at %s", late, time.Now())
					}
				}
				s.settleAll(8)
				s.clean()
			})
		})
	}
}

// After the reading was proved, Graph begins to refuse parts of a day.
func TestTailRefused(t *testing.T) {
	h := history{interval: 10 * time.Minute, lookback: 30 * time.Hour, back: 2, pageSize: 1000, perMinute: 1, reading: graphfake.Reading{TimesHonoured: true}}
	stage(t, h, -2, 1, graphfake.TenantConfig{RowsPerDay: 12_000, Flat: true}, func(s *scene) {
		time.Sleep(5 * time.Hour)
		s.refuseParts()
		time.Sleep(3 * dayLong)
		s.tell(-2, 3)
		if !s.state().Settled(s.day(0)) {
			s.Error("the day of the refused tail is never read again")
		}
	})
}

// The last scan of a full day is answered with an empty page by mistake: it has to show the same again, and does not.
func TestLastScanNearlyEmpty(t *testing.T) {
	const late = "11111111-1111-4111-8111-111111111111" // a row that only the last scan could show
	h := history{interval: time.Hour, lookback: 2 * dayLong, back: 1, pageSize: 1000}
	stage(t, h, -1, 1, graphfake.TenantConfig{RowsPerDay: 3000, Flat: true}, func(s *scene) {
		time.Sleep(time.Until(s.day(-1).End().Add(2*dayLong - 30*time.Minute)))
		for _, r := range s.graph.Truth(tenant) {
			if err := s.graph.RemoveRow(tenant, r.ID, time.Now()); err != nil {
				s.Fatal(err)
			}
		}
		time.Sleep(50 * time.Minute)
		if w := s.state().Window(s.day(-1)); w.Settled != nil || w.Vanished != 3000 {
			s.Errorf("settled %v by a scan in which %d of %d rows had vanished", w.Settled, w.Vanished, w.Rows)
		}
		row := map[string]any{"id": late, "startDateTime": stamp(s.day(-1).Start().Add(time.Hour))}
		if err := s.graph.AddRow(tenant, row, time.Now()); err != nil {
			s.Fatal(err)
		}
		time.Sleep(6 * time.Hour)
		if w := s.state().Window(s.day(-1)); w.Settled == nil || w.Rows != 3001 {
			s.Errorf("settled %v with %d rows, want 3001", w.Settled, w.Rows)
		}
	})
}

// A reject that changes at every read.
func TestFlappingReject(t *testing.T) {
	h := history{interval: 10 * time.Minute, lookback: dayLong, back: 1, pageSize: 100}
	stage(t, h, -1, 0, graphfake.TenantConfig{RowsPerDay: 3, Flat: true}, func(s *scene) {
		time.Sleep(time.Hour)
		id := s.graph.Truth(tenant)[0].ID
		for i := range 40 {
			if err := s.graph.CorrectRow(tenant, id, func(r map[string]any) { r["duration"] = "soon"; r["calleeNumber"] = i % 2 }, time.Now()); err != nil {
				s.Fatal(err)
			}
			time.Sleep(15 * time.Minute)
		}
		st := s.state()
		dlq := s.read(topics.DLQ)
		s.Logf("%d dead letters of one row, conditions %+v", len(dlq), st.Header.Conditions)
		if len(dlq) > 20 && len(st.Header.Conditions) == 0 {
			s.Error("a reject flaps in silence")
		}
	})
}
