package poller

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"pstncalls/internal/kafka"
	"pstncalls/internal/state"
	"pstncalls/internal/verify"
	"pstncalls/internal/window"
)

// Signals: what commands ask of the shard's owner. Each is a record of the state topic until it is done with, so that it outlives this
// session: a successor goes on with what it finds. The owner's answers are committed with the events that they tell of.

const (
	// maxPart is how many rows of settled days are given back their ledgers at once: so memory does not grow with the range.
	maxPart = 500_000
	// maxBack is how far back a scan may ask: Graph keeps no calls that are older, and would be asked in vain.
	maxBack = 366
)

// wish is a signal of this session.
type wish struct {
	state.Signal
	id     string
	dirty  bool
	cancel context.CancelFunc // of the rebuilding of ledgers; nil: none goes on
	part   window.Range       // whose ledgers are being rebuilt
}

// rebuilt are the ledgers of the settled days of a part, from the events topic.
type rebuilt struct {
	wish    *wish
	part    window.Range
	settled map[window.Day]bool // the days of the part that had settled by then
	kept    int                 // how many days of the tenant had no ledger by then
	ledgers map[window.Day][]state.Known
	err     error
}

// signals are those of a session.
type signals struct {
	wishes  map[string]*wish // by id; those that are not done with
	done    map[string]bool
	heard   chan heard
	rebuilt chan rebuilt
	basis   verify.Settled // but for the tenant
	prompt  bool           // somebody waits for what the next commit says

	unpolled  map[string][]string // the keys of tenants that are not polled
	forgotten []string            // tenants that the next commit deletes
}

// heard is a signal, or why no more will be heard.
type heard struct {
	signal kafka.Signal
	err    error
}

// takeSignals takes over what the predecessor has left.
func (s *session) takeSignals(snap *kafka.Snapshot, names []string) error {
	begun, err := snap.Meta.Begun()
	if err != nil {
		return &stopError{err}
	}
	s.signals = signals{wishes: map[string]*wish{}, done: map[string]bool{}, heard: make(chan heard), rebuilt: make(chan rebuilt),
		unpolled: keysBeside(snap.State, names),
		basis:    verify.Settled{Shards: snap.Layout.StatePartitions, Events: snap.Meta.TopicIDs.Events, Begun: begun}}
	for _, key := range slices.Sorted(maps.Keys(snap.State)) {
		if id, ok := strings.CutPrefix(key, kafka.SignalPrefix); ok {
			s.signal(kafka.Signal{ID: id, Value: snap.State[key]})
		}
	}
	return nil
}

// listen hears the signals from an offset of the shard's partition on.
func (s *session) listen(ctx context.Context, from int64) {
	s.workers.Go(func() {
		for sig, err := range s.p.cfg.Cluster.Signals(ctx, s.kafka.Shard(), from) {
			select {
			case s.heard <- heard{sig, err}:
			case <-ctx.Done():
				return
			}
		}
	})
}

// signal takes a signal in. What the owner has written itself comes back too.
func (s *session) signal(sig kafka.Signal) {
	if sig.Value == nil || s.wishes[sig.ID] != nil || s.done[sig.ID] {
		return
	}
	w := &wish{id: sig.ID}
	s.wishes[sig.ID] = w
	var err error
	if w.Signal, err = state.DecodeSignal(sig.ID, sig.Value); err != nil {
		s.answer(w, state.AnswerRefused, err.Error())
		return
	}
	s.log.Info("signal", "kind", w.Kind, "tenant", w.Tenant, "id", w.id, "given", w.Given, "by", w.By)
	switch w.Kind {
	case state.SignalScan:
		s.acceptScan(w)
	case state.SignalCancel:
		s.cancelScan(w)
	case state.SignalForget:
		s.forget(w)
	default:
		s.answer(w, state.AnswerRefused, fmt.Sprintf("a signal of the kind %q is not known to the running version", w.Kind))
	}
}

