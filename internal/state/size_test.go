package state

import (
	"fmt"
	"runtime"
	"testing"
	"time"
	"unsafe"

	"pstncalls/internal/window"
)

// The state of a quiet tenant stays small for good: of a settled day some numbers are kept.
func TestStateOfAYear(t *testing.T) {
	for _, rows := range []int{20, 55} {
		const days, left = 366, 9
		w := newWorld(t)
		for d := range window.Day(days) {
			day, now := day0+d, (day0 + d + 1).Start().Add(time.Hour)
			for i := range rows {
				w.observe(rowOn(day, int(d)*rows+i, 1))
				if i%10 == 9 {
					w.observe(rowOn(day, int(d)*rows+i, 2))
					w.commit()
				}
			}
			w.scanKnown(day)
			if d >= left {
				w.tenant.Settle(day-left, now)
			}
			w.tenant.Drop(now, 0)
			w.commit()
		}
		for d := range window.Day(3) { // as if the lookback had ended for all but the last
			w.tenant.Settle(day0+days-left+d, (day0 + days).Start())
		}
		w.tenant.Drop((day0 + days + 9).Start(), 0)
		w.check()
		dropped := w.tenant.Header.Dropped
		size := 0
		for k, v := range w.topic {
			size += len(k) + len(v)
		}
		t.Logf("%d rows a day: %d days, %d dropped: %d keys, %d bytes", rows, days, dropped, len(w.topic), size)
		if size >= 100_000 {
			t.Errorf("%d rows a day: the state is %d bytes", rows, size)
		}
	}
}

// scanKnown is a complete scan that has returned all rows that are known.
func (w *world) scanKnown(day window.Day) {
	w.tenant.Complete(Scanned{Range: window.Range{From: day, To: day + 1}, Begun: day.End(), Pages: 1, Resumed: true})
}

// writeAmplification commits days of rows in pages of 1,000 with 2 % corrections, of which days settle and are dropped, and
// returns how many bytes of ledger records were written for each byte of entries.
func writeAmplification(t *testing.T, rows, days int) float64 {
	const page, lookback = 1000, 24 * time.Hour
	w := newWorld(t)
	entries, dropped, merges, next := 0, 0, 0, 0
	fingerprint := uint64(1)
	for d := range window.Day(days) {
		day := day0 + d
		for range rows / page {
			for range page {
				w.observe(rowOn(day, next, 1))
				next++
			}
			for i := range page / 50 { // corrected: rows of today and yesterday
				fingerprint++
				n := max(0, next-1-(i*7919+int(fingerprint)*104729)%(2*rows))
				w.observe(rowOn(day0+window.Day(n/rows), n, fingerprint))
			}
			for _, o := range w.tenant.windows {
				entries += len(o.delta)
			}
			if w.commit() {
				merges++
			}
			w.tenant.Forget(w.counter)
		}
		now := day.End()
		w.scanKnown(day)
		for old := day0; old < day; old++ {
			if now.Sub(old.End()) >= lookback && !w.tenant.Settled(old) {
				w.tenant.Settle(old, now)
			}
		}
		dropped += w.tenant.Drop(now, lookback)
		w.commit()
	}
	if loaded := w.load(); loaded.Rows() != w.tenant.Rows() || loaded.Rows() != rows*(days-dropped) {
		t.Errorf("%d rows in the ledgers, loaded %d, want %d", w.tenant.Rows(), loaded.Rows(), rows*(days-dropped))
	}
	got := float64(w.written) / float64(entries)
	t.Logf("%d days of %d rows: entries %.1f MB, written %.1f MB: %.3f times; %d merges, %d days dropped",
		days, rows, float64(entries)/1e6, float64(w.written)/1e6, got, merges, dropped)
	if dropped == 0 || merges == 0 {
		t.Errorf("%d days dropped, %d merges", dropped, merges)
	}
	return got
}

// A tenth of the rows; the full size is behind the build tag long.
func TestWriteAmplification(t *testing.T) {
	if got := writeAmplification(t, 100_000, 7); got > 3 {
		t.Errorf("written %.3f times, want at most 3", got)
	}
}

// What the ledgers cost in memory, all told, stays under 64 bytes a row (design section 3).
func TestMemoryOfARow(t *testing.T) {
	if s := unsafe.Sizeof(entry{}); s != 32 {
		t.Errorf("an entry has %d bytes, want 32", s)
	}
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	for _, rows := range []int{100_000, 20_000} {
		t.Run(fmt.Sprintf("%d rows a day", rows), func(t *testing.T) {
			w := newWorld(t)
			before := heap()
			const days = 3
			for i := range days * rows {
				day := day0 + window.Day(i/rows)
				w.observe(rowOn(day, i, 1))
				if i%100 == 0 { // moves
					w.observe(rowOn(day+1, i, 2))
				}
				if i%1000 == 999 {
					if _, _, err := w.tenant.Records(); err != nil {
						t.Fatal(err)
					}
					w.tenant.Forget(w.counter)
				}
			}
			got := float64(heap()-before) / float64(days*rows)
			kept := 0
			for _, o := range w.tenant.windows {
				for _, s := range o.segments {
					kept += cap(s.data)
				}
			}
			t.Logf("%.1f bytes a row, %.1f of them are ledger records that are still to be merged", got, float64(kept)/float64(days*rows))
			if got >= 64 {
				t.Errorf("%.1f bytes a row, want less than 64", got)
			}
			runtime.KeepAlive(w)
		})
	}
}
