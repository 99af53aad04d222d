//go:build synctests

package poller_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"pstncalls/internal/graphfake"
	"pstncalls/internal/state"
	"pstncalls/internal/window"
)

// scene is a model whose tenant has generated calls, and no history.
type scene struct {
	*testing.T
	*model
	mu       sync.Mutex
	requests []graphfake.Request
	watches  []*prometheus.Registry // of those who look at the shards
}

// stage runs a scene in a bubble; the pollers start at noon. calls is what the tenant has; its From and To are days from birth.
func stage(t *testing.T, h history, from, to int, calls graphfake.TenantConfig, play func(*scene)) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(12 * time.Hour)
		m, err := newModel(&h)
		if err != nil {
			t.Fatal(err)
		}
		calls.ID = tenant
		calls.From, calls.To = m.day(from).Start(), m.day(to).Start()
		m.graph = graphfake.New(graphfake.Config{Seed: 1, PageSize: h.pageSize, Order: h.order, Reading: h.reading, Tenants: []graphfake.TenantConfig{calls}})
		s := &scene{T: t, model: m}
		m.graph.Script(graphfake.Fault{Kind: graphfake.Hook, Count: -1, Hook: func(r graphfake.Request) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.requests = append(s.requests, r)
		}})
		m.startMain()
		play(s)
		m.close()
		for _, f := range m.findings {
			t.Errorf("%s: %s", f.class, f.text)
		}
		if bad := m.graph.Misuse(); len(bad) > 0 {
			t.Errorf("misuse: %q", bad)
		}
	})
}

func (s *scene) asked() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.requests)
}

// state returns the tenant as the state topic has it.
func (s *scene) state() *state.Tenant {
	s.Helper()
	t, err := s.load()
	if err != nil {
		s.Fatal(err)
	}
	if t == nil {
		return state.New(tenant, 0)
	}
	return t
}

// read returns the committed records of a topic.
func (s *scene) read(topic string) []*kgo.Record {
	s.Helper()
	recs, err := s.model.read(topic)
	if err != nil {
		s.Fatal(err)
	}
	return recs
}

// until lets time pass until a condition is met.
func (s *scene) until(what string, step, most time.Duration, met func(*state.Tenant) bool) {
	s.Helper()
	for began := time.Now(); !met(s.state()); time.Sleep(step) {
		if time.Since(began) > most {
			s.Fatalf("in vain for %s: %s\n%s", most, what, tail(s.log.String(), 3000))
		}
	}
}

func rows(t *state.Tenant) (n int64) {
	for _, day := range t.Windows() {
		n += t.Window(day).Rows
	}
	return n
}

// clean compares the topic with the truth as of now.
func (s *scene) clean() {
	s.Helper()
	seen := map[string]bool{}
	for _, rec := range s.read(topics.Events) {
		call := decode(s.T, rec)
		id := fmt.Sprintf("%s/%d", call.RowID, call.Revision)
		if seen[id] {
			s.Errorf("%s is doubled", id)
		}
		seen[id] = true
	}
	truth := s.graph.Truth(tenant)
	if len(seen) != len(truth) {
		s.Errorf("%d events, want %d", len(seen), len(truth))
	}
	for _, r := range truth {
		if !seen[r.ID+"/0"] {
			s.Errorf("lost: %s", r.ID)
		}
	}
}

// tails returns the requests for a part of a day.
func (s *scene) tails() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.requests {
		if ofPart(r) {
			n++
		}
	}
	return n
}

// ofPart reports whether a request is for a part of a day.
func ofPart(r graphfake.Request) bool { return r.From != r.From.Truncate(dayLong) }

// TestBackfillOfAYear counts the requests for a year of 20,000 rows.
func TestBackfillOfAYear(t *testing.T) {
	h := history{interval: 5 * time.Minute, lookback: 7 * dayLong, back: 365, pageSize: 1000}
	for _, calls := range []graphfake.TenantConfig{{RowsPerDay: 55, Flat: true}, {RowsPerDay: 55}, {RowsPerDay: 110, SparseShare: 0.5}} {
		for _, order := range []graphfake.Order{graphfake.ByStart, graphfake.Random} {
			h.order = order
			t.Run(fmt.Sprintf("%d a day, flat %v, sparse %v, by %s", calls.RowsPerDay, calls.Flat, calls.SparseShare, order), func(t *testing.T) {
				stage(t, h, -365, 0, calls, func(s *scene) {
					total := int64(len(s.graph.Truth(tenant)))
					s.until("all is published", time.Second, time.Hour, func(t *state.Tenant) bool { return rows(t) == total })
					published, took := s.asked(), time.Since(s.birth)
					s.until("all is settled", time.Minute, dayLong, func(t *state.Tenant) bool {
						for day := s.day(-365); day < s.day(-8); day++ {
							if !t.Settled(day) {
								return false
							}
						}
						return true
					})
					settled := s.asked()
					s.Logf("a year of %d rows: %d requests (%v) until all is published, %d (%v) until all is settled", total, published, took.Round(time.Second), settled, time.Since(s.birth).Round(time.Second))
					if published > 30 || settled > 60 {
						s.Errorf("%d requests until all is published, want at most 30; %d until all is settled, want at most 60", published, settled)
					}
					s.clean()
				})
			})
		}
	}
}