// answer ends a signal: its last word and its end go out in one commit.
func (s *session) answer(w *wish, answer, why string) {
	w.Answer, w.Why, w.dirty = answer, why, true
	if w.cancel != nil {
		w.cancel()
	}
	s.prompt = true
	s.log.Info("signal answered", "id", w.id, "answer", answer, "why", why, "events", w.Events, "revisions", w.Revisions)
}

// signalRecords returns what the state topic has yet to say of the signals.
func (s *session) signalRecords() (out []kafka.Record) {
	for _, id := range slices.Sorted(maps.Keys(s.wishes)) {
		w := s.wishes[id]
		if !w.dirty {
			continue
		}
		w.dirty = false
		key := []byte(kafka.SignalPrefix + id)
		out = append(out, kafka.Record{Key: key, Value: w.Encode()})
		if w.Answer != "" { // whoever waits reads both; whoever comes later, neither
			out = append(out, kafka.Record{Key: key})
			delete(s.wishes, id)
			s.done[id] = true
		}
	}
	return out
}

func (s *session) tenant(id string) *tenant {
	if i := slices.IndexFunc(s.tenants, func(t *tenant) bool { return t.ID == id }); i >= 0 {
		return s.tenants[i]
	}
	return nil
}

// acceptScan accepts a scan, or goes on with one that a predecessor has accepted.
func (s *session) acceptScan(w *wish) {
	now := s.p.cfg.Clock.Now()
	t := s.tenant(w.Tenant)
	switch today := window.Of(now); {
	case t == nil:
		s.answer(w, state.AnswerRefused, "the running producer does not poll this tenant: see GRAPH_TENANTS")
		return
	case w.Accepted != nil:
		return
	case w.Range.To > today+1:
		s.answer(w, state.AnswerRefused, fmt.Sprintf("%s lies in the future", w.Range.To-1))
		return
	case w.Range.From < today-maxBack:
		s.answer(w, state.AnswerRefused, fmt.Sprintf("Graph keeps no calls before %s", today-maxBack))
		return
	}
	left := *w.Range
	w.Accepted, w.Left, w.dirty = &now, &left, true
	s.prompt = true
	t.ReadFrom(w.Range.From)
	t.planAt = time.Time{}
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

// endScan ends a scan. Where that is before its time, settled days settle again as they are, and days further back are not read.
func (s *session) endScan(w *wish, answer, why string) {
	s.answer(w, answer, why)
	t := s.tenant(w.Tenant)
	if t == nil || w.Accepted == nil {
		return
	}
	for day := w.Range.From; day < w.Range.To; day++ {
		x := t.Window(day)
		read := x.LastScan != nil && !x.LastScan.Before(*w.Accepted)
		back := t.Header.Origin != nil && day < *t.Header.Origin && x.LastScan == nil
		if read || x.Reopened == nil && !back || s.wanted(t, day) {
			continue
		}
		for _, sc := range slices.Clone(t.scans) {
			if sc.rng.Contains(day) {
				s.end(sc)
			}
		}
		t.Resettle(day, s.p.cfg.Clock.Now())
	}
	if answer != state.AnswerDone && len(s.scansOf(t)) == 0 {
		t.StopReadingBack()
	}
	t.planAt = time.Time{}
}

// scansOf returns the scans of a tenant that were asked for and are not done, in the order in which they were given.
func (s *session) scansOf(t *tenant) (out []*wish) {
	for _, w := range s.wishes {
		if w.Kind == state.SignalScan && w.Tenant == t.ID && w.Accepted != nil && w.Answer == "" {
			out = append(out, w)
		}
	}
	slices.SortFunc(out, func(a, b *wish) int { return cmp.Or(a.Given.Compare(b.Given), cmp.Compare(a.id, b.id)) })
	return out
}

// pursue goes on with the scans that were asked for: a part is begun when the one before it has been read.
func (s *session) pursue(ctx context.Context, t *tenant, now time.Time) {
	for _, w := range s.scansOf(t) {
		if w.Accepted.After(now) { // by a clock that was ahead
			w.Accepted, w.dirty = &now, true
		}
		for w.Part != nil && w.unread(t) == 0 {
			w.Part, w.dirty = nil, true
			s.prompt = true
			if w.Left.Days() < 1 {
				answer, why := w.verdict()
				s.endScan(w, answer, why)
			} else {
				s.beginPart(ctx, w, t, now)
			}
		}
		if w.Part == nil && w.Answer == "" {
			s.beginPart(ctx, w, t, now)
		}
	}
}

// unread returns how many days of the part no complete scan has read since the signal was accepted. A day that had settled and has
// settled again was read.
func (w *wish) unread(t *tenant) (n int) {
	for day := w.Part.From; day < w.Part.To; day++ {
		if w.wants(t, day) {
			n++
		}
	}
	return n
}

func (w *wish) wants(t *tenant, day window.Day) bool {
	x := t.Window(day)
	return w.Part != nil && w.Part.Contains(day) && !slices.Contains(w.Refused, day) && x.Settled == nil && (x.LastScan == nil || x.LastScan.Before(*w.Accepted))
}

// beginPart begins the newest days that are left. Those that have settled need their ledgers first.
func (s *session) beginPart(ctx context.Context, w *wish, t *tenant, now time.Time) {
	if w.cancel != nil {
		return // their ledgers are being rebuilt
	}
	part := window.Range{From: w.Left.To - 1, To: w.Left.To}
	days := t.SettledDays()
	rows := days[part.From].Rows
	for ; part.From > w.Left.From; part.From-- {
		if rows += days[part.From-1].Rows; rows > maxPart {
			break
		}
	}
	r := rebuilt{wish: w, part: part, settled: t.settledIn(part), kept: t.Header.Dropped}
	if len(r.settled) == 0 {
		s.takePart(r)
		return
	}
	basis := s.basis
	basis.Tenant, basis.Days, basis.Forgotten = t.ID, days, t.forgotten
	ctx, w.cancel = context.WithCancel(ctx)
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
	if w.cancel != nil {
		w.cancel()
		w.cancel = nil
	}
	t := s.tenant(w.Tenant)
	if w.Answer != "" {
		return
	}
	var lost *verify.LostError
	var refused *verify.RefusedError
	switch {
	case errors.As(r.err, &lost), errors.As(r.err, &refused):
		s.endScan(w, state.AnswerRefused, r.err.Error())
		return
	case r.err != nil: // Kafka's: tried again, at the next planning
		t.log.Warn("the events of settled days cannot be read", "range", r.part.String(), "error", kafka.Explain(r.err))
		return
	}
	t.planAt = time.Time{}
	if !maps.Equal(r.settled, t.settledIn(r.part)) || r.kept != t.Header.Dropped {
		return // once more
	}
	if err := t.Reopen(r.ledgers, r.settled, s.p.cfg.Clock.Now()); err != nil {
		s.endScan(w, state.AnswerRefused, err.Error())
		return
	}
	left := window.Range{From: w.Left.From, To: r.part.From}
	w.Part, w.Left, w.dirty = &r.part, &left, true
	s.prompt = true
}

// asked reports whether a day is to be read now because a signal asks for it.
func (s *session) asked(t *tenant, day window.Day) bool {
	return slices.ContainsFunc(s.scansOf(t), func(w *wish) bool { return w.wants(t, day) })
}

// wanted reports whether a scan that was asked for has begun with a day, and not done.
func (s *session) wanted(t *tenant, day window.Day) bool {
	return slices.ContainsFunc(s.scansOf(t), func(w *wish) bool { return w.wants(t, day) || w.cancel != nil && w.part.Contains(day) })
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

// refuseDay lets the scans that ask for a day go on without it: Graph refuses to show it, and they would wait for ever.
func (s *session) refuseDay(t *tenant, day window.Day, why string) {
	for _, w := range s.scansOf(t) {
		if w.wants(t, day) && (t.Window(day).Reopened != nil || t.Header.Origin != nil && day < *t.Header.Origin) {
			w.Refused, w.Why, w.dirty = append(w.Refused, day), why, true
			t.Resettle(day, s.p.cfg.Clock.Now())
			t.log.Warn("Graph does not show a day that was asked for", "day", day.String(), "id", w.id, "error", why)
		}
	}
}
