package poller

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"pstncalls/internal/row"
	"pstncalls/internal/schedule"
	"pstncalls/internal/state"
	"pstncalls/internal/status"
	"pstncalls/internal/window"
)

// hours counts the rows of a day by the hour in which they start.
type hours [24]int32

// learned is what the rows of one scan say about how Graph reads a range.
type learned struct {
	hours  map[window.Day]*hours // of its own days
	before int                   // rows of the day of a part that start before the part does
	after  int                   // those that start in it
	beyond int                   // rows of the day after the range, later than its first instant
	atEnd  int                   // rows of that first instant
}

// note takes a row in.
func (l *learned) note(sc *scan, start time.Time) {
	day := window.Of(start)
	switch {
	case day == sc.rng.To && start.Equal(day.Start()):
		l.atEnd++
	case day == sc.rng.To:
		l.beyond++
	case !sc.rng.Contains(day):
	case sc.from.IsZero():
		h := l.hours[day]
		if h == nil {
			h = &hours{}
			l.hours[day] = h
		}
		h[start.Hour()]++
	case start.Before(sc.from):
		l.before++
	default:
		l.after++
	}
}

const (
	// enough is how many known rows an absence has to contradict before anything is concluded from it.
	enough = 3
	// hoursKept is for how many days back the rows by hour are kept: probes want a day that is read anyway.
	hoursKept = 8
	// probePages is from how many pages on a probe ends with the first row that answers it.
	probePages = 5
	// probeRetry is when a probe that has shown nothing is tried again.
	probeRetry = time.Hour
)

// keepHours keeps the rows by hour of a complete scan that this session has read from first to last page.
func (s *session) keepHours(sc *scan) {
	t := sc.tenant
	oldest := window.Of(s.p.cfg.Clock.Now()) - hoursKept
	for day := range t.hours {
		if day < oldest || t.Settled(day) {
			delete(t.hours, day)
		}
	}
	if sc.resumed {
		return
	}
	for day, h := range sc.learned.hours {
		if day >= oldest && !t.Settled(day) {
			t.hours[day] = h
		}
	}
}

// probe asks for the last part of a closed day whose rows are known, where the tenant's reading is not known, or has to be
// proved again: a day after the first proof, then weekly. Whatever the answer, it can be no less than was asked for: a range
// from an instant to the next midnight holds rows under every reading.
func (s *session) probe(ctx context.Context, t *tenant, now time.Time) {
	if r := t.Header.Reading; now.Before(t.probeAt) || r != nil && r.TimesProved != nil && now.Before(r.TimesProved.Add(proofLife(r.Proofs))) {
		return
	}
	for day := window.Of(now) - 1; day >= window.Of(now)-hoursKept; day-- {
		h := t.hours[day]
		if h == nil || t.Settled(day) || t.busy(day, nil) {
			continue
		}
		from, ok := h.cut()
		if !ok {
			continue
		}
		t.probeAt = now.Add(probeRetry)
		s.start(ctx, &scan{tenant: t, rng: window.Range{From: day, To: day + 1}, from: day.Start().Add(time.Duration(from) * time.Hour),
			kind: schedule.Tail, probe: true, begun: now})
		return
	}
}

func proofLife(proofs int) time.Duration {
	if proofs < 2 {
		return 24 * time.Hour
	}
	return 7 * 24 * time.Hour
}

// cut returns the last hour that has enough rows before and behind its begin.
func (h *hours) cut() (hour int, ok bool) {
	total, behind := int32(0), int32(0)
	for _, n := range h {
		total += n
	}
	for hour = 23; hour > 0; hour-- {
		if behind += h[hour]; behind >= enough {
			return hour, total-behind >= enough
		}
	}
	return 0, false
}

// learnTimes concludes from a part of a day whether times of day count.
func (s *session) learnTimes(sc *scan) {
	l := &sc.learned
	switch {
	case l.before > 0:
		s.setTimes(sc.tenant, state.TimesIgnored, sc.probe)
	case sc.resumed || l.after < enough:
	case sc.probe || sc.tenant.knownBefore(sc.from) >= enough:
		s.setTimes(sc.tenant, state.TimesHonoured, sc.probe)
	}
}

