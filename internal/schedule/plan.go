package schedule

import (
	"time"

	"pstncalls/internal/window"
)

const (
	maxDays     = 89        // of a range: Graph refuses more than 90
	againRows   = 5_000     // of due days that are read together
	secondRows  = 20_000    // the same, where nothing waits for them
	firstRows   = 20_000    // that a range of days never read is meant to have
	maxFirst    = 8         // ranges of these in a plan
	densityDays = 7         // read days that the density is taken from
	heldRows    = 2_000_000 // of unsettled windows: beyond it a backfill waits for second scans
	growth      = 2         // a backfill that explores reads so many times the days that are known
)

// items returns all scans that are due, and marks their days as taken.
func (p *planner) items() []Item {
	anyUnread, pending := false, false
	for i := range p.days {
		d := &p.days[i]
		anyUnread = anyUnread || !d.read() && d.Day <= p.today && !p.unanswered(&d.Window)
		pending = pending || d.kind == Second && (d.Busy || !d.due.After(p.Now))
	}
	items := append(p.tails(), p.ranges(Open, Again)...)
	if p.Held > heldRows && pending {
		return append(items, p.ranges(Second)...) // before more is read: only they free memory
	}
	items = append(items, p.firsts()...)
	if len(items) == 0 && !anyUnread {
		items = p.ranges(Second)
	}
	return items
}

// free reports whether a day may be in a range of the plan still.
func (p *planner) free(i int) bool {
	d := &p.days[i]
	return !d.Settled && !d.Busy && !d.taken && d.Day <= p.today && !p.unanswered(&d.Window)
}

func (p *planner) isDue(i int) bool { return !p.days[i].due.After(p.Now) }

// adjacent reports whether day i+1 of the list is the day after day i.
func (p *planner) adjacent(i int) bool { return p.days[i].Day+1 == p.days[i+1].Day }

// tails returns the scan of the open window's tail, if that is due and a scan of the whole is not.
func (p *planner) tails() []Item {
	i := len(p.days) - 1
	for i >= 0 && p.days[i].Day > p.today {
		i--
	}
	if i < 0 || !p.free(i) || p.isDue(i) {
		return nil
	}
	d := &p.days[i]
	if d.tail.IsZero() || d.tail.After(p.Now) {
		return nil
	}
	d.taken = true
	last := p.lastTail(&d.Window)
	from := last.Add(-p.back(&d.Window, p.Now.Sub(last))).Truncate(time.Second)
	if start := d.Day.Start(); from.Before(start) {
		from = start
	}
	return []Item{{Kind: Tail, Range: window.Range{From: d.Day, To: d.Day + 1}, From: from, Due: d.tail,
		Pages: p.tailPages(&d.Window, p.Now.Sub(from))}}
}

// ranges returns the ranges that begin with the due days of these kinds, newest first.
func (p *planner) ranges(kinds ...Kind) []Item {
	var items []Item
	for i := len(p.days) - 1; i >= 0; i-- {
		for _, k := range kinds {
			if p.days[i].kind == k && p.free(i) && p.isDue(i) {
				items = append(items, p.grow(i))
			}
		}
	}
	return items
}

// span is a range of read days that grows: days[from:to].
type span struct {
	from, to      int
	rows          int64
	second, other bool // it holds such days
	open          bool
	due           time.Time
}

func (p *planner) grow(i int) Item {
	kind := p.days[i].kind
	s := span{from: i, to: i, due: p.days[i].due}
	p.take(&s, i)
	for s.to++; s.to-s.from < maxDays; {
		switch {
		case s.to < len(p.days) && p.adjacent(s.to-1) && p.joins(&s, s.to):
			p.take(&s, s.to)
			s.to++
		case s.from > 0 && p.adjacent(s.from-1) && p.joins(&s, s.from-1):
			s.from--
			p.take(&s, s.from)
		default:
			return p.item(kind, s)
		}
	}
	return p.item(kind, s)
}

// joins reports whether a neighbour of the range is read with it: if it is due and they are few rows, or if that costs no page.
func (p *planner) joins(s *span, i int) bool {
	d := &p.days[i]
	if p.Alone || !p.free(i) || !d.read() {
		return false
	}
	total := s.rows + d.Rows
	second := d.kind == Second
	if (s.second || second) && (s.other || !second) {
		return fullPages(total) <= 1 // a day that waits for nothing must not make the others wait
	}
	if fullPages(total) == fullPages(s.rows) {
		return true
	}
	most := int64(againRows)
	if second {
		most = secondRows
	}
	return p.isDue(i) && total <= most
}

func (p *planner) take(s *span, i int) {
	d := &p.days[i]
	d.taken = true
	s.rows += d.Rows
	s.second = s.second || d.kind == Second
	s.other = s.other || d.kind != Second
	s.open = s.open || d.kind == Open
	if d.due.Before(s.due) {
		s.due = d.due
	}
}

func (p *planner) item(kind Kind, s span) Item {
	if s.open {
		kind = Open
	}
	return Item{Kind: kind, Range: window.Range{From: p.days[s.from].Day, To: p.days[s.to-1].Day + 1}, Due: s.due,
		Pages: pages(float64(s.rows))}
}

// fullPages returns the pages that the rows of read days fill, with a tenth more for those that have come since.
func fullPages(rows int64) int64 { return max(1, (rows*11+10*pageRows-1)/(10*pageRows)) }

// firsts returns ranges of closed days that were never read, newest first.
//
// A range is as many days as hold some twenty pages, by the density of the read days next to it, but at first at most twice the days
// that are known: an unknown year may be anything. While it explores so, one range at a time.
func (p *planner) firsts() []Item {
	var items []Item
	opened, busy := false, false
	for i := range p.days {
		d := &p.days[i]
		opened = opened || d.Day == p.today && (d.read() || p.unanswered(&d.Window))
		busy = busy || d.Busy && !d.read()
	}
	if !opened {
		return nil // today first
	}
	for to := len(p.days); to > 0 && len(items) < maxFirst; {
		if !p.never(to - 1) {
			to--
			continue
		}
		density := p.density(to)
		days := int(min(max(firstRows/density, 1), maxDays))
		if p.Alone {
			days = 1
		}
		exploring := growth*p.known < days
		if exploring {
			if busy || len(items) > 0 {
				break
			}
			days = growth * p.known
		}
		from := to - 1
		for from > 0 && to-from < days && p.never(from-1) && p.adjacent(from-1) {
			from--
		}
		for i := from; i < to; i++ {
			p.days[i].taken = true
		}
		newest := p.days[to-1].Day
		items = append(items, Item{Kind: First, Range: window.Range{From: p.days[from].Day, To: newest + 1}, Due: newest.Start(),
			Pages: pages(density * float64(to-from))})
		if exploring {
			break
		}
		to = from
	}
	return items
}

// never reports whether a day is closed, was never read, and may be in a range.
func (p *planner) never(i int) bool {
	return p.days[i].kind == First && p.free(i)
}

// density returns the rows a day of the nearest read days from the index i on. Today's, of which part is to come, counts only
// where there is no other.
func (p *planner) density(i int) float64 {
	var rows, days, today int64
	for ; i < len(p.days) && days < densityDays; i++ {
		switch d := &p.days[i]; {
		case !d.read():
		case d.Day < p.today:
			rows += d.Rows
			days++
		case d.Day == p.today:
			today = d.Rows
		}
	}
	if days == 0 {
		rows, days = today, 1
	}
	return max(1, float64(rows)/float64(days))
}
