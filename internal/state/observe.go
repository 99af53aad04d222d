package state

import (
	"fmt"
	"maps"

	"pstncalls/internal/window"
)

// Seen is a row as a page showed it.
type Seen struct {
	ID          string
	HasID       bool
	Fingerprint uint64
	Day         window.Day // of its start; where it has none, the last day of the range asked for
	NoStart     bool       // it has none
	Rejected    bool       // it cannot become an event
}

// Page says what the rows of one page are compared under.
type Page struct {
	Range window.Range
	// Asked and Received are numbers from one counter of the shard, taken before the request and after the last byte: a page
	// that was asked for after another had been received shows the newer rows, and only then is that certain.
	Asked, Received uint64
	// Busy reports whether a scan in progress, other than the page's own, owns a day.
	Busy func(window.Day) bool
}

// Action is what is to be done with a row.
type Action int

// The actions.
const (
	Nothing Action = iota // it is known as it is
	Publish               // an event
	Refuse                // a record on the dead-letter topic
	Leave                 // not this page's to judge: its own window's scan, or the next one, will
)

// Decision is the answer for one row.
type Decision struct {
	Action   Action
	RowID    string
	Revision int32
	Owner    window.Day
	Repeated bool // Refuse of a row that the ledger had
	Stale    bool // left because the page may be older than what is known: the window must be read again
	Stray    bool // left, and it starts outside of all that the range can mean: perhaps no other scan will show it
}

// Observe compares a row with the ledger, and enters the answer.
func (t *Tenant) Observe(s Seen, p Page) Decision {
	ours := p.Range.Contains(s.Day)
	if t.Settled(s.Day) || !ours && (!t.hasLedger(s.Day) || p.Busy(s.Day)) {
		return Decision{Action: Leave, Stray: s.Day < p.Range.From || s.Day > p.Range.To}
	}
	id, key, text, e := t.identify(s)
	if e == nil {
		if !ours && s.Day < t.Header.Start {
			return Decision{Action: Leave}
		}
		return t.insert(s, p, id, key, text)
	}
	same := e.fingerprint == s.Fingerprint && !(e.has(flagRejected) && !s.Rejected)
	// Guard: stale page. Taken out: TestObserveStale, TestNotVanished.
	if !same && p.Asked < t.newer[key] {
		e.seen = t.scanOf(t.rows.home(e))
		return Decision{Action: Leave, RowID: id, Owner: e.day(), Stale: true}
	}
	changed := t.sight(e, s)
	w := t.own(e.day())
	d := Decision{Action: Nothing, RowID: id, Owner: e.day()}
	switch {
	case same:
		if changed {
			t.write(w, e)
		}
		return d
	case s.Rejected:
		d.Action, d.Repeated = Refuse, true
		w.Rejects++
	default:
		d.Action = Publish
		if e.revision < 0 {
			w.Rows++
		} else {
			w.Revisions++
		}
		e.revision++
		d.Revision = e.revision
		w.Events++
		t.countNoID(s)
	}
	e.fingerprint = s.Fingerprint
	e.set(flagRejected, s.Rejected)
	t.enter(w, e, p)
	return d
}

// insert enters a row that is not known.
func (t *Tenant) insert(s Seen, p Page, id string, key rowKey, text bool) Decision {
	w := t.own(s.Day)
	n := entry{key: key, fingerprint: s.Fingerprint, owner: uint16(s.Day), seen: w.scan}
	if text {
		n.flags |= flagText
		t.rows.texts[key] = id
	}
	if s.NoStart { // it may be in any day of the range: until all have settled, it has to be known
		t.rows.move(&n, p.Range.From)
	}
	d := Decision{Action: Publish, RowID: id, Owner: s.Day}
	if s.Rejected {
		n.flags |= flagRejected
		n.revision = -1
		d.Action = Refuse
		w.Rejects++
	} else {
		w.Rows++
		w.Events++
		t.countNoID(s)
	}
	t.rows.put(n)
	t.enter(w, &n, p)
	return d
}

// sight notes that a scan has returned the row, and in which day. It reports whether the entry has changed by that: the row has
// moved, or was taken for vanished.
func (t *Tenant) sight(e *entry, s Seen) (changed bool) {
	if !s.NoStart {
		changed = t.rows.move(e, s.Day)
	}
	e.seen = t.scanOf(t.rows.home(e))
	if e.has(flagVanished) {
		e.set(flagVanished, false)
		t.own(e.day()).Vanished--
		changed = true
	}
	return changed
}

// scanOf returns the number of the scan of a day that is going on or was the last, in this session.
func (t *Tenant) scanOf(day window.Day) uint8 {
	if w := t.windows[day]; w != nil {
		return w.scan
	}
	return 0
}

func (t *Tenant) countNoID(s Seen) {
	if !s.HasID {
		t.Header.NoID++
		t.headerDirty = true
	}
}

// identify resolves the row id (design section 11): rows without an id have no revisions, so one of another content is
// another row.
func (t *Tenant) identify(s Seen) (id string, key rowKey, text bool, e *entry) {
	key, guid := keyOf(s.ID)
	e = t.rows.find(key)
	if s.HasID || e != nil && e.fingerprint == s.Fingerprint {
		return s.ID, key, !guid, e
	}
	other := fmt.Sprintf("%s.%016x", s.ID, s.Fingerprint)
	otherKey, _ := keyOf(other)
	known := t.rows.find(otherKey)
	if e == nil && known == nil {
		return s.ID, key, !guid, nil
	}
	return other, otherKey, true, known
}

// enter notes a row whose content is new or another one.
func (t *Tenant) enter(w *Window, e *entry, p Page) {
	t.write(w, e)
	t.newer[e.key] = p.Received
}

// write notes a changed entry for the window's next ledger record.
func (t *Tenant) write(w *Window, e *entry) {
	w.delta = appendEntry(w.delta, e, t.rows.texts[e.key], t.rows.home(e))
	w.dirty = true
}

// Forget ends the memory of which pages were newer, for pages received before the given number: the poller gives the lowest
// that a page still to come may have been asked at.
func (t *Tenant) Forget(before uint64) {
	maps.DeleteFunc(t.newer, func(_ rowKey, received uint64) bool { return received <= before })
}
