package poller

import (
	"context"
	"slices"
	"time"

	"pstncalls/internal/row"
	"pstncalls/internal/schedule"
	"pstncalls/internal/window"
)

// startDue starts the scans that are due, and returns how long until the next has to be looked at.
func (s *session) startDue(ctx context.Context) time.Duration {
	now := s.p.cfg.Clock.Now()
	if s.clock.jumped(s.p.cfg.Clock, now) {
		s.clockJumped(now)
	}
	s.expire(s.ofShard(), now)
	next := now.Add(time.Minute)
	for _, t := range s.tenants {
		if at := s.warnAgain(t, now); at.Before(next) {
			next = at
		}
		if !t.planAt.After(now) {
			t.planAt = s.startTenant(ctx, t, now)
		}
		if t.planAt.Before(next) {
			next = t.planAt
		}
	}
	if at := s.flushDue(); at.Before(next) {
		next = at
	}
	return max(next.Sub(now), time.Millisecond)
}

// startTenant starts what is due of a tenant, and returns when to look again, unless a scan ends before.
func (s *session) startTenant(ctx context.Context, t *tenant, now time.Time) time.Time {
	s.expire(s.of(t), now)
	s.pursue(ctx, t, now)
	in := s.input(t, now)
	s.afford(t, in)
	due, next := s.p.cfg.Schedule.Plan(in)
	closed := 0
	for _, sc := range t.scans {
		if !sc.open {
			closed++
		}
	}
	for _, item := range due {
		open := item.Kind == schedule.Open || item.Kind == schedule.Tail
		if !open && closed >= s.p.cfg.Concurrency {
			continue // the end of another scan wakes the loop
		}
		if !open {
			closed++
		}
		s.start(ctx, &scan{tenant: t, rng: item.Range, from: item.From, kind: item.Kind, open: open, urgent: open && s.small(t, item.Pages), begun: now})
	}
	if len(due) == 0 && closed < s.p.cfg.Concurrency && !in.Behind() { // a backfill reads no page twice
		s.probe(ctx, t, now)
	}
	read := window.Of(now).Start() // before the window began there was nothing to read
	if w := t.Window(window.Of(now)); w.LastScan != nil && w.LastScan.After(read) {
		read = *w.LastScan
	}
	s.p.cfg.Metrics.OpenLag(t.ID, now.Sub(read))
	if tomorrow := window.Of(now).End(); tomorrow.Before(next) {
		next = tomorrow
	}
	if limit := now.Add(time.Minute); limit.Before(next) {
		next = limit
	}
	return next
}

// small reports whether so many pages are little enough to go before everything else: a dense open window would starve the
// closed ones.
func (s *session) small(t *tenant, pages float64) bool {
	return pages <= float64(t.source.Budget.Limit())*s.p.cfg.Schedule.Interval.Minutes()/4
}

// input is what the plan of a tenant depends on.
func (s *session) input(t *tenant, now time.Time) schedule.Input {
	in := schedule.Of(t.Tenant, now)
	in.Lateness, in.PerMinute = &t.lateness, t.source.Budget.Limit()
	in.TimesCount = in.TimesCount && now.After(t.wholeUntil)
	in.Alone = now.Before(t.aloneUntil)
	for i := range in.Windows {
		w := &in.Windows[i]
		w.Busy = t.busy(w.Day, nil)
		w.Asked = s.asked(t, w.Day)
		if u := t.unanswered[w.Day]; u != nil {
			w.After = u.until
		}
	}
	return in
}

// busy reports whether a scan in progress, other than except, owns the day.
func (t *tenant) busy(day window.Day, except *scan) bool {
	return slices.ContainsFunc(t.scans, func(sc *scan) bool { return sc != except && sc.rng.Contains(day) })
}

// resume goes on with the scans that the predecessor left, unless the set-up has changed since.
func (s *session) resume(ctx context.Context, t *tenant) {
	for _, old := range t.Scans() {
		settled := false
		for day := old.Range.From; day < old.Range.To; day++ {
			settled = settled || t.Settled(day)
		}
		if settled || old.APIVersion != s.p.cfg.APIVersion || old.Endpoint != s.p.cfg.Endpoint || old.Privacy != s.p.cfg.Privacy.ID() || old.Link == "" {
			t.DropScan(old.Range.From)
			continue
		}
		t.log.Info("going on with a scan", "range", old.Range.String(), "page", old.Pages+1)
		sc := &scan{tenant: t, rng: old.Range, open: old.Range.Contains(window.Of(s.p.cfg.Clock.Now())), begun: old.Begun,
			resumed: true, link: old.Link, pages: old.Pages, rows: old.Rows}
		if old.From != nil {
			sc.from = *old.From
		}
		if !sc.open {
			sc.kind = schedule.Again
			if w := t.Window(old.Range.From); w.LastScan == nil {
				sc.kind = schedule.First
			}
		}
		sc.urgent = sc.open
		s.start(ctx, sc)
	}
}

func (s *session) start(ctx context.Context, sc *scan) {
	ctx, sc.cancel = context.WithCancel(ctx)
	t := sc.tenant
	t.scans = append(t.scans, sc)
	sc.seen = s.counter.Add(1)
	sc.again = t.inVain(sc.rng)
	sc.failing = sc.again
	sc.begin()
	f := &fetcher{scan: sc, pager: t.source.Pager, clock: s.p.cfg.Clock, convert: row.NewConverter(s.p.cfg.Privacy),
		limit: s.layout.MaxRecordBytes, counter: &s.counter, out: s.pages}
	s.workers.Go(func() {
		defer sc.cancel()
		f.run(ctx)
	})
}

func (s *session) end(sc *scan) {
	sc.cancel()
	t := sc.tenant
	t.scans = slices.DeleteFunc(t.scans, func(o *scan) bool { return o == sc })
	t.DropScan(sc.rng.From)
	t.planAt = time.Time{}
}
