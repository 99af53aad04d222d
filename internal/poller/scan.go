package poller

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"pstncalls/internal/schedule"
	"pstncalls/internal/state"
	"pstncalls/internal/status"
	"pstncalls/internal/window"
)

// scan is one scan in progress. Its fields belong to the shard's goroutine, but for those that fetch is given at the start.
type scan struct {
	tenant  *tenant
	rng     window.Range
	from    time.Time // of a part: the instant of the range's only day from which it is asked; zero: whole days
	probe   bool      // a part that is asked to learn how Graph reads a range
	kind    schedule.Kind
	open    bool // it holds the open window
	urgent  bool // its requests go before all others
	begun   time.Time
	resumed bool
	link    string // the next page; for a resumed scan, where it goes on
	pages   int64
	rows    int64
	news    int64               // events and rejects
	tries   int                 // attempts that have failed since the last progress
	failed  uint64              // the number of the third of them: what was under way before an outage has come in by then
	changed map[window.Day]bool // days of which it had news
	failing bool                // its last attempt failed, and no new page has come since
	again   bool                // its days were not answered for the last time: only its last page shows that they are now
	stale   bool                // a row was left because the page might be older than what is known
	astray  bool                // its times cannot be trusted: the clock was off, or jumped
	learned learned
	seen    uint64 // the number at which its last processed page had been received
	cancel  context.CancelFunc
}

// begin begins the scan's seen-set and counts, at its first page.
func (sc *scan) begin() {
	sc.learned = learned{hours: map[window.Day]*hours{}}
	sc.changed = map[window.Day]bool{}
	if sc.from.IsZero() && !sc.resumed {
		sc.tenant.BeginScan(sc.rng)
	}
}

// note counts a row that is published or refused.
func (sc *scan) note(day window.Day) {
	sc.news++
	sc.changed[day] = true
}

// advance moves the scan behind the page, and completes it with the last one.
func (s *session) advance(f fetched) {
	sc := f.scan
	t := sc.tenant
	sc.pages++
	sc.rows += int64(len(f.rows))
	sc.seen = f.received
	sc.link = f.page.Link
	s.checkClock(f)
	s.countBackfill(sc, len(f.rows))
	if f.progress {
		sc.tries = 0
		t.answered = f.received
		sc.failing = sc.again && sc.link != ""
		if !slices.ContainsFunc(t.scans, func(o *scan) bool { return o.failing }) {
			s.endCondition(t, status.GraphUnreadable)
			s.endCondition(t, status.GraphDenied)
		}
	}
	lowest := f.received
	for _, o := range t.scans {
		lowest = min(lowest, o.seen)
	}
	t.Forget(lowest)
	switch {
	case sc.link == "":
		s.complete(sc)
	case sc.probe && sc.learned.before > 0 && sc.pages >= probePages: // it is answered, and little hangs on the rest
		s.end(sc)
		s.learnTimes(sc)
	default:
		t.KeepScan(s.scanRecord(sc))
	}
}

func (s *session) scanRecord(sc *scan) state.Scan {
	r := state.Scan{Range: sc.rng, Begun: sc.begun, Link: sc.link, Pages: sc.pages, Rows: sc.rows,
		APIVersion: s.p.cfg.APIVersion, Endpoint: s.p.cfg.Endpoint, Privacy: s.p.cfg.Privacy.ID()}
	if !sc.from.IsZero() {
		r.From = &sc.from
	}
	return r
}

// complete ends a scan whose last page has been read.
func (s *session) complete(sc *scan) {
	t := sc.tenant
	s.end(sc)
	now := s.p.cfg.Clock.Now()
	if sc.open {
		s.looked(t, now)
	}
	if !sc.from.IsZero() {
		s.learnTimes(sc)
		s.learnEnd(sc)
		if !sc.probe {
			t.CompleteTail(sc.rng.From, sc.from, sc.begun)
		}
		t.log.Debug("part of a day read", "day", sc.rng.From.String(), "from", sc.from, "pages", sc.pages, "rows", sc.rows, "news", sc.news)
		return
	}
	settling := s.settling(sc)
	vanished := t.Complete(state.Scanned{Range: sc.rng, Begun: sc.begun, Pages: sc.pages, Resumed: sc.resumed})
	if vanished > 0 {
		s.vanished(t, sc.rng, vanished)
		settling = nil // the set has shrunk, so $skip may have skipped a row; or the answer was no answer: it has to show the same again
	}
	for _, day := range settling {
		t.Settle(day, now)
		s.urgent = true
	}
	s.learnEnd(sc)
	s.keepHours(sc)
	s.completeBackfill(sc)
	s.answeredFor(t, sc.rng)
	level := slog.LevelDebug
	if sc.news > 0 || len(settling) > 0 || vanished > 0 {
		level = slog.LevelInfo
	}
	t.log.Log(context.Background(), level, "scan complete", "range", sc.rng.String(), "pages", sc.pages, "rows", sc.rows, "news", sc.news,
		"vanished", vanished, "settled", len(settling), "took", now.Sub(sc.begun).Round(time.Millisecond))
}

// settling returns the days of which a complete scan is the last. A row that was left because its page might be older than what
// is known has to be read again; so has a window whose pages were not all read in this session, or whose scan's times cannot be
// trusted. One page shows all there is. With several, where $skip may have skipped a row, the scan has to find nothing new of the
// day, and to be its second since the day's end.
// Guard: whole scan. Taken out: TestSettling.
func (s *session) settling(sc *scan) []window.Day {
	if sc.resumed || sc.stale || sc.astray {
		return nil
	}
	var days []window.Day
	for day := sc.rng.From; day < sc.rng.To; day++ {
		w := sc.tenant.Window(day)
		again := w.LastScan != nil && !w.LastScan.Before(day.End()) && !sc.changed[day]
		if s.p.cfg.Schedule.Settles(day, sc.begun) && (sc.pages == 1 || again) && !s.awaited(sc.tenant, day, sc.begun) {
			days = append(days, day)
		}
	}
	return days
}

// failed notes an error of a scan: its goroutine waits and asks again, unless the scan is given up.
func (s *session) failed(f fetched) {
	sc := f.scan
	sc.seen = f.received
	if sc.tries++; sc.tries <= 3 {
		sc.failed = f.received
	}
	sc.failing = true
	sc.tenant.warned = s.p.cfg.Clock.Now()
	s.unreadable(sc.tenant, f.err)
	log := sc.tenant.log.With("range", sc.rng.String(), "page", sc.pages+1, "error", f.err)
	if hopeless(sc, f.err) {
		log.Warn("scan given up", "tries", sc.tries, "instead", s.giveUp(sc, f))
		return
	}
	log.Warn("scan waits", "wait", f.wait.Round(time.Millisecond))
}
