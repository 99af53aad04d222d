package poller

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"pstncalls/internal/kafka"
	"pstncalls/internal/row"
	"pstncalls/internal/schedule"
	"pstncalls/internal/state"
	"pstncalls/internal/window"
)

const (
	// maxBatchRows is when pages that are ready wait for the next commit. A transaction costs the same for ten rows as for a
	// thousand; beyond a few thousand nothing is gained and a retry costs more.
	maxBatchRows = 4000
	// scheduleEvery is how long what only steers the schedule may wait for a commit that carries rows.
	scheduleEvery = 10 * time.Minute
	// conditionsEvery is the same for conditions: sooner, since somebody may be looking.
	conditionsEvery = 15 * time.Second
	// successorWindow and successorRequests are the rule for the successor of a crashed owner.
	successorWindow   = time.Minute
	successorRequests = 3
)

// tenant is a tenant of this session.
type tenant struct {
	*state.Tenant
	source    Source
	scans     []*scan   // in progress
	watermark time.Time // as this session published it last
	log       *slog.Logger
}

// session is one ownership of the shard: everything in it is thrown away at its end.
type session struct {
	p       *Poller
	kafka   *kafka.Session
	tenants []*tenant
	pages   chan fetched
	counter atomic.Uint64
	workers sync.WaitGroup
	flushed time.Time // when the schedule was last made durable
	urgent  bool      // a condition began or ended since
	log     *slog.Logger
}

func (p *Poller) newSession(ks *kafka.Session, snap *kafka.Snapshot, names []string) (*session, error) {
	now := p.cfg.Clock.Now()
	s := &session{p: p, kafka: ks, pages: make(chan fetched), flushed: now, log: p.cfg.Log.With("shard", ks.Shard())}
	previous := snap.Previous
	if previous != nil && p.ours(*previous) {
		previous = nil // our own budgets know what they have spent
	}
	for _, name := range names {
		src, err := p.cfg.Source(name)
		if err != nil {
			return nil, subject(err, name)
		}
		st, ok, err := state.Load(name, snap.State)
		if err != nil {
			return nil, err
		}
		if !ok {
			st = state.New(name, p.cfg.Start(now))
		}
		t := &tenant{Tenant: st, source: src, log: s.log.With("tenant", name)}
		switch {
		case previous != nil && previous.Released == nil && p.cfg.PoliteSuccessor:
			n := successorRequests
			if now.Sub(previous.At) < successorWindow { // perhaps another crash's successor, which has had them
				n = 0
			}
			src.Budget.Restrict(now.Add(successorWindow), n)
		case previous != nil && previous.Released != nil && st.Header.Requests != nil:
			src.Budget.Restore(st.Header.Requests.Used)
		}
		if r := st.Header.Requests; r == nil || r.Limit != src.Budget.Limit() {
			st.SetHeader(func(h *state.Header) { h.Requests = &state.Requests{At: now, Limit: src.Budget.Limit()} })
		}
		for _, c := range st.Header.Conditions {
			p.cfg.Metrics.Condition.WithLabelValues(name, c.Name).Set(1)
		}
		s.tenants = append(s.tenants, t)
	}
	return s, nil
}

// run works until ctx ends, the tenants change, or the session dies. Where it ends in order, it hands over.
func (s *session) run(ctx context.Context, changed <-chan struct{}) error {
	ctx, cancel := context.WithCancel(ctx)
	defer s.workers.Wait()
	defer cancel()
	for _, t := range s.tenants {
		s.resume(ctx, t)
	}
	s.log.Info("owner of the shard", "tenants", len(s.tenants), "commit", s.kafka.Next()-1)
	for {
		wake := s.startDue(ctx)
		timer, stop := s.p.cfg.Clock.Timer(wake)
		select {
		case f := <-s.pages:
			stop()
			if err := s.handle(s.gather(f)); err != nil {
				return err
			}
		case <-timer:
			if err := s.flush(); err != nil {
				return err
			}
		case <-changed:
			stop()
			return s.release(cancel)
		case <-ctx.Done():
			stop()
			return s.release(cancel)
		}
	}
}