// backfillOfDenseDays reads days of several pages: none of their pages is read twice before all is published, and today's calls
// do not wait for it.
func backfillOfDenseDays(t *testing.T, days, rowsPerDay int) {
	h := history{interval: 5 * time.Minute, lookback: 7 * dayLong, back: days, pageSize: 1000}
	stage(t, h, -days, 0, graphfake.TenantConfig{RowsPerDay: rowsPerDay, Flat: true}, func(s *scene) {
		total := days * rowsPerDay
		pages, twice, waited := map[string]int{}, 0, time.Duration(0)
		lastOpen := s.birth
		s.graph.Script(graphfake.Fault{Kind: graphfake.Hook, Count: -1, Hook: func(r graphfake.Request) {
			s.mu.Lock()
			defer s.mu.Unlock()
			if today := s.day(0).Start(); !r.To.Before(today.Add(dayLong)) {
				waited = max(waited, time.Since(lastOpen))
				lastOpen = time.Now()
				return
			}
			key := fmt.Sprint(r.From, r.To, r.Skip)
			if pages[key]++; pages[key] > 1 && len(pages) < total/h.pageSize { // when the last page has been read, second scans begin
				twice++
			}
		}})
		s.until("all is published", 10*time.Second, 2*dayLong, func(t *state.Tenant) bool { return rows(t) == int64(total) })
		s.mu.Lock()
		s.Logf("%d days of %d rows: %d requests in %v until all is published, %d pages twice; the open window waited for %v at most",
			days, rowsPerDay, len(s.requests), time.Since(s.birth).Round(time.Second), twice, waited.Round(time.Second))
		if twice > 0 {
			s.Errorf("%d pages were read twice", twice)
		}
		if most := h.interval + time.Minute + 10*time.Second; waited > most { // the budget may be spent for a minute
			s.Errorf("the open window waited for %v, want at most %v", waited, most)
		}
		s.mu.Unlock()
		if b := s.state().Header.Backfill; b != nil {
			s.Errorf("the backfill is said to go on: %+v", b)
		}
		for _, want := range []string{"msg=backfill ", "time_left=", "backfill complete"} {
			if !strings.Contains(s.log.String(), want) {
				s.Errorf("the log has no %q", want)
			}
		}
		s.until("all is settled", time.Minute, 3*dayLong, func(t *state.Tenant) bool { return t.Settled(s.day(-days)) && t.Settled(s.day(-9)) })
		s.clean()
	})
}

func TestBackfillOfDenseDays(t *testing.T) { backfillOfDenseDays(t, 12, 5000) }

