package poller

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"pstncalls/internal/clock"
	"pstncalls/internal/kafka"
	"pstncalls/internal/state"
	"pstncalls/internal/verify"
	"pstncalls/internal/window"
)

// Scans that somebody asks for: one of a tenant after the other, each in parts, newest days first. A day that has settled is read again
// only with the ledgers of all rows that it may show: they are rebuilt and proved first, by a worker, while the days stand still.

const (
	// partRows is how many rows of settled days are given back their ledgers at once: so memory does not grow with the range.
	partRows = 500_000
	// MaxBack is how many days back a scan may ask: Graph keeps no calls that are older, and would be asked in vain.
	MaxBack = 366
	// mostApart is how long at most a part waits whose events cannot be read.
	mostApart = time.Hour
)

// rebuilt are the ledgers of the settled days of a part, from the events topic.
type rebuilt struct {
	wish    *wish
	part    window.Range
	settled map[window.Day]bool // the days of the part that had settled by then
	dropped int                 // how many days of the tenant had no ledger by then
	ledgers map[window.Day][]state.Known
	err     error
}

// acceptScan accepts a scan, or goes on with one that a predecessor has accepted.
func (s *session) acceptScan(w *wish) {
	now := s.p.cfg.Clock.Now()
	t := s.tenant(w.Tenant)
	today := window.Of(now)
	refuse := func(format string, args ...any) {
		s.answer(w, state.AnswerRefused, fmt.Sprintf(format, args...))
	}
	switch {
	case t == nil && !slices.ContainsFunc(s.unpolled[w.Tenant], state.IsTenant):
		refuse("the running producer does not poll this tenant (GRAPH_TENANTS), and the state knows nothing of it")
	case w.Accepted != nil: // also one of a tenant that is not polled here: it waits for who does
	case t == nil:
		refuse("the running producer does not poll this tenant: see GRAPH_TENANTS")
	case w.Range.To > today+2: // the asker's clock may be ahead, and its day another one
		refuse("%s lies in the future", w.Range.To-1)
	case w.Range.From < today-MaxBack:
		refuse("Graph keeps no calls before %s", today-MaxBack)
	case w.Range.To < t.Header.Start:
		refuse("polling begins at %s: a range further back has to reach it, or days in between would never be read: ask up to there", t.Header.Start)
	default:
		left := *w.Range
		w.Accepted, w.Left, w.dirty = &now, &left, true
		s.prompt = true
		t.planAt = time.Time{}
	}
}

// cancelScan ends another signal. What it has published stays.
func (s *session) cancelScan(w *wish) {
	target := s.wishes[w.Target]
	if target == nil || target.Kind != state.SignalScan || target.Answer != "" {
		s.answer(w, state.AnswerRefused, fmt.Sprintf("there is no scan %s in progress", w.Target))
		return
	}
	s.endScan(target, state.AnswerCanceled, "")
	s.answer(w, state.AnswerDone, "")
}

// verdict is the answer to a scan whose days have been read.
func (w *wish) verdict() (answer, why string) {
	if n := len(w.Refused); n > 0 {
		return state.AnswerRefused, fmt.Sprintf("Graph does not show %d of the days, of which the newest is %s: %s", n, slices.Max(w.Refused), w.Why)
	}
	return state.AnswerDone, ""
}

// endScan ends a scan. Where that is before its time, settled days settle again as they are, and days further back that have not been
// begun are not read.
func (s *session) endScan(w *wish, answer, why string) {
	t := s.tenant(w.Tenant)
	current := t != nil && s.current(t) == w
	s.answer(w, answer, why)
	if !current {
		return // it has not begun
	}
	if answer != state.AnswerDone {
		t.StopReadingBack()
	}
	for day := w.Range.From; day < w.Range.To; day++ {
		x := t.Window(day)
		if x.Reopened != nil && x.LastScan.Before(*w.Accepted) || day < t.Header.Start {
			for _, sc := range slices.Clone(t.scans) {
				if sc.rng.Contains(day) {
					s.end(sc)
				}
			}
			t.Resettle(day, s.p.cfg.Clock.Now())
		}
		if t.Settled(day) || day < t.Header.Start {
			delete(t.unanswered, day) // nobody asks for it any more
		}
	}
	s.sayUnanswered(t)
	t.planAt = time.Time{}
}

// scansOf returns the scans of a tenant that were asked for and are not done, in the order in which they were given.
func (s *session) scansOf(t *tenant) (out []*wish) {
	for _, w := range s.wishes {
		if w.Kind == state.SignalScan && w.Tenant == t.ID && w.Accepted != nil && w.Answer == "" {
			out = append(out, w)
		}
	}
	slices.SortFunc(out, func(a, b *wish) int {
		return cmp.Or(a.rank()-b.rank(), a.Given.Compare(b.Given), cmp.Compare(a.id, b.id))
	})
	return out
}

// rank lets a scan that has begun go before all others.
func (w *wish) rank() int {
	if w.rebuilding != nil || w.Part != nil || w.Left.To < w.Range.To {
		return 0
	}
	return 1
}

// current returns the scan of a tenant that is in progress, or begins next; nil: none was asked for.
func (s *session) current(t *tenant) *wish {
	if all := s.scansOf(t); len(all) > 0 {
		return all[0]
	}
	return nil
}

// pursue goes on with the scans that were asked for: a part is begun when the one before it has been read.
func (s *session) pursue(ctx context.Context, t *tenant, now time.Time) {
	for w := s.current(t); w != nil; w = s.current(t) {
		if w.Accepted.After(now) { // by a clock that was ahead
			w.Accepted, w.dirty = &now, true
		}
		if w.Part != nil {
			for day := w.Part.From; day < w.Part.To; day++ {
				if s.wants(w, t, day) {
					return
				}
			}
			w.Part, w.dirty = nil, true
			s.prompt = true
		}
		if w.Left.Days() > 0 {
			s.beginPart(ctx, w, t, now)
			if w.Part == nil && w.Answer == "" {
				return // its ledgers are being rebuilt
			}
			continue
		}
		answer, why := w.verdict()
		s.endScan(w, answer, why)
	}
}

