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

	"pstncalls/internal/graph"
	"pstncalls/internal/kafka"
	"pstncalls/internal/schedule"
	"pstncalls/internal/state"
	"pstncalls/internal/status"
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
	source     Source
	scans      []*scan   // in progress
	watermark  time.Time // as this session published it last
	lateness   schedule.Lateness
	hours      map[window.Day]*hours // of the days that this session has read whole, the younger ones
	probeAt    time.Time             // no probe of Graph's reading before
	wholeUntil time.Time             // no tail before: Graph has not answered for one
	aloneUntil time.Time             // days are asked for one by one until then: Graph has not answered for several
	unanswered map[window.Day]*unanswered
	answered   uint64         // the number of the last page that was progress
	refused    map[string]int // how often rows of this session became rejects anew
	planAt     time.Time      // nothing more is due before, unless a scan ends
	said       time.Time      // when the log last told of the backfill
	warned     time.Time      // and when that rows cannot be read
	forgotten  int64          // the commit up to which its events count for nothing
	polled     time.Time      // when the open window was last read
	edge       []time.Time    // when rows came lately that might as well have come too late
	budgetAt   time.Time      // when it was last looked at whether the budget suffices
	throttled  []time.Time    // when Graph said lately that it was asked too much
	log        *slog.Logger
}

// session is one ownership of the shard: everything in it is thrown away at its end.
type session struct {
	p       *Poller
	kafka   *kafka.Session
	layout  kafka.Layout // as the topics are now: they may take less than when the process began
	tenants []*tenant
	pages   chan fetched
	counter atomic.Uint64
	workers sync.WaitGroup
	flushed time.Time // when the schedule was last made durable
	urgent  bool      // a condition began or ended since
	clock   clockWatch
	signals
	log *slog.Logger

	shard     *state.Shard
	strangers []state.Stranger // tenants that are not polled, whose records change with the next commit
	board     *status.Part     // what this session shows of conditions
}

func (p *Poller) newSession(ks *kafka.Session, snap *kafka.Snapshot, names []string) (_ *session, err error) {
	now := p.cfg.Clock.Now()
	s := &session{p: p, kafka: ks, layout: snap.Layout, pages: make(chan fetched), flushed: now, log: p.cfg.Log.With("shard", ks.Shard()), board: p.cfg.Metrics.Conditions.Part()}
	defer func() {
		if err != nil {
			s.board.Forget()
		}
	}()
	if s.shard, err = state.LoadShard(snap.State); err != nil {
		return nil, &stopError{err}
	}
	s.show(s.ofShard())
	previous := snap.Previous
	// Our own budgets know what they have spent. Where a session of ours did not get so far, its claim stands for another's.
	if _, worked := p.worked.Load(ks.Shard()); worked && previous != nil && p.ours(*previous) {
		previous = nil
	}
	for _, name := range names {
		src, err := p.cfg.Source(name)
		if err != nil {
			return nil, subject(err, name) // it may be mended: a retry asks again
		}
		st, ok, err := state.Load(name, snap.State)
		if err != nil {
			return nil, &stopError{err}
		}
		if !ok {
			st = state.New(name, p.cfg.Start(now))
		}
		t := &tenant{Tenant: st, source: src, hours: map[window.Day]*hours{}, unanswered: map[window.Day]*unanswered{}, refused: map[string]int{}, log: s.log.With("tenant", name)}
		if t.forgotten, err = state.Forgotten(name, snap.State); err != nil {
			return nil, &stopError{err}
		}
		copy(t.lateness.Counts[:], st.Header.Lateness)
		switch {
		case previous != nil && previous.Released == nil && p.cfg.PoliteSuccessor:
			n := successorRequests
			if now.Sub(previous.At) < successorWindow { // perhaps another crash's successor, which has had them
				n = 0
			}
			src.Budget.Restrict(now.Add(successorWindow), n)
		case previous != nil && previous.Released != nil && st.Header.Requests != nil:
			src.Budget.Restore(st.Header.Requests.Used)
			if r := st.Header.Requests.Strict; r != nil && p.cfg.PoliteSuccessor && now.Before(r.Until) {
				src.Budget.Restrict(earlier(r.Until, now.Add(successorWindow)), r.Left)
			}
		}
		if r := st.Header.Requests; r != nil && r.Hold != nil { // also of an owner that crashed
			src.Budget.Hold(earlier(*r.Hold, now.Add(graph.MaxRetryAfter)))
		}
		if r := st.Header.Requests; r == nil || r.Limit != src.Budget.Limit() {
			st.SetHeader(func(h *state.Header) { h.Requests = &state.Requests{At: now, Limit: src.Budget.Limit()} })
		}
		t.polled = lastPolled(st, now)
		s.checkState(t, now)
		s.show(s.of(t))
		s.endCondition(t, status.TenantUnconfigured)
		s.tenants = append(s.tenants, t)
	}
	if err := s.takeSignals(snap, names); err != nil {
		return nil, err
	}
	s.unconfigured(snap.State)
	s.inherit(p.workOf(ks.Shard()))
	s.urgent = s.urgent || time.Since(snap.Mark.At) > scheduleEvery // whoever looks takes an old mark for a shard that cannot commit
	p.worked.Store(ks.Shard(), true)
	return s, nil
}

