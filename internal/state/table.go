package state

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash/maphash"

	"pstncalls/internal/window"
)

// rowKey identifies a row in memory: the 16 bytes of a GUID, or the first 16 of the SHA-256 of any other id.
type rowKey [16]byte

// entry is what the ledger holds of one row: 32 bytes.
type entry struct {
	key         rowKey
	fingerprint uint64
	revision    int32 // of the newest event; -1: none was published
	owner       uint16
	flags       flags
	seen        uint8 // the scan of its home that has returned it: Window.scan
}

type flags uint8

const (
	flagRejected flags = 1 << iota // the fingerprint is that of a reject
	flagText                       // the id is not a GUID: its text is in table.texts
	flagVanished                   // a later complete scan of its home did not return the row
	flagAway                       // its call now starts in another day than its owner window: table.away
	flagUsed                       // the slot holds an entry
)

func (e *entry) day() window.Day { return window.Day(e.owner) }

func (e *entry) used() bool       { return e.flags&flagUsed != 0 }
func (e *entry) has(f flags) bool { return e.flags&f != 0 }
func (e *entry) set(f flags, v bool) {
	if e.flags &^= f; v {
		e.flags |= f
	}
}

// keyOf returns the key of an id, and whether the id is a GUID in the one spelling that a key reads back to.
func keyOf(id string) (k rowKey, guid bool) {
	if len(id) == 36 && id[8] == '-' && id[13] == '-' && id[18] == '-' && id[23] == '-' {
		var text [32]byte
		n := copy(text[:], id[:8])
		n += copy(text[n:], id[9:13])
		n += copy(text[n:], id[14:18])
		n += copy(text[n:], id[19:23])
		copy(text[n:], id[24:])
		if _, err := hex.Decode(k[:], text[:]); err == nil && k.guid() == id {
			return k, true
		}
	}
	sum := sha256.Sum256([]byte(id))
	copy(k[:], sum[:])
	return k, false
}

// guid returns the key as a GUID's text, in lower case.
func (k rowKey) guid() string {
	var b [36]byte
	hex.Encode(b[:], k[:4])
	b[8] = '-'
	hex.Encode(b[9:], k[4:6])
	b[13] = '-'
	hex.Encode(b[14:], k[6:8])
	b[18] = '-'
	hex.Encode(b[19:], k[8:10])
	b[23] = '-'
	hex.Encode(b[24:], k[10:])
	return string(b[:])
}

// table holds a tenant's entries: open addressing with linear probing, at most 5/6 full and grown by a third, so that a row
// costs 38 to 52 bytes. Go's map would double, and take up to 75.
type table struct {
	seed  maphash.Seed
	slots []entry
	n     int
	texts map[rowKey]string     // ids that are not GUIDs
	away  map[rowKey]window.Day // where calls start now that have left their owner window
}

func newTable() *table {
	return &table{seed: maphash.MakeSeed(), slots: make([]entry, 16), texts: map[rowKey]string{}, away: map[rowKey]window.Day{}}
}

func (t *table) slot(k rowKey) int {
	h := maphash.Bytes(t.seed, k[:])
	return int((h >> 32) * uint64(len(t.slots)) >> 32)
}

// find returns the row's entry, or nil. The pointer is good until the next insert.
func (t *table) find(k rowKey) *entry {
	for i := t.slot(k); ; {
		e := &t.slots[i]
		if !e.used() {
			return nil
		}
		if e.key == k {
			return e
		}
		if i++; i == len(t.slots) {
			i = 0
		}
	}
}

// put inserts or replaces an entry.
func (t *table) put(e entry) {
	e.flags |= flagUsed
	if old := t.find(e.key); old != nil {
		*old = e
		return
	}
	if (t.n+1)*6 > len(t.slots)*5 {
		t.grow()
	}
	t.place(e)
	t.n++
}

func (t *table) place(e entry) {
	i := t.slot(e.key)
	for t.slots[i].used() {
		if i++; i == len(t.slots) {
			i = 0
		}
	}
	t.slots[i] = e
}

func (t *table) grow() {
	old := t.slots
	t.slots = make([]entry, len(old)+len(old)/3+1)
	for i := range old {
		if old[i].used() {
			t.place(old[i])
		}
	}
}

// home returns the day in which the row's call starts, as it was last seen: whose scans return it.
func (t *table) home(e *entry) window.Day {
	if e.has(flagAway) {
		return t.away[e.key]
	}
	return e.day()
}

// move notes the day in which the row's call starts. It reports whether that is another one than before.
func (t *table) move(e *entry, to window.Day) bool {
	if t.home(e) == to {
		return false
	}
	if e.set(flagAway, to != e.day()); e.has(flagAway) {
		t.away[e.key] = to
	} else {
		delete(t.away, e.key)
	}
	return true
}

// all yields the entries.
func (t *table) all(yield func(*entry) bool) {
	for i := range t.slots {
		if e := &t.slots[i]; e.used() && !yield(e) {
			return
		}
	}
}

// keep returns a table of the entries that pass.
func (t *table) keep(pass func(*entry) bool) *table {
	n := 0
	for e := range t.all {
		if pass(e) {
			n++
		}
	}
	out := newTable()
	out.seed = t.seed
	out.slots = make([]entry, max(16, n+n/4+1))
	for e := range t.all {
		if !pass(e) {
			continue
		}
		out.put(*e)
		if e.has(flagText) {
			out.texts[e.key] = t.texts[e.key]
		}
		if e.has(flagAway) {
			out.away[e.key] = t.away[e.key]
		}
	}
	return out
}

// id returns the row id of an entry.
func (t *table) id(e *entry) string {
	if e.flags&flagText != 0 {
		return t.texts[e.key]
	}
	return e.key.guid()
}

// appendID appends an id, length first.
func appendID(b []byte, id string) []byte {
	b = binary.AppendUvarint(b, uint64(len(id)))
	return append(b, id...)
}

// LedgerRow is what a window's ledger holds of a row that was published.
type LedgerRow struct {
	ID          string
	Owner       window.Day
	Revision    int32 // of its newest event
	Fingerprint uint64
	Rejected    bool // Fingerprint is that of a reject that came after the event
	Vanished    bool // a later complete scan did not return it
}

// Ledger yields the rows of all ledgers of which an event was published, in no order.
func (t *Tenant) Ledger(yield func(LedgerRow) bool) {
	for e := range t.rows.all {
		if e.revision < 0 {
			continue
		}
		if !yield(t.rows.row(e)) {
			return
		}
	}
}

// InLedger returns what the ledgers hold of a row; ok is false where no event of it was published, or its ledger has gone.
func (t *Tenant) InLedger(id string) (row LedgerRow, ok bool) {
	key, _ := keyOf(id)
	e := t.rows.find(key)
	if e == nil || e.revision < 0 {
		return LedgerRow{}, false
	}
	return t.rows.row(e), true
}

func (t *table) row(e *entry) LedgerRow {
	return LedgerRow{t.id(e), e.day(), e.revision, e.fingerprint, e.has(flagRejected), e.has(flagVanished)}
}

// HasLedger reports whether the day's ledger is there: rows can be named.
func (t *Tenant) HasLedger(day window.Day) bool { return t.windows[day] != nil }