// release ends the session in order: the count of the last minute's requests goes with the tenants.
func (s *session) release(cancel context.CancelFunc) error {
	cancel()
	s.workers.Wait()
	s.countRequests()
	recs, _, err := s.records()
	if err != nil {
		return err
	}
	return s.kafka.Release(recs)
}

// gather adds the pages that are ready to the first one.
func (s *session) gather(f fetched) []fetched {
	batch, rows := []fetched{f}, len(f.rows)
	for rows < maxBatchRows {
		select {
		case f := <-s.pages:
			batch = append(batch, f)
			rows += len(f.rows)
		default:
			return batch
		}
	}
	return batch
}

// startDue starts the scans that are due, and returns how long until the next has to be looked at.
func (s *session) startDue(ctx context.Context) time.Duration {
	now := s.p.cfg.Clock.Now()
	next := now.Add(time.Minute)
	for _, t := range s.tenants {
		at := s.startTenant(ctx, t, now)
		if at.Before(next) {
			next = at
		}
	}
	if at := s.flushDue(); at.Before(next) {
		next = at
	}
	return max(next.Sub(now), time.Millisecond)
}

func (s *session) startTenant(ctx context.Context, t *tenant, now time.Time) time.Time {
	today := window.Of(now)
	closed := 0
	for _, sc := range t.scans {
		if !sc.open {
			closed++
		}
	}
	var ws []schedule.Window
	for day := t.Header.Start; day <= today; day++ {
		if t.busy(day, nil) {
			continue
		}
		w := t.Window(day)
		sw := schedule.Window{Day: day, Settled: w.Settled != nil}
		if w.LastScan != nil {
			sw.LastScan = *w.LastScan
		}
		ws = append(ws, sw)
		if day == today && w.LastScan != nil {
			s.p.cfg.Metrics.OpenLag(t.ID, now.Sub(*w.LastScan))
		}
	}
	due, next := s.p.cfg.Schedule.Plan(now, ws)
	for _, item := range due {
		if !item.Open && closed >= s.p.cfg.Concurrency {
			continue // a page or an end of another scan wakes the loop
		}
		if !item.Open {
			closed++
		}
		s.start(ctx, &scan{tenant: t, rng: window.Range{From: item.Day, To: item.Day + 1}, open: item.Open, begun: now})
	}
	if tomorrow := today.End(); tomorrow.Before(next) {
		next = tomorrow
	}
	return next
}

// busy reports whether a scan in progress, other than except, owns the day.
func (t *tenant) busy(day window.Day, except *scan) bool {
	return slices.ContainsFunc(t.scans, func(sc *scan) bool { return sc != except && sc.rng.Contains(day) })
}

// resume goes on with the scans that the predecessor left, unless the set-up has changed since.
func (s *session) resume(ctx context.Context, t *tenant) {
	for _, old := range t.Scans() {
		if old.APIVersion != s.p.cfg.APIVersion || old.Endpoint != s.p.cfg.Endpoint || old.Privacy != s.p.cfg.Privacy.ID() || old.Link == "" {
			t.DropScan(old.Range.From)
			continue
		}
		t.log.Info("going on with a scan", "range", old.Range.String(), "page", old.Pages+1)
		s.start(ctx, &scan{tenant: t, rng: old.Range, open: old.Range.Contains(window.Of(s.p.cfg.Clock.Now())), begun: old.Begun,
			resumed: true, link: old.Link, pages: old.Pages, rows: old.Rows})
	}
}

