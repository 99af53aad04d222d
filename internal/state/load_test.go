package state

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pstncalls/internal/window"
)

// Whatever has happened, a tenant that is loaded from its records is the one in memory.
func TestLoadEqualsMemory(t *testing.T) {
	merges := 0
	for seed := range uint64(30) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 3))
			w := newWorld(t)
			commits := 150
			if seed == 0 {
				commits = 8000 // enough small records to be merged
			}
			for range commits {
				for range 1 + r.IntN(8) {
					w.observe(randomRow(r, 300))
				}
				if r.IntN(10) == 0 {
					d := day0 + window.Day(r.IntN(4))
					w.tenant.Complete(Scanned{Range: window.Range{From: d, To: d + 1}, Begun: d.End(), Pages: 3})
					if r.IntN(8) == 0 && seed > 0 {
						w.tenant.Settle(d, d.End().Add(time.Hour))
					}
				}
				from := day0 + window.Day(r.IntN(4))
				if r.IntN(2) == 0 {
					w.tenant.KeepScan(Scan{Range: window.Range{From: from, To: from + 1}, Begun: from.End(), Link: "https://graph/x", Pages: int64(r.IntN(9))})
				} else {
					w.tenant.DropScan(from)
				}
				if w.commit() {
					merges++
				}
				if w.tenant.Dirty() {
					t.Fatal("dirty after Records")
				}
				if r.IntN(10) == 0 {
					w.restart()
				}
			}
		})
	}
	if merges == 0 {
		t.Error("no ledger was merged")
	}
}

func TestMerge(t *testing.T) {
	w := newWorld(t)
	for i := range mergeRun {
		w.observe(Seen{ID: guidOf(i % 60), HasID: true, Fingerprint: uint64(i), Day: day0})
		if w.commit() {
			t.Fatalf("merged at commit %d", i)
		}
	}
	w.observe(Seen{ID: strings.Repeat("é", 128), HasID: true, Fingerprint: 1, Day: day0})
	if !w.commit() {
		t.Fatal("a full run was not merged")
	}
	var keys []string
	for k := range w.topic {
		if strings.Contains(k, "/ledger/") {
			keys = append(keys, k)
		}
	}
	want := []string{ledgerKey(testTenant, day0, mergeRun), ledgerKey(testTenant, day0, mergeRun+1)}
	if diff := cmp.Diff(map[string]bool{want[0]: true, want[1]: true}, setOf(keys)); diff != "" {
		t.Errorf("ledger records (-want +got):\n%s", diff)
	}
	w.check()
}

func setOf(keys []string) map[string]bool {
	m := map[string]bool{}
	for _, k := range keys {
		m[k] = true
	}
	return m
}

// Bytes written stay within three times the bytes of the entries (design section 5).
func TestLedgerBytesWritten(t *testing.T) {
	for _, c := range []struct {
		name          string
		rows, commits int
		id            func(int) string
		most          float64
	}{
		{"pages of 1,000 rows", 1000, 300, guidOf, 3},
		{"4,000 rows", 4000, 70, guidOf, 3},
		{"twenty rows", 20, 5000, guidOf, 3},
		{"single rows", 1, 20000, guidOf, 3},
		{"long text ids", 1000, 40, func(n int) string { return fmt.Sprintf("%0256d", n) }, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			entries := 0
			for i := range c.commits {
				for j := range c.rows {
					w.observe(Seen{ID: c.id(i*c.rows + j), HasID: true, Fingerprint: 1, Day: day0})
				}
				entries += len(w.tenant.own(day0).delta)
				w.commit()
				w.tenant.Forget(w.counter)
			}
			got := float64(w.written) / float64(entries)
			t.Logf("%d rows: entries %.1f bytes a row, written %.2f times, %d records", c.rows*c.commits, float64(entries)/float64(c.rows*c.commits), got, len(w.topic)-2)
			if got > c.most {
				t.Errorf("written %.2f times, want at most %.2f", got, c.most)
			}
			if n := w.load().Rows(); n != c.rows*c.commits {
				t.Errorf("loaded %d rows, want %d", n, c.rows*c.commits)
			}
		})
	}
}

