// Package schedule owns when what is read: a pure function of the time, the windows, the lateness, the budget and the settings.
//
// The open window is due every interval; a dense one where times of day count, by its tail. A closed one is due again when its age
// has doubled, at the latest, and once more at the end of its lookback: that scan may settle it. Between the interval and the
// doubling stands the law: what the budget leaves (half of its requests, less those of the open window, a tenth at least) is
// spent where rows are likely to come. A window of c pages at whose
// age λ rows an hour are expected, read every T, costs c/T requests and delays each such row by T/2 on average. The sum of the
// delays, λ·T/2 over all windows, is least under the budget where no request moved from one window to another would gain:
// λ·T²/c is the same for all, so T = k·sqrt(c/λ), cut to the interval and the doubling. k is the smallest that the budget
// allows; where it allows everything, k is 0 and every window is read at every interval. While days are left that were never
// read, they get what is left, and windows wait for their doubling.
//
// How late rows are is learned (Lateness), from a prior.
//
// Neighbours that are due are asked for together while they are few rows, and those that are not due come along where that
// costs no page: the whole lookback of a quiet tenant is one page, read at every interval. Days never read are read newest
// first, in ranges that grow with what is known and shrink where the days are dense.
//
// Invariants: ranges of one plan share no day; none holds a settled day, a day that a scan in progress owns, or one after
// today; a due window is in the plan unless it is held back by name (a backfill that explores, a second scan), and these are
// planned as soon as the scans that hold them back are over. What is held back is not in next: the end of a scan is what
// wakes it. A day that Graph does not answer for holds nothing back.
package schedule

import (
	"slices"
	"time"

	"pstncalls/internal/window"
)

// Settings are the two times that the plan depends on.
type Settings struct {
	Interval time.Duration // between scans of the open window
	Lookback time.Duration // how long after its end a window is read again
}

// Settles reports whether a complete scan of a window that began at begun is its last.
func (s Settings) Settles(d window.Day, begun time.Time) bool {
	return !begun.Before(s.final(d))
}

// final is when the lookback of a window ends.
func (s Settings) final(d window.Day) time.Time { return d.End().Add(s.Lookback) }

// Never is the due time of a settled window.
var Never = time.Unix(1<<40, 0).UTC()

// Window is what the plan has to know of one day.
type Window struct {
	Day      window.Day
	LastScan time.Time // when its last complete scan began; zero: never read
	Tail     time.Time // when the last scan of its tail began, if that is later than LastScan
	Rows     int64     // published so far, of which it is the owner window
	Settled  bool
	Busy     bool      // a scan in progress owns it: neither due nor part of a range
	Asked    bool      // somebody asks for it: due now, if it is not settled
	After    time.Time // Graph does not answer for it: not asked for before, and nothing waits for it
}

func (w Window) read() bool { return w.Settled || !w.LastScan.IsZero() }

// Behind reports whether days before today are left that were never read, but for those that Graph does not answer for.
func (in Input) Behind() bool {
	today := window.Of(in.Now)
	return slices.ContainsFunc(in.Windows, func(w Window) bool { return w.Day < today && !w.read() && !w.After.After(in.Now) })
}

// Kind is why a range is read.
type Kind int

const (
	Open   Kind = iota // holds the open window
	Tail               // only the end of the open window
	Again              // closed, read before, within its lookback or reaching its end: this scan may settle it
	First              // closed, never read
	Second             // past its lookback at its last complete scan and still not settled
)

func (k Kind) String() string {
	return [...]string{"open", "tail", "again", "first", "second"}[k]
}

// Item is a scan that is due.
type Item struct {
	Kind  Kind
	Range window.Range
	From  time.Time // Tail only: the instant from which the day is asked; zero otherwise
	Due   time.Time // since when the longest waiting of its windows is due; First: the start of its newest
	Pages float64   // expected
}

// Input is everything that the plan depends on.
type Input struct {
	Now        time.Time
	Windows    []Window  // every day from the tenant's first to today, ascending, settled ones too
	Lateness   *Lateness // nil: the prior alone
	PerMinute  int       // requests that the budget allows
	Held       int64     // rows in the tenant's ledgers
	TimesCount bool      // Graph is proved to honour times of day for this tenant
	Alone      bool      // every day is asked for alone: Graph has failed to answer for several at once
}

const (
	pageRows  = 1000
	denseRows = 5000 // an open window of more is read by its tail where times count

	minBack = 15 * time.Minute // a tail reaches at least so far before the scan before it
	maxBack = 6 * time.Hour
)

// day is a window with what has been worked out about it.
type day struct {
	Window
	kind  Kind
	due   time.Time // of a scan of the whole day
	tail  time.Time // of a scan of its tail; zero: it is always read whole
	taken bool      // by a range of this plan
}

// planner is one Input being worked on.
type planner struct {
	Settings
	Input
	today  window.Day
	days   []day   // one for each of Windows
	known  int     // days that have been read
	mean   float64 // rows of a day that has been read
	factor float64 // k of the law
}

func newPlanner(s Settings, in Input) *planner {
	p := outline(s, in)
	p.factor = p.law()
	for i := range p.days {
		p.schedule(&p.days[i])
	}
	return p
}