func (s *session) start(ctx context.Context, sc *scan) {
	ctx, sc.cancel = context.WithCancel(ctx)
	sc.tenant.scans = append(sc.tenant.scans, sc)
	sc.seen = s.counter.Add(1)
	f := &fetcher{scan: sc, pager: sc.tenant.source.Pager, clock: s.p.cfg.Clock, convert: row.NewConverter(s.p.cfg.Privacy),
		limit: s.p.cfg.Layout.MaxRecordBytes, counter: &s.counter, out: s.pages}
	s.workers.Go(func() {
		defer sc.cancel()
		f.run(ctx)
	})
}

func (s *session) end(sc *scan) {
	sc.cancel()
	sc.tenant.scans = slices.DeleteFunc(sc.tenant.scans, func(o *scan) bool { return o == sc })
	sc.tenant.DropScan(sc.rng.From)
}

// handle compares what has arrived and commits the answer.
func (s *session) handle(fs []fetched) error {
	b := newBatch(s)
	for _, f := range fs {
		if f.err != nil {
			s.failed(f)
			continue
		}
		b.page(f)
		s.advance(f)
	}
	if b.err == nil && b.empty() {
		return nil
	}
	return b.commit()
}

// advance moves the scan behind the page, and completes it with the last one.
func (s *session) advance(f fetched) {
	sc := f.scan
	t := sc.tenant
	sc.pages++
	sc.rows += int64(len(f.rows))
	sc.seen = f.received
	sc.link = f.page.Link
	if f.progress {
		sc.failing = false
		if !slices.ContainsFunc(t.scans, func(o *scan) bool { return o.failing }) {
			s.endCondition(t, conditionSource)
		}
	}
	lowest := f.received
	for _, o := range t.scans {
		lowest = min(lowest, o.seen)
	}
	t.Forget(lowest)
	if sc.link != "" {
		t.KeepScan(state.Scan{Range: sc.rng, Begun: sc.begun, Link: sc.link, Pages: sc.pages, Rows: sc.rows,
			APIVersion: s.p.cfg.APIVersion, Endpoint: s.p.cfg.Endpoint, Privacy: s.p.cfg.Privacy.ID()})
		return
	}
	s.end(sc)
	now := s.p.cfg.Clock.Now()
	settle := s.settles(sc)
	t.Scanned(sc.rng, sc.begun, sc.pages, settle, now)
	level := slog.LevelDebug
	if sc.news > 0 || settle {
		level = slog.LevelInfo
	}
	t.log.Log(context.Background(), level, "scan complete", "range", sc.rng.String(), "pages", sc.pages, "rows", sc.rows, "news", sc.news,
		"settled", settle, "took", now.Sub(sc.begun).Round(time.Millisecond))
}

// settles reports whether a complete scan is its windows' last. A row that was left because its page might be older than what
// is known has to be read again; so has a window whose pages were not all read in this session. A window that is older than
// the lookback when it is first read settles with one page; with several, where $skip may have skipped a row, a second scan
// has to find nothing new.
func (s *session) settles(sc *scan) bool {
	sch := s.p.cfg.Schedule
	if sc.resumed || sc.stale || !sch.Settles(sc.rng.To-1, sc.begun) {
		return false
	}
	for day := sc.rng.From; day < sc.rng.To; day++ {
		w := sc.tenant.Window(day)
		known := w.LastScan != nil && !sch.Settles(day, *w.LastScan) // a scan of its regular life
		again := w.LastScan != nil && sc.news == 0
		if sc.pages > 1 && !known && !again {
			return false
		}
	}
	return true
}

// failed notes an error of a scan: its goroutine waits and asks again.
func (s *session) failed(f fetched) {
	sc := f.scan
	sc.seen = f.received
	sc.tenant.log.Warn("scan waits", "range", sc.rng.String(), "page", sc.pages+1, "error", f.err, "wait", f.wait.Round(time.Millisecond), "restart", f.restart)
	sc.failing = true
	s.beginCondition(sc.tenant, conditionSource, f.err.Error())
	if f.restart {
		sc.begun = s.p.cfg.Clock.Now()
		sc.pages, sc.rows, sc.link, sc.stale, sc.resumed = 0, 0, "", false, false
		sc.tenant.DropScan(sc.rng.From)
	}
}

