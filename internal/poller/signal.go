package poller

import (
	"cmp"
	"context"
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

// wish is a signal of this session.
type wish struct {
	state.Signal
	id    string
	dirty bool

	// Of a scan:
	rebuilding context.CancelFunc // ends the rebuilding of ledgers; nil: none goes on
	part       window.Range       // for whose days
	failures   int                // to do so, one after the other
	after      time.Time          // not tried again before
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

// takeSignals takes over what the predecessor has left, in the order in which it was given.
func (s *session) takeSignals(snap *kafka.Snapshot, names []string) error {
	begun, err := snap.Meta.Begun()
	if err != nil {
		return &stopError{err}
	}
	s.signals = signals{wishes: map[string]*wish{}, done: map[string]bool{}, heard: make(chan heard), rebuilt: make(chan rebuilt),
		unpolled: keysBeside(snap.State, names),
		basis:    verify.Settled{Shards: snap.Layout.StatePartitions, Events: snap.Meta.TopicIDs.Events, Begun: begun}}
	given := map[string]time.Time{}
	for key, value := range snap.State {
		if id, ok := strings.CutPrefix(key, kafka.SignalPrefix); ok {
			sig, _ := state.DecodeSignal(id, value) // one that is none is refused below
			given[id] = sig.Given
		}
	}
	for _, id := range slices.SortedFunc(maps.Keys(given), func(a, b string) int { return cmp.Or(given[a].Compare(given[b]), cmp.Compare(a, b)) }) {
		s.signal(kafka.Signal{ID: id, Value: snap.State[kafka.SignalPrefix+id]})
	}
	return nil
}

// listen hears the signals from an offset of the shard's partition on.
func (s *session) listen(ctx context.Context, from int64) {
	s.workers.Go(func() {
		for sig, err := range s.p.cfg.Cluster.Signals(ctx, s.kafka.Shard(), from) {
			if ctx.Err() != nil {
				return // the error is the session's own end: it has to release, and not to die of it
			}
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
	if w.rebuilding != nil {
		w.rebuilding()
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