// TestReadings learns how Graph reads a range under each of the four readings, proves it again after a day and then weekly, and
// notices when it changes.
func TestReadings(t *testing.T) {
	const exactly = "11111111-1111-4111-8111-111111111111" // a call that starts at midnight
	for _, c := range []struct {
		reading    graphfake.Reading
		midnight   bool
		times, end string
	}{
		{graphfake.Reading{}, false, state.TimesIgnored, state.EndExclusive},
		{graphfake.Reading{EndInclusive: true}, false, state.TimesIgnored, state.EndInclusive},
		{graphfake.Reading{TimesHonoured: true}, false, state.TimesHonoured, ""},
		{graphfake.Reading{TimesHonoured: true, EndInclusive: true}, true, state.TimesHonoured, state.EndInclusive},
	} {
		t.Run(c.reading.String(), func(t *testing.T) {
			h := history{interval: 30 * time.Minute, lookback: 3 * dayLong, back: 5, pageSize: 20, reading: c.reading}
			stage(t, h, -5, 30, graphfake.TenantConfig{RowsPerDay: 40, Flat: true}, func(s *scene) {
				if c.midnight {
					for day := range 3 {
						row := map[string]any{"id": fmt.Sprint(exactly[:35], day), "startDateTime": stamp(s.day(-day).Start())}
						if err := s.graph.AddRow(tenant, row, s.birth); err != nil {
							s.Fatal(err)
						}
					}
				}
				check := func(what string, times, end string, proofs int) {
					s.Helper()
					r := s.state().Header.Reading
					if r == nil || r.Times != times || r.End != end || r.Proofs != proofs {
						s.Errorf("%s: learned %+v, want times %s, end %q, %d proofs", what, r, times, end, proofs)
					}
				}
				time.Sleep(20 * time.Hour)
				check("on the first day", c.times, c.end, 1)
				time.Sleep(dayLong)
				check("on the second day", c.times, c.end, 2)
				time.Sleep(5 * dayLong)
				check("before a week is over", c.times, c.end, 2)
				time.Sleep(3 * dayLong)
				check("after a week", c.times, c.end, 3)

				other := graphfake.Reading{TimesHonoured: !c.reading.TimesHonoured, EndInclusive: c.reading.EndInclusive}
				s.graph.SetReading(other)
				time.Sleep(8 * dayLong)
				if r := s.state().Header.Reading; r.Times == c.times {
					s.Errorf("after a change it still holds %+v", r)
				}
				s.settleAll(30)
				s.clean()
			})
		})
	}
}

// settleAll lets time pass until all calls before a day can have been read.
func (s *scene) settleAll(day int) {
	s.Helper()
	time.Sleep(time.Until(s.day(day).Start().Add(s.h.lookback + 2*dayLong)))
	t := s.state()
	for d := t.Header.Start; d < s.day(day); d++ {
		if !t.Settled(d) {
			s.Errorf("%s has not settled", d)
		}
	}
}

// TestTailsOfADenseDay reads only the end of a dense day while times of day are known to count, and falls back to whole days
// when they do not any more.
func TestTailsOfADenseDay(t *testing.T) {
	h := history{interval: 10 * time.Minute, lookback: 30 * time.Hour, back: 2, pageSize: 1000, perMinute: 1, reading: graphfake.Reading{TimesHonoured: true}}
	stage(t, h, -2, 1, graphfake.TenantConfig{RowsPerDay: 12_000, Flat: true, LateShare: 0.05, MaxLateness: 5 * time.Hour}, func(s *scene) {
		time.Sleep(4 * time.Hour)
		tails, all := s.tails(), s.asked()
		s.Logf("%d of %d requests in 4 h were for a tail", tails, all)
		if tails < 4*6/2 {
			s.Errorf("%d of %d requests were for a tail: want most polls", tails, all)
		}
		if at := s.state().CompleteUpTo(time.Now()); time.Since(at) > 4*h.interval {
			s.Errorf("complete up to %s at %s: a tail moves the watermark", at, time.Now())
		}
		s.graph.SetReading(graphfake.Reading{})
		time.Sleep(4 * h.interval)
		if r := s.state().Header.Reading; r.Times != state.TimesIgnored {
			s.Errorf("a tail that holds the whole day proves nothing: %+v", r)
		}
		tails = s.tails()
		time.Sleep(2 * time.Hour)
		if n := s.tails() - tails; n > 0 {
			s.Errorf("%d more tails were asked for", n)
		}
		s.until("the day settles", time.Hour, 4*dayLong, func(t *state.Tenant) bool { return t.Settled(s.day(0)) })
		s.clean()
	})
}

// TestClock lets nothing settle while the clock is off, or has jumped and is not confirmed.
func TestClock(t *testing.T) {
	h := history{interval: 10 * time.Minute, lookback: dayLong, back: 3, pageSize: 100}
	condition := func(name string) func(*state.Tenant) bool {
		return func(t *state.Tenant) bool {
			return slices.ContainsFunc(t.Header.Conditions, func(c state.Condition) bool { return c.Name == name })
		}
	}
	none := func(t *state.Tenant) bool { return len(t.Header.Conditions) == 0 }
	for _, by := range []time.Duration{2 * time.Minute, -2 * time.Minute, 6 * time.Hour, -6 * time.Hour} {
		t.Run(by.String(), func(t *testing.T) {
			stage(t, h, -3, 4, graphfake.TenantConfig{RowsPerDay: 50, Flat: true}, func(s *scene) {
				s.until("the old days settle", time.Minute, time.Hour, func(t *state.Tenant) bool { return t.Settled(s.day(-3)) && t.Settled(s.day(-2)) })
				s.offs.Store(int64(by))
				s.until("it says that the clock is off", time.Minute, time.Hour, condition("clock-off"))
				time.Sleep(12*time.Hour + by.Abs() + time.Hour) // yesterday's lookback ends
				if s.state().Settled(s.day(-1)) {
					s.Error("a day settled by a clock that is off")
				}
				s.offs.Store(0)
				s.until("it says that the clock is right", time.Minute, time.Hour+by.Abs(), none)
				s.until("the day settles", time.Minute, 2*time.Hour+by.Abs(), func(t *state.Tenant) bool { return t.Settled(s.day(-1)) })
				if !strings.Contains(s.log.String(), "the clock has jumped") {
					s.Error("the log says nothing of a jump")
				}
				s.settleAll(4)
				s.clean()
			})
		})
	}
}