// run works until ctx ends, the tenants change, or the session dies. Where it ends in order, it hands over.
// Signals are heard from an offset of its partition on.
func (s *session) run(ctx context.Context, changed <-chan struct{}, from int64) error {
	ctx, cancel := context.WithCancel(ctx)
	defer s.workers.Wait()
	defer cancel()
	s.listen(ctx, from)
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
			// Guard: one goroutine a shard. Taken out: TestLateAndCorrected, TestTwoOwners.
			if err := s.handle(s.gather(f)); err != nil {
				return err
			}
			if err := s.flush(); err != nil { // where there is always a page, the timer may never be heard
				return err
			}
		case <-timer:
			if err := s.flush(); err != nil {
				return err
			}
		case h := <-s.heard:
			stop()
			if h.err != nil {
				return h.err
			}
			s.signal(h.signal)
			if err := s.flush(); err != nil {
				return err
			}
		case r := <-s.rebuilt:
			stop()
			s.takePart(r)
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
	s.countRequests(0)
	recs, marks, err := s.records()
	if err != nil {
		return err
	}
	w := s.p.workOf(s.kafka.Shard())
	w.asks()
	return w.committed(s.kafka.Release(recs, marks))
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

// handle compares what has arrived and commits the answer.
func (s *session) handle(fs []fetched) error {
	b := newBatch(s)
	for _, f := range fs {
		switch {
		case !slices.Contains(f.scan.tenant.scans, f.scan): // a page that was under way when its scan was ended
		case f.err != nil:
			s.failed(f)
		default:
			b.page(f)
			s.advance(f)
			s.weigh(f.scan.tenant)
		}
	}
	if b.err == nil && b.empty() {
		return nil
	}
	return b.commit()
}

func (s *session) flushDue() time.Time {
	if s.prompt {
		return s.flushed
	}
	if !s.shard.Dirty() && len(s.strangers) == 0 && !slices.ContainsFunc(s.tenants, func(t *tenant) bool { return t.Dirty() }) {
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
	return newBatch(s).commit()
}

// countRequests puts the last minute's requests into the tenant records: for a successor, and for status. Those counted less
// than so long ago stay as they are.
func (s *session) countRequests(old time.Duration) {
	now := s.p.cfg.Clock.Now()
	for _, t := range s.tenants {
		hold := t.source.Budget.Held().UTC().Round(0)
		if r := t.Header.Requests; r != nil && now.Sub(r.At).Abs() < old && (hold.IsZero() || r.Hold != nil && r.Hold.Equal(hold)) {
			continue
		}
		requests := &state.Requests{At: now, Used: t.source.Budget.Used(), Limit: t.source.Budget.Limit()}
		if !hold.IsZero() {
			requests.Hold = &hold
		}
		if until, left := t.source.Budget.Restriction(); !until.IsZero() {
			requests.Strict = &state.Strict{Until: until.UTC().Round(0), Left: left}
		}
		t.SetHeader(func(h *state.Header) { h.Requests = requests })
	}
}

// earlier returns the earlier instant: what another owner has noted may come from a clock that was ahead.
func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
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
	s.countRequests(time.Minute)
	for _, t := range s.tenants {
		if n := t.Drop(now, s.p.cfg.Schedule.Lookback); n > 0 {
			t.log.Debug("ledgers of settled days dropped", "days", n)
		}
		rs, merged, err := t.Records()
		if err != nil {
			return nil, nil, &stopError{subject(err, t.ID)}
		}
		// By a clock that is off, nobody is told what is complete.
		if at := t.CompleteUpTo(now); !t.has(status.ClockOff) && !t.has(status.ClockJumped) && !at.Equal(t.watermark) {
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
	own := s.shard.Records()
	for _, st := range s.strangers {
		own = append(own, st.Record())
	}
	s.strangers = nil
	for _, r := range own {
		out = append(out, kafka.Record{Key: []byte(r.Key), Value: r.Value})
	}
	gone, unmarked := s.forgetRecords()
	out, marks = append(append(out, gone...), s.signalRecords()...), append(marks, unmarked...)
	s.flushed, s.urgent, s.prompt = now, false, false
	return out, marks, nil
}

var errNoAction = errors.New("poller: a decision without a meaning")

func unknownAction(a state.Action) error { return fmt.Errorf("%w: %d", errNoAction, a) }
