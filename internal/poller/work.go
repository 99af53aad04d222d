package poller

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"pstncalls/internal/kafka"
	"pstncalls/internal/state"
	"pstncalls/internal/status"
)

// work is what outlives the sessions of a shard, as long as this process works on it: what happens to them is a condition of the
// shard, which may begin when no session can write it. All of it is real time: it is Kafka's.
type work struct {
	about status.Subject
	log   *slog.Logger
	board *status.Part

	mu      sync.Mutex
	over    bool
	fenced  []time.Time // sessions that ended by a fence or a time-out, lately
	calm    *time.Timer // ends fenced-repeatedly
	asked   *time.Timer // begins not-committed; nil: nothing is asked of Kafka that it has not done
	owed    bool        // a commit has failed, and none succeeded since
	failing bool        // not-committed holds
	why     error       // the last failure
}

const (
	uncommittedLeast = time.Minute
	fencedTimes      = 3
	fencedFor        = 10 * time.Minute
)

// enter begins the work on a shard; leave ends it.
func (p *Poller) enter(shard int32) *work {
	w := &work{about: status.Subject{Shard: shard}, log: p.cfg.Log.With("shard", shard), board: p.cfg.Metrics.Conditions.Part()}
	p.works.Store(shard, w)
	return w
}

func (p *Poller) leave(w *work) {
	p.works.CompareAndDelete(w.about.Shard, w)
	w.took()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.over = true
	if w.calm != nil {
		w.calm.Stop()
	}
	w.board.Forget()
}

// workOf returns the work on a shard; one that leads nowhere if there is none.
func (p *Poller) workOf(shard int32) *work {
	if w, ok := p.works.Load(shard); ok {
		return w.(*work)
	}
	return &work{about: status.Subject{Shard: shard}, log: p.cfg.Log, board: p.cfg.Metrics.Conditions.Part()}
}

// asks notes that something is asked of Kafka: from the first time on that it is not done, a minute counts.
func (w *work) asks() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.asked == nil && !w.over {
		w.asked = time.AfterFunc(uncommittedLeast, w.late)
	}
}

func (w *work) late() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.asked == nil || w.over || w.failing {
		return
	}
	why := errors.New("no answer yet")
	if w.why != nil {
		why = w.why
	}
	w.failing = true
	w.board.Begin(w.log, w.about, state.Condition{Name: status.NotCommitted,
		Sentence: fmt.Sprintf("nothing could be committed, or the state not be read, for more than a minute: %s", kafka.Explain(why))})
}

// opened notes that a session was opened. That settles nothing that a commit owes.
func (w *work) opened() {
	w.mu.Lock()
	owed := w.owed
	w.mu.Unlock()
	if !owed {
		w.took()
	}
}

// took notes that all that was asked of Kafka is done, or is somebody else's to ask.
func (w *work) took() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.asked != nil {
		w.asked.Stop()
	}
	w.asked, w.owed, w.why = nil, false, nil
	if w.failing {
		w.failing = false
		w.board.End(w.log, w.about, status.NotCommitted)
	}
}

// committed notes how a commit went, and returns err.
func (w *work) committed(err error) error {
	if err == nil {
		w.took()
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.owed = true
	return err
}

// failed notes the end of a session.
func (w *work) failed(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.why = err
	if !kafka.FencedOrTimedOut(err) {
		return
	}
	now := time.Now()
	w.fenced = append(recent(w.fenced, now, fencedFor), now)
	if len(w.fenced) < fencedTimes {
		return
	}
	w.board.Begin(w.log, w.about, state.Condition{Name: status.FencedRepeatedly, Sentence: w.fences()})
	if w.calm != nil {
		w.calm.Stop()
	}
	w.calm = time.AfterFunc(fencedFor, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if !w.over && len(recent(w.fenced, time.Now(), fencedFor)) == 0 {
			w.board.End(w.log, w.about, status.FencedRepeatedly)
		}
	})
}

func (w *work) fences() string {
	return fmt.Sprintf("%d sessions of the shard were ended by a fence or a transaction that timed out, within 10 minutes", len(w.fenced))
}

// inherit puts into the state what could not be written when it began.
func (s *session) inherit(w *work) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.failing {
		s.urgent = true // the next commit ends it
	}
	if w.fenced = recent(w.fenced, time.Now(), fencedFor); len(w.fenced) >= fencedTimes {
		until := s.p.cfg.Clock.Now().Add(fencedFor - time.Since(w.fenced[len(w.fenced)-1]))
		s.begin(s.ofShard(), status.FencedRepeatedly, w.fences(), &until)
	}
}