// conditionSource holds while a tenant's rows cannot be read.
const conditionSource = "graph-unreadable"

func (s *session) beginCondition(t *tenant, name, sentence string) {
	cs := t.Header.Conditions
	i := slices.IndexFunc(cs, func(c state.Condition) bool { return c.Name == name })
	if i >= 0 && cs[i].Sentence == sentence {
		return
	}
	t.SetHeader(func(h *state.Header) {
		if i >= 0 {
			h.Conditions[i].Sentence = sentence
			return
		}
		h.Conditions = append(h.Conditions, state.Condition{Name: name, Since: s.p.cfg.Clock.Now(), Sentence: sentence})
	})
	s.p.cfg.Metrics.Condition.WithLabelValues(t.ID, name).Set(1)
	s.urgent = s.urgent || i < 0
}

func (s *session) endCondition(t *tenant, name string) {
	if !slices.ContainsFunc(t.Header.Conditions, func(c state.Condition) bool { return c.Name == name }) {
		return
	}
	t.SetHeader(func(h *state.Header) {
		h.Conditions = slices.DeleteFunc(h.Conditions, func(c state.Condition) bool { return c.Name == name })
	})
	t.log.Info("readable again")
	s.p.cfg.Metrics.Condition.WithLabelValues(t.ID, name).Set(0)
	s.urgent = true
}

func (s *session) flushDue() time.Time {
	if !slices.ContainsFunc(s.tenants, func(t *tenant) bool { return t.Dirty() }) {
		return schedule.Never
	}
	if s.urgent {
		return s.flushed.Add(conditionsEvery)
	}
	return s.flushed.Add(scheduleEvery)
}

// flush makes durable what only steers the schedule, for all tenants of the shard together.
func (s *session) flush() error {
	if s.flushDue().After(s.p.cfg.Clock.Now()) {
		return nil
	}
	s.countRequests()
	return newBatch(s).commit()
}

// countRequests puts the last minute's requests into the tenant records: for a successor, and for status.
func (s *session) countRequests() {
	now := s.p.cfg.Clock.Now()
	for _, t := range s.tenants {
		t.SetHeader(func(h *state.Header) {
			h.Requests = &state.Requests{At: now, Used: t.source.Budget.Used(), Limit: t.source.Budget.Limit()}
		})
	}
}

// watermark is the value of a tenant's record on the watermark topic.
type watermark struct {
	V            int       `json:"v"`
	Tenant       string    `json:"tenant"`
	CompleteUpTo time.Time `json:"completeUpTo"`
}

// records returns what differs from the state topic, and the watermarks that have moved.
func (s *session) records() (out, marks []kafka.Record, err error) {
	now := s.p.cfg.Clock.Now()
	for _, t := range s.tenants {
		rs, merged, err := t.Records()
		if err != nil {
			return nil, nil, &stopError{subject(err, t.ID)}
		}
		if at := t.CompleteUpTo(now); !at.Equal(t.watermark) {
			t.watermark = at
			value, err := json.Marshal(watermark{V: state.Version, Tenant: t.ID, CompleteUpTo: at})
			if err != nil {
				return nil, nil, subject(err, t.ID)
			}
			marks = append(marks, kafka.Record{Key: []byte(t.ID), Value: value})
		}
		if merged && s.p.cfg.Observer != nil {
			s.p.cfg.Observer.Reached(s.kafka.Shard(), AtMerge)
		}
		for _, r := range rs {
			out = append(out, kafka.Record{Key: []byte(r.Key), Value: r.Value})
		}
	}
	s.flushed, s.urgent = now, false
	return out, marks, nil
}

var errNoAction = errors.New("poller: a decision without a meaning")

func unknownAction(a state.Action) error { return fmt.Errorf("%w: %d", errNoAction, a) }