// wants reports whether no complete scan has read a day of the part since the signal was accepted. A day that had settled, and has
// settled again, was read.
func (s *session) wants(w *wish, t *tenant, day window.Day) bool {
	if w.Part == nil || !w.Part.Contains(day) || slices.Contains(w.Refused, day) {
		return false
	}
	x := t.Window(day)
	return x.Settled == nil && (x.LastScan == nil || x.LastScan.Before(*w.Accepted) || x.LastScan.After(s.p.cfg.Clock.Now().Add(clock.MaxDistance)))
}

// asked reports whether a day is to be read now because a signal asks for it.
func (s *session) asked(t *tenant, day window.Day) bool {
	w := s.current(t)
	return w != nil && s.wants(w, t, day)
}

// awaited reports whether somebody asked for a day after an instant, who would take a day that settles for one that was read since.
func (s *session) awaited(t *tenant, day window.Day, begun time.Time) bool {
	return slices.ContainsFunc(s.scansOf(t), func(w *wish) bool { return w.Range.Contains(day) && begun.Before(*w.Accepted) })
}

// credit counts an event for the scans that ask for its day.
func (s *session) credit(t *tenant, day window.Day, revision int32) {
	for _, w := range s.scansOf(t) {
		if w.Range.Contains(day) {
			w.Events++
			if revision > 0 {
				w.Revisions++
			}
			w.dirty = true
		}
	}
}

// refuseDay lets a scan that asks for a day go on without it: Graph refuses to show it, and the scan would wait for ever.
func (s *session) refuseDay(t *tenant, day window.Day, why string) {
	w := s.current(t)
	if w == nil || !s.wants(w, t, day) {
		return
	}
	w.Refused, w.Why, w.dirty = append(w.Refused, day), why, true
	t.log.Warn("Graph does not show a day that was asked for", "day", day.String(), "id", w.id, "error", why)
	t.Resettle(day, s.p.cfg.Clock.Now())
	if t.Settled(day) {
		delete(t.unanswered, day)
		s.sayUnanswered(t)
	}
}

// beginPart begins the newest days that are left. Those that have settled need ledgers first.
func (s *session) beginPart(ctx context.Context, w *wish, t *tenant, now time.Time) {
	if w.rebuilding != nil || now.Before(w.after) {
		return
	}
	t.ReadFrom(w.Range.From)
	part := window.Range{From: w.Left.To - 1, To: w.Left.To}
	days := t.SettledDays()
	rows := days[part.From].Rows
	for ; part.From > w.Left.From; part.From-- {
		if rows += days[part.From-1].Rows; rows > int64(cmp.Or(s.p.cfg.PartRows, partRows)) {
			break
		}
	}
	r := rebuilt{wish: w, part: part, settled: t.settledIn(part), dropped: t.Header.Dropped}
	if len(r.settled) == 0 {
		s.takePart(r)
		return
	}
	basis := s.basis
	basis.Tenant, basis.Days, basis.Forgotten = t.ID, days, t.forgotten
	ctx, w.rebuilding = context.WithCancel(ctx)
	w.part = part
	t.log.Info("reading the events of settled days", "range", part.String(), "id", w.id)
	s.workers.Go(func() {
		r.ledgers, r.err = verify.Rebuild(ctx, s.p.cfg.Cluster, basis, r.settled)
		select {
		case s.rebuilt <- r:
		case <-ctx.Done():
		}
	})
}

// settledIn returns the days of a range that have settled, with and without their ledgers.
func (t *tenant) settledIn(r window.Range) map[window.Day]bool {
	out := map[window.Day]bool{}
	for day := r.From; day < r.To; day++ {
		if t.Settled(day) {
			out[day] = true
		}
	}
	return out
}

// takePart lets the part be read. Where days have settled or lost their ledgers meanwhile, what was rebuilt may not be all that is needed.
func (s *session) takePart(r rebuilt) {
	w := r.wish
	if w.rebuilding != nil {
		w.rebuilding()
		w.rebuilding = nil
	}
	if w.Answer != "" {
		return
	}
	t := s.tenant(w.Tenant)
	t.planAt = time.Time{}
	// Days are taken back here alone, so a day that has gone is seen in their number.
	if !maps.Equal(r.settled, t.settledIn(r.part)) || r.dropped != t.Header.Dropped {
		return // once more
	}
	now := s.p.cfg.Clock.Now()
	var lost *verify.LostError
	var refused *verify.RefusedError
	switch {
	case errors.As(r.err, &lost), errors.As(r.err, &refused):
		s.endScan(w, state.AnswerRefused, r.err.Error())
		return
	case r.err != nil: // Kafka's
		w.after = now.Add(min(time.Minute<<min(w.failures, 10), mostApart))
		w.failures++
		w.Why, w.dirty = "the events of settled days cannot be read: "+kafka.Explain(r.err), true
		t.log.Warn("the events of settled days cannot be read", "range", r.part.String(), "again", w.after, "error", kafka.Explain(r.err))
		return
	}
	w.failures = 0
	if err := t.Reopen(r.ledgers, r.settled, now); err != nil {
		s.endScan(w, state.AnswerRefused, err.Error())
		return
	}
	left := window.Range{From: w.Left.From, To: r.part.From}
	w.Part, w.Left, w.dirty = &r.part, &left, true
	s.prompt = true
}