// knownBefore returns how many rows are known to start before an instant, in its day.
func (t *tenant) knownBefore(at time.Time) (n int32) {
	h := t.hours[window.Of(at)]
	if h == nil {
		return 0
	}
	for _, rows := range h[:at.Hour()] {
		n += rows
	}
	return n
}

// setTimes notes an answer. A part that was not asked as a probe disproves at once, and confirms nothing new.
func (s *session) setTimes(t *tenant, answer string, probe bool) {
	old := state.Reading{}
	if t.Header.Reading != nil {
		old = *t.Header.Reading
	}
	if old.Times == answer && !probe {
		return
	}
	r := old
	now := s.p.cfg.Clock.Now()
	r.Times, r.TimesProved = answer, &now
	if r.Proofs++; old.Times != answer {
		r.Proofs, r.End, r.EndProved = 1, "", nil
		t.planAt = time.Time{}
		t.log.Log(context.Background(), slog.LevelInfo, "how Graph reads times of day", "before", old.Times, "now", answer)
	}
	t.SetHeader(func(h *state.Header) { h.Reading = &r })
}

// learnEnd concludes from the rows of the day after a range whether the end belongs to it.
func (s *session) learnEnd(sc *scan) {
	t, l := sc.tenant, &sc.learned
	switch w := t.Window(sc.rng.To); {
	case l.beyond > 0: // only whole days can be meant: it was asked for up to midnight
		s.setTimes(t, state.TimesIgnored, false)
		s.setEnd(t, state.EndInclusive)
	case l.atEnd > 0:
		s.setEnd(t, state.EndInclusive)
	case !sc.resumed && w.LastScan != nil && w.Rows-w.Vanished >= enough && t.Header.Reading != nil && t.Header.Reading.Times == state.TimesIgnored:
		s.setEnd(t, state.EndExclusive)
	}
}

func (s *session) setEnd(t *tenant, answer string) {
	r := state.Reading{}
	if t.Header.Reading != nil {
		r = *t.Header.Reading
	}
	now := s.p.cfg.Clock.Now()
	if r.End == answer && now.Sub(*r.EndProved) < 24*time.Hour { // seen at every scan: noted once a day
		return
	}
	if r.End != answer {
		t.log.Info("how Graph reads the end of a range", "before", r.End, "now", answer)
	}
	r.End, r.EndProved = answer, &now
	t.SetHeader(func(h *state.Header) { h.Reading = &r })
}

// late notes how long after its call's start a row of a window that is being watched was first seen, or seen changed.
func (t *tenant) late(r *row.Row, day window.Day, now time.Time) {
	if r.Start.IsZero() || t.Window(day).LastScan == nil {
		return // the first scan of a day shows nothing of when its rows came
	}
	t.lateness.Add(now.Sub(r.Start))
	t.SetHeader(func(h *state.Header) { h.Lateness = t.lateness.Counts[:] })
}

// countBackfill counts a page of a day that was never read before.
func (s *session) countBackfill(sc *scan, rows int) {
	if sc.kind != schedule.First {
		return
	}
	t := sc.tenant
	now := s.p.cfg.Clock.Now()
	b := state.Backfill{Began: sc.begun}
	if t.Header.Backfill != nil {
		b = *t.Header.Backfill
	}
	b.At = now
	b.Pages++
	b.Rows += int64(rows)
	t.SetHeader(func(h *state.Header) { h.Backfill = &b })
	if time.Since(t.said) >= sayAgain/2 {
		t.said = time.Now()
		left := t.Unread(now)
		t.log.Info("backfill", "days_read", b.Days, "days_left", left, "pages", b.Pages, "rows", b.Rows,
			"rows_per_second", b.RowsPerSecond(), "time_left", b.Left(left).Round(time.Second))
	}
}