// TestFlapping says so when a row does not come to rest, for a day.
func TestFlapping(t *testing.T) {
	h := history{interval: 10 * time.Minute, lookback: dayLong, back: 1, pageSize: 100}
	stage(t, h, -1, 0, graphfake.TenantConfig{RowsPerDay: 3, Flat: true}, func(s *scene) {
		time.Sleep(time.Hour)
		id := s.graph.Truth(tenant)[0].ID
		flapped := func(t *state.Tenant) bool { return len(t.Header.Conditions) > 0 }
		for i := range 10 {
			if flapped(s.state()) {
				s.Fatalf("said after %d corrections", i)
			}
			err := s.graph.CorrectRow(tenant, id, func(r map[string]any) { r["duration"] = i % 2 }, time.Now())
			if err != nil {
				s.Fatal(err)
			}
			time.Sleep(30 * time.Minute)
		}
		t := s.state()
		if !flapped(t) || t.Header.Conditions[0].Name != "row-flapping" || !strings.Contains(t.Header.Conditions[0].Sentence, id) {
			s.Errorf("conditions %+v", t.Header.Conditions)
		}
		if n := t.Window(window.Of(s.birth) - 1).Revisions; n != 10 {
			s.Errorf("%d revisions, want 10", n)
		}
		time.Sleep(dayLong + time.Hour)
		if t := s.state(); flapped(t) {
			s.Errorf("a day later: %+v", t.Header.Conditions)
		}
	})
}

// TestScheduleWrites lets hours pass in which nothing changes: what only steers the schedule is written every ten minutes at most.
func TestScheduleWrites(t *testing.T) {
	h := history{interval: time.Minute, lookback: 3 * dayLong, back: 2, pageSize: 1000, reading: graphfake.Reading{TimesHonoured: true}}
	stage(t, h, -2, 0, graphfake.TenantConfig{RowsPerDay: 50, Flat: true}, func(s *scene) {
		commits := func() (n int) { // the embedded Kafka does not compact here: each commit has left its record
			for _, rec := range s.read(topics.State) {
				if string(rec.Key) == "commit" {
					n++
				}
			}
			return n
		}
		time.Sleep(time.Hour + 30*time.Second) // not on a minute: a commit at either end of the five hours would count or not
		before, asked := commits(), s.asked()
		time.Sleep(5 * time.Hour)
		if n := commits() - before; n == 0 || n > 5*6 {
			s.Errorf("%d commits in five hours without a change, want one in ten minutes at most", n)
		}
		if n := s.asked() - asked; n < 5*60 || n > 5*60+1 { // the last lookback is one page; and perhaps a probe
			s.Errorf("%d requests in five hours, want one a minute", n)
		}
	})
}

// TestWatermark follows a tenant's watermark topic: it never goes back, and what it says is complete was in the topic by then.
func TestWatermark(t *testing.T) {
	h := history{interval: 10 * time.Minute, lookback: dayLong, back: 2, pageSize: 20}
	stage(t, h, -2, 3, graphfake.TenantConfig{RowsPerDay: 100, Flat: true}, func(s *scene) {
		s.settleAll(3)
		recs := s.read(topics.Watermark)
		var last time.Time
		for _, rec := range recs {
			at := completeUpTo(s.T, rec)
			if at.Before(last) || at.After(rec.Timestamp) {
				s.Errorf("at %s, after %s: complete up to %s", rec.Timestamp, last, at)
			}
			last = at
		}
		if time.Since(last) > time.Hour {
			s.Errorf("the last one says %s at %s", last, time.Now())
		}
		s.Logf("%d watermarks", len(recs))
	})
}
