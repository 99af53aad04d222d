package poller

import (
	"errors"
	"fmt"
	"time"

	"pstncalls/internal/graph"
	"pstncalls/internal/status"
	"pstncalls/internal/window"
)

const (
	fewTries   = 5  // of one page, while others are answered
	manyTries  = 14 // whatever the others do: some seven minutes
	knownTries = 3  // of a day that was left out before

	leastHeld = 15 * time.Minute // a day that is not answered is left out, doubling,
	mostHeld  = 6 * time.Hour    // up to so long
)

// unanswered is a day that Graph does not answer for.
type unanswered struct {
	seen  uint64    // the number of the last attempt
	times int       // that it was asked for alone in vain, while Graph answered for others
	until time.Time // not asked before
	why   string
}

// hopeless reports whether going on with a scan has less of a chance than another scan. A scan that fails is never in progress
// for ever: it would keep its days, and its place, from those that are answered.
func hopeless(sc *scan, err error) bool {
	t := sc.tenant
	var ge *graph.Error
	errors.As(err, &ge)
	others := t.answered > sc.failed
	u := t.unanswered[sc.rng.From]
	switch {
	case u != nil && u.times > 0 && sc.tries >= knownTries:
		return true
	case ge == nil || ge.Class == graph.Retry:
		several := sc.link == "" && sc.rng.Days() > 1 // it loses no place
		return sc.tries >= fewTries && (others || several) || sc.tries >= manyTries
	case ge.Class == graph.Permanent:
		return true
	}
	return sc.tries >= manyTries && others
}

// giveUp ends a scan, and says what is asked instead: the whole day where a part is not answered; the same again from its first
// page where a later one is not, for its link may be refused; single days where several are not; and where one is not, nothing for
// a while, if Graph answers for others meanwhile: in an outage the same is asked again and again.
func (s *session) giveUp(sc *scan, f fetched) string {
	t, now := sc.tenant, s.p.cfg.Clock.Now()
	s.end(sc)
	if !sc.from.IsZero() {
		t.probeAt, t.wholeUntil = now.Add(24*time.Hour), now.Add(time.Hour)
		return "the whole day"
	}
	since, before := sc.failed, false
	for day := sc.rng.From; day < sc.rng.To; day++ {
		if u := t.unanswered[day]; u != nil {
			since, before = u.seen, true
		} else {
			t.unanswered[day] = &unanswered{}
		}
		t.unanswered[day].seen = f.received
	}
	var ge *graph.Error
	refused := errors.As(f.err, &ge) && ge.Class == graph.Permanent // no outage says so
	switch {
	case !before && sc.link != "":
		return "the same from its first page"
	case sc.rng.Days() > 1:
		for day := sc.rng.From; day < sc.rng.To; day++ {
			delete(t.unanswered, day)
		}
		t.aloneUntil = now.Add(time.Hour)
		return "days one by one"
	}
	u := t.unanswered[sc.rng.From]
	switch {
	case refused || t.answered > since:
		u.times++
	case u.times == 0:
		return "the same from its first page"
	}
	held := min(leastHeld<<min(u.times-1, 10), mostHeld)
	if sc.rng.From == window.Of(now) {
		held = s.p.cfg.Schedule.Interval
	}
	u.until, u.why = now.Add(held), f.err.Error()
	s.sayUnanswered(t)
	if refused {
		s.refuseDay(t, sc.rng.From, u.why)
	}
	return "other days, for " + held.String()
}

// inVain reports whether days of the range were not answered for the last time.
func (t *tenant) inVain(rng window.Range) bool {
	for day := range t.unanswered {
		if rng.Contains(day) {
			return true
		}
	}
	return false
}

// answeredFor notes that days were read. If today had not been answered for, what kept Graph from it may have kept it from all.
func (s *session) answeredFor(t *tenant, rng window.Range) {
	today := window.Of(s.p.cfg.Clock.Now())
	if u := t.unanswered[today]; u != nil && u.times > 0 && rng.Contains(today) {
		clear(t.unanswered)
	}
	for day := rng.From; day < rng.To; day++ {
		delete(t.unanswered, day)
	}
	s.sayUnanswered(t)
}

// sayUnanswered keeps the condition as the days are.
func (s *session) sayUnanswered(t *tenant) {
	days, first := 0, window.Day(0)
	for day, u := range t.unanswered {
		if u.times == 0 {
			continue
		}
		if days++; days == 1 || day < first {
			first = day
		}
	}
	switch days {
	case 0:
		s.endCondition(t, status.DayUnanswered)
	case 1:
		s.beginCondition(t, status.DayUnanswered, fmt.Sprintf("Graph answers for other days, but not for %s, which is asked for again now and then; its rows are missing until then: %s", first, t.unanswered[first].why))
	default:
		s.beginCondition(t, status.DayUnanswered, fmt.Sprintf("Graph does not answer for %d days, which are asked for again now and then; their rows are missing until then. For %s: %s", days, first, t.unanswered[first].why))
	}
}