func TestLoadRefuses(t *testing.T) {
	w := newWorld(t)
	for i := range 3 {
		w.observe(Seen{ID: guidOf(i), HasID: true, Fingerprint: 1, Day: day0})
		w.tenant.KeepScan(Scan{Range: window.Range{From: day0, To: day0 + 1}, Link: "x"})
		w.commit()
	}
	w.load()
	header, win, scan := prefix(testTenant)+"tenant", windowKey(testTenant, day0), scanKey(testTenant, day0)
	ledger := func(seq uint64) string { return ledgerKey(testTenant, day0, seq) }
	replace := func(key, old, with string) func(map[string][]byte) {
		return func(m map[string][]byte) {
			s := strings.Replace(string(m[key]), old, with, 1)
			if s == string(m[key]) {
				t.Fatalf("%s has no %s", key, old)
			}
			m[key] = []byte(s)
		}
	}
	set := func(key string, value []byte) func(map[string][]byte) {
		return func(m map[string][]byte) { m[key] = value }
	}
	drop := func(key string) func(map[string][]byte) { return func(m map[string][]byte) { delete(m, key) } }
	raw := w.topic[ledger(2)]
	newer := append([]byte{segmentFormat + 1}, raw[1:]...)
	algorithm := append([]byte{segmentFormat, 2}, raw[2:]...)
	for _, c := range []struct {
		name   string
		damage func(map[string][]byte)
		key    string
		newer  bool
	}{
		{"segment truncated", set(ledger(2), raw[:len(raw)-1]), ledger(2), false},
		{"segment with an id too long", set(ledger(2), appendEntry(startSegment(), &entry{flags: flagText}, strings.Repeat("x", maxIDBytes+1), 0)), "is damaged", false},
		{"segment empty", set(ledger(2), []byte{}), ledger(2), false},
		{"segment lost", drop(ledger(2)), win, false},
		{"segment twice under other seqs", set(prefix(testTenant)+"ledger/"+day0.String()+"/02", raw), "/02", false},
		{"segment of a newer format", set(ledger(2), newer), ledger(2), true},
		{"segment of another algorithm", set(ledger(2), algorithm), ledger(2), true},
		{"segment beyond its window", set(ledger(4), raw), ledger(4), false},
		{"segment of a wrong day", set(prefix(testTenant)+"ledger/2026-13-01/1", raw), "2026-13-01", false},
		{"segment of a day out of reach", set(prefix(testTenant)+"ledger/2400-01-01/1", raw), "2400-01-01", false},
		{"window missing", drop(win), day0.String(), false},
		{"window of a wrong day", set(prefix(testTenant)+"window/today", w.topic[win]), "today", false},
		{"window with a bad digest", replace(win, `"digest":"`, `"digest":"x`), win, false},
		{"window with other counts", replace(win, `"rows":3`, `"rows":4`), win, false},
		{"window newer", replace(win, `"v":1`, `"v":2`), win, true},
		{"window without v", replace(win, `"v":1,`, ``), win, false},
		{"window no JSON", set(win, []byte("{")), win, false},
		{"tenant missing", drop(header), header, false},
		{"tenant newer", replace(header, `"v":1`, `"v":2`), header, true},
		{"tenant without v", replace(header, `"v":1,`, ``), header, false},
		{"tenant below another", set(header+"/x", w.topic[header]), header + "/x", false},
		{"scan under another day", set(scanKey(testTenant, day0+1), w.topic[scan]), scanKey(testTenant, day0+1), false},
		{"scan of nothing", replace(scan, `"to":"`+(day0+1).String(), `"to":"`+day0.String()), scan, false},
		{"scan newer", replace(scan, `"v":1`, `"v":2`), scan, true},
		{"unknown kind", set(prefix(testTenant)+"year/2026", []byte("{}")), "year/2026", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := maps.Clone(w.topic)
			c.damage(m)
			_, _, err := Load(testTenant, m)
			var damaged *DamagedError
			if err == nil || !strings.Contains(err.Error(), c.key) || errors.Is(err, ErrNewer) != c.newer || errors.As(err, &damaged) == c.newer {
				t.Errorf("got %v, want the key %s named, newer %t", err, c.key, c.newer)
			}
		})
	}
}

// Counts that contradict each other would go into a month record, and only then be refused.
func TestLoadComparesEvents(t *testing.T) {
	w := newWorld(t)
	w.scan(day0, rowOn(day0, 1, 1), rowOn(day0, 2, 1), rejected(rowOn(day0, 3, 1)))
	w.check()
	win := windowKey(testTenant, day0)
	for _, damage := range [][2]string{{`"events":2`, `"events":1`}, {`"rejects":1`, `"rejects":-1`}, {`,"firstEvent":`, `,"otherEvent":`}} {
		t.Run(damage[1], func(t *testing.T) {
			m := maps.Clone(w.topic)
			s := strings.Replace(string(m[win]), damage[0], damage[1], 1)
			if s == string(m[win]) {
				t.Fatalf("%s has no %s", m[win], damage[0])
			}
			m[win] = []byte(s)
			_, _, err := Load(testTenant, m)
			var damaged *DamagedError
			if !errors.As(err, &damaged) || damaged.Key != win {
				t.Errorf("got %v, want %s refused", err, win)
			}
		})
	}
}

func TestLoadNothing(t *testing.T) {
	other := New("fabrikam", day0)
	recs, _, _ := other.Records()
	if _, ok, err := Load(testTenant, map[string][]byte{recs[0].Key: recs[0].Value}); ok || err != nil {
		t.Errorf("got %t, %v, want no tenant", ok, err)
	}
}