// outline is a planner that has scheduled nothing.
func outline(s Settings, in Input) *planner {
	p := &planner{Settings: s, Input: in, today: window.Of(in.Now), days: make([]day, len(in.Windows))}
	rows := int64(0)
	for i, w := range in.Windows {
		p.days[i].Window = w
		if w.read() {
			p.known++
			rows += w.Rows
		}
	}
	p.mean = float64(rows) / float64(max(p.known, 1))
	return p
}

// Due returns when each of the windows is next due: the start of its day if it was never read, Never if it is settled.
func (s Settings) Due(in Input) []time.Time {
	p := newPlanner(s, in)
	due := make([]time.Time, len(p.days))
	for i, d := range p.days {
		due[i] = d.next()
	}
	return due
}

// next is when a scan of the day, or of its tail, is due.
func (d *day) next() time.Time {
	if !d.tail.IsZero() && d.tail.Before(d.due) {
		return d.tail
	}
	return d.due
}

// phase is what its last complete scan tells of a window, and with it the rule for the next one.
type phase int

const (
	settled  phase = iota
	unread         // never read
	open           // today or later
	dense          // open, and read whole only now and then: in between its tail is read
	closing        // closed now, open at its last scan
	lookback       // read after its end, within its lookback
	past           // read after its lookback, but not settled
)

func (p *planner) phase(w *Window) phase {
	last := p.begun(w.LastScan)
	switch {
	case w.Settled:
		return settled
	case w.LastScan.IsZero():
		return unread
	case w.Day == p.today && p.TimesCount && w.Rows > denseRows:
		return dense
	case w.Day >= p.today:
		return open
	case last.Before(w.Day.End()):
		return closing
	case p.Settles(w.Day, last):
		return past
	}
	return lookback
}

// begun returns t, or now if t is later: the clock has stepped back since.
func (p *planner) begun(t time.Time) time.Time {
	if t.After(p.Now) {
		return p.Now
	}
	return t
}

// ahead reports whether t is no scan just begun but a clock that was wrong: waiting for such a time could take any time.
func (p *planner) ahead(t time.Time) bool { return t.After(p.Now.Add(p.Interval)) }

// schedule fills in what a day is due for, and when.
func (p *planner) schedule(d *day) {
	last := p.begun(d.LastScan)
	d.due = last.Add(p.Interval)
	switch p.phase(&d.Window) {
	case settled:
		d.due = Never
	case unread:
		d.kind, d.due = First, d.Day.Start()
		if d.Day >= p.today {
			d.kind = Open
		}
	case open:
		d.kind = Open
		if start := d.Day.Start(); d.due.Before(start) {
			d.due = start
		}
	case dense:
		d.kind = Open
		d.due = last.Add(p.term(&d.Window).every(p.factor))
		d.tail = p.lastTail(&d.Window).Add(p.Interval)
	case closing:
		d.kind = Again
	case lookback:
		d.kind = Again
		d.due = last.Add(p.term(&d.Window).every(p.factor))
		if final := p.final(d.Day); d.due.After(final) {
			d.due = final
		}
	case past:
		if d.kind = Second; d.Asked {
			d.kind = Again
		}
	}
	if !d.Settled && d.Day <= p.today && (d.Asked || p.ahead(d.LastScan)) && d.due.After(p.Now) {
		d.due = p.Now
	}
	if p.unanswered(&d.Window) {
		d.tail = time.Time{}
		if d.due.Before(d.After) {
			d.due = d.After
		}
	}
}

// unanswered reports whether Graph has not answered for the day, and is not asked again yet.
func (p *planner) unanswered(w *Window) bool { return w.After.After(p.Now) }

// lastTail is when the end of the open window was last read, whole scans included.
func (p *planner) lastTail(w *Window) time.Time {
	if w.Tail.After(w.LastScan) && !p.ahead(w.Tail) {
		return p.begun(w.Tail)
	}
	return p.begun(w.LastScan)
}

// Plan returns the scans that are due, in the order in which they should be begun and sharing no day, and when the next of
// the other windows is due: Never if there is none.
func (s Settings) Plan(in Input) (due []Item, next time.Time) {
	p := newPlanner(s, in)
	due = p.items()
	next = Never
	for i := range p.days {
		d := &p.days[i]
		if at := d.next(); !d.taken && !d.Busy && at.After(p.Now) && at.Before(next) {
			next = at
		}
	}
	slices.SortStableFunc(due, p.order)
	return due, next
}

// starving is how long a window may be due before it goes before younger ones.
const starving = time.Hour

// order leaves those of a rank newest first, as they were found.
func (p *planner) order(a, b Item) int {
	ra, rb := p.rank(a), p.rank(b)
	if ra == starved && rb == starved {
		return a.Due.Compare(b.Due)
	}
	return ra - rb
}

const starved = 1 // the rank of those that go before younger ones

func (p *planner) rank(i Item) int {
	switch {
	case i.Kind == Open || i.Kind == Tail:
		return 0
	case i.Kind == Again && p.Now.Sub(i.Due) > starving:
		return starved
	case i.Kind == Again:
		return 2
	case i.Kind == First:
		return 3
	}
	return 4
}
