package state

import (
	"fmt"
	"slices"
	"time"

	"pstncalls/internal/window"
)

// Known is a row of a settled day as the events topic shows it: its newest event.
type Known struct {
	ID          string
	Owner       window.Day
	Home        window.Day // of the newest event's start
	Revision    int32
	Fingerprint uint64
	Rejected    bool // Fingerprint is that of a reject; Revision is -1 where no event was published
	// At is when it was published: of a row that is known in several windows, the newest entry counts.
	At time.Time
}

// Reopen lets settled days be read again: they are due, and settle as any other. Those that have lost their ledgers get them back,
// from rows that have been proved to be all that was published of them. So do other days, which stay settled: they keep their ledgers
// as long as one of their rows is away in a day that is not. Of days that have their ledgers nothing is taken. An error changes nothing.
func (t *Tenant) Reopen(ledgers map[window.Day][]Known, read map[window.Day]bool, now time.Time) error {
	var all []Known
	for day, rows := range ledgers {
		d, dropped := t.settledDay(day)
		if !dropped {
			continue
		}
		var published, events int64
		for _, k := range rows {
			if k.Owner != day {
				return fmt.Errorf("day %s: row %s belongs to %s", day, k.ID, k.Owner)
			}
			if k.Revision >= 0 {
				published++
				events += int64(k.Revision) + 1
			}
		}
		if published != d.Rows || events != d.Events {
			return fmt.Errorf("day %s: %d rows and %d events, the state has %d and %d", day, published, events, d.Rows, d.Events)
		}
		all = append(all, rows...)
	}
	for day := range read {
		if _, rebuilt := ledgers[day]; t.Dropped(day) && !rebuilt {
			return fmt.Errorf("day %s has no ledger", day)
		}
	}
	for day := range ledgers {
		if t.Dropped(day) {
			t.takeBack(day)
		}
	}
	slices.SortFunc(all, func(a, b Known) int { return b.At.Compare(a.At) })
	for _, k := range all {
		t.known(t.windows[k.Owner], k)
	}
	for day := range ledgers { // until the days of read have settled again: the newest life of one of their rows may be there
		if w := t.windows[day]; w != nil && w.Settled != nil && w.Reopened == nil {
			w.Reopened, w.dirty = &now, true
		}
	}
	for day := range read {
		if w := t.windows[day]; w != nil && w.Settled != nil {
			end := day.End() // when it was read last matters no more; that it was read whole does
			w.Settled, w.Tail, w.LastScan, w.Reopened, w.dirty = nil, nil, &end, &now, true
		}
	}
	return nil
}

// takeBack takes a day out of its month's record. It is settled, and its ledger is empty.
func (t *Tenant) takeBack(day window.Day) {
	d, _ := t.settledDay(day)
	of, place := monthOf(day)
	m := t.months[of]
	m.Settled &^= 1 << place
	delete(m.Days, dayName(place))
	m.dirty = true
	t.Header.Dropped--
	t.headerDirty = true
	end := day.End()
	t.windows[day] = &Window{V: Version, Rows: d.Rows, Events: d.Events, Revisions: d.Events - d.Rows, Rejects: d.Rejects, Digest: d.Digest,
		FirstEvent: d.First, Scans: 1, LastScan: &end, Settled: &end, dirty: true}
}

// known enters a row into the ledger of a day that has been taken back. It counts as one that Graph shows until a scan says otherwise.
func (t *Tenant) known(w *Window, k Known) {
	key, guid := keyOf(k.ID)
	if t.rows.find(key) != nil {
		if k.Revision >= 0 {
			w.Elsewhere++
			w.ElsewhereRevisions += int64(k.Revision)
		}
		return
	}
	e := entry{key: key, fingerprint: k.Fingerprint, revision: k.Revision, owner: uint16(k.Owner)}
	if !guid {
		e.flags |= flagText
		t.rows.texts[key] = k.ID
	}
	e.set(flagRejected, k.Rejected)
	t.rows.move(&e, k.Home)
	t.rows.put(e)
	t.write(w, &e)
}

// Resettle ends the reading of a reopened day that will not be read to the end.
func (t *Tenant) Resettle(day window.Day, now time.Time) {
	if w := t.windows[day]; w != nil && w.Reopened != nil && w.Settled == nil {
		t.Settle(day, now)
	}
}

// ReadFrom lets polling begin earlier. The watermark still counts from where it did: readers have closed those days.
func (t *Tenant) ReadFrom(day window.Day) {
	if day >= t.Header.Start {
		return
	}
	t.SetHeader(func(h *Header) {
		if h.Origin == nil {
			origin := h.Start
			h.Origin = &origin
		}
		h.Start = day
	})
}

// StopReadingBack takes ReadFrom back: polling begins with the oldest day that was begun.
func (t *Tenant) StopReadingBack() {
	if t.Header.Origin == nil {
		return
	}
	start := t.Header.Start
	for ; start < *t.Header.Origin; start++ {
		if w := t.windows[start]; t.Dropped(start) || w != nil && (w.LastScan != nil || w.Events+w.Rejects > 0) {
			break
		}
	}
	t.SetHeader(func(h *Header) {
		h.Start = start
		if start == *h.Origin {
			h.Origin = nil
		}
	})
}
