package state

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"pstncalls/internal/window"
)

// Load reads a tenant from the records of the state topic. ok is false if there is no record of it.
func Load(id string, records map[string][]byte) (t *Tenant, ok bool, err error) {
	t = empty(id)
	type ledgerRecord struct {
		day  window.Day
		seq  uint64
		key  string
		data []byte
	}
	var ledger []ledgerRecord
	found := false
	for key, value := range records {
		rest, ours := strings.CutPrefix(key, prefix(id))
		if !ours {
			continue
		}
		kind, name, _ := strings.Cut(rest, "/")
		if rest == forgottenKey { // outlives the tenant
			continue
		}
		found = true
		switch kind {
		case "tenant":
			if name != "" {
				return nil, false, &DamagedError{key, "its key has not the form tenant"}
			}
			if err := decodeJSON(key, value, &t.Header); err != nil {
				return nil, false, err
			}
			ok = true
		case "month":
			m := &Month{}
			if err := decodeJSON(key, value, m); err != nil {
				return nil, false, err
			}
			of, err := parseMonth(name)
			if err != nil {
				return nil, false, &DamagedError{key, "its key has not the form month/2026-11"}
			}
			if err := m.check(of.days()); err != nil {
				return nil, false, &DamagedError{key, err.Error()}
			}
			t.months[of] = m
		case "window":
			day, err := window.Parse(name)
			if err != nil {
				return nil, false, &DamagedError{key, err.Error()}
			}
			w := &Window{}
			if err := decodeJSON(key, value, w); err != nil {
				return nil, false, err
			}
			t.windows[day] = w
		case "scan":
			s := &Scan{}
			if err := decodeJSON(key, value, s); err != nil {
				return nil, false, err
			}
			if key != scanKey(id, s.Range.From) || s.Range.Days() < 1 {
				return nil, false, &DamagedError{key, fmt.Sprintf("its range is %s", s.Range)}
			}
			t.scans[s.Range.From] = s
		case "ledger":
			d, n, _ := strings.Cut(name, "/")
			day, err := window.Parse(d)
			seq, err2 := strconv.ParseUint(n, 10, 64)
			if err != nil || err2 != nil || key != ledgerKey(id, day, seq) || day != window.Day(uint16(day)) {
				return nil, false, &DamagedError{key, "its key has not the form ledger/<day>/<seq>"}
			}
			ledger = append(ledger, ledgerRecord{day, seq, key, value})
		default:
			return nil, false, fmt.Errorf("state record %q is of a kind this version does not know: %w", key, ErrNewer)
		}
	}
	if found && !ok {
		return nil, false, &DamagedError{prefix(id) + "tenant", "it is missing, while other records of the tenant are there"}
	}
	slices.SortFunc(ledger, func(a, b ledgerRecord) int {
		if a.day != b.day {
			return int(a.day - b.day)
		}
		if a.seq < b.seq {
			return -1
		}
		return 1
	})
	for _, r := range ledger {
		w := t.windows[r.day]
		if w == nil {
			return nil, false, &DamagedError{r.key, "its window's record is missing"}
		}
		if r.seq > w.Seq {
			return nil, false, &DamagedError{r.key, fmt.Sprintf("its window's record knows ledger records up to %d only", w.Seq)}
		}
		w.segments = append(w.segments, newSegment(r.seq, r.data))
		// Guard: ledger restore. Taken out: TestLoadEqualsMemory, TestHistories, TestRestartPublishesNothing.
		err := decodeSegment(r.data, r.day, func(e entry, text string, home window.Day) {
			t.rows.put(e)
			if e.has(flagText) {
				t.rows.texts[e.key] = text
			}
			if e.has(flagAway) {
				t.rows.away[e.key] = home
			} else {
				delete(t.rows.away, e.key)
			}
		})
		if errors.Is(err, ErrNewer) {
			return nil, false, fmt.Errorf("state record %q: %w", r.key, err)
		}
		if err != nil {
			return nil, false, &DamagedError{r.key, err.Error()}
		}
	}
	if n := t.countDropped(); n != t.Header.Dropped {
		return nil, false, &DamagedError{prefix(id) + "month/…", fmt.Sprintf("the month records hold %d settled days, the tenant's record counts %d", n, t.Header.Dropped)}
	}
	return t, ok, t.checkLedgers()
}

// checkLedgers compares the ledgers with the counts of their windows: the rows of a ledger record that is lost would be
// published again as new ones.
func (t *Tenant) checkLedgers() error {
	type sum struct{ rows, revisions, vanished int64 }
	sums := map[window.Day]sum{}
	for e := range t.rows.all {
		s := sums[e.day()]
		if e.revision >= 0 {
			s.rows++
			s.revisions += int64(e.revision)
		}
		if e.has(flagVanished) {
			s.vanished++
		}
		sums[e.day()] = s
	}
	for day, w := range t.windows {
		if t.Dropped(day) {
			return &DamagedError{windowKey(t.ID, day), "its month's record says that its ledger has been dropped"}
		}
		if w.Events != w.Rows+w.Revisions || w.Rejects < 0 || w.Events > 0 && w.FirstEvent == nil {
			return &DamagedError{windowKey(t.ID, day), "its counts contradict each other"}
		}
		if s := sums[day]; s != (sum{w.Rows - w.Elsewhere, w.Revisions - w.ElsewhereRevisions, w.Vanished}) {
			return &DamagedError{windowKey(t.ID, day), fmt.Sprintf("it counts %d rows, %d revisions and %d vanished, its ledger %d, %d and %d",
				w.Rows, w.Revisions, w.Vanished, s.rows, s.revisions, s.vanished)}
		}
	}
	return nil
}