// completeBackfill counts the days of a complete scan, and ends the count with the last one.
func (s *session) completeBackfill(sc *scan) {
	t := sc.tenant
	if t.Header.Backfill == nil {
		return
	}
	b := *t.Header.Backfill
	if sc.kind == schedule.First {
		b.Days += sc.rng.Days()
	}
	if t.Unread(s.p.cfg.Clock.Now()) > 0 {
		t.SetHeader(func(h *state.Header) { h.Backfill = &b })
		return
	}
	t.log.Info("backfill complete", "days", b.Days, "pages", b.Pages, "rows", b.Rows, "took", b.At.Sub(b.Began).Round(time.Second))
	t.SetHeader(func(h *state.Header) { h.Backfill = nil })
}

const (
	flapping   = 10     // the revision from which on a row is said to flap
	maxRefused = 10_000 // rows whose refusals are counted
)

// remark begins the conditions that a row gives reason for.
func (s *session) remark(t *tenant, d state.Decision) {
	if d.Repeated { // where Graph makes a reject of every row, memory does not grow with them
		if len(t.refused) >= maxRefused {
			clear(t.refused)
		}
		t.refused[d.RowID]++
	}
	switch {
	case d.Repeated && t.refused[d.RowID] >= flapping:
		s.happened(t, status.RowFlapping, fmt.Sprintf("row %s has become a reject %d times, each time with another content: the dead-letter topic holds every one; ask Microsoft about a row that does not come to rest", d.RowID, t.refused[d.RowID]+1))
	case d.Revision >= flapping:
		s.happened(t, status.RowFlapping, fmt.Sprintf("row %s has reached revision %d: readers see every one; ask Microsoft about a row that does not come to rest", d.RowID, d.Revision))
	case d.Stray:
		s.happened(t, status.RowsOutOfRange, "Graph has answered with rows of days that were not asked for and are not known: they are published when their own day is asked for, if Graph shows them there")
	}
}

// vanished says that Graph no longer returns rows.
func (s *session) vanished(t *tenant, rng window.Range, n int) {
	total := int64(0)
	for day := rng.From; day < rng.To; day++ {
		total += t.Window(day).Vanished
	}
	s.happened(t, status.RowsVanished, fmt.Sprintf("the last scan of %s did not return %d rows that one before it had; %d rows of these days have vanished in all", rng, n, total))
}

// rejected says that rows could not become events; last is the last one, and why.
func (s *session) rejected(t *tenant, last string) {
	total := int64(0)
	for _, day := range t.Windows() {
		if w := t.Window(day); w.Settled == nil {
			total += w.Rejects
		}
	}
	s.happened(t, status.RowsRejected, fmt.Sprintf("rows of the windows that have not settled have become %d rejects; the last one is %s", total, last))
}

// afford begins and ends the condition for a budget that does not suffice; once a minute, for it is a sum over all windows. What
// ends it is well below what begins it: a day's rows come and go.
func (s *session) afford(t *tenant, in schedule.Input) {
	if in.Now.Sub(t.budgetAt).Abs() < time.Minute {
		return
	}
	t.budgetAt = in.Now
	switch needed, budget := s.p.cfg.Schedule.Need(in); {
	case needed > budget:
		if !t.has(status.BudgetTooSmall) { // the numbers change every minute
			s.beginCondition(t, status.BudgetTooSmall, fmt.Sprintf("reading the windows as seldom as is permitted costs %.0f requests an hour, and the budget has %.0f", needed, budget))
		}
	case needed < 0.8*budget:
		s.endCondition(t, status.BudgetTooSmall)
	}
}

// manyRows is how many unsettled rows of one tenant are too many: some 1.1 GB, read at every start.
const manyRows = 20_000_000

// weigh begins and ends the condition for a tenant that outgrows its set-up. Nothing is dropped for it.
func (s *session) weigh(t *tenant) {
	limit := s.p.cfg.ManyRows
	if limit == 0 {
		limit = manyRows
	}
	if n := t.Rows(); n > limit {
		s.beginCondition(t, status.TooManyUnsettled, fmt.Sprintf("more than %d rows are in windows that are not settled, and kept in memory: make POLL_LOOKBACK shorter, or poll this tenant in a set-up of its own: KAFKA_GROUP and all four topics", limit))
	} else {
		s.endCondition(t, status.TooManyUnsettled)
	}
}
