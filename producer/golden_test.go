package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pstncalls/internal/window"
)

// TestGolden goes on, with today's program, from what each release has left behind: every record is read, the rows are the ones that
// are known, nothing is published a second time, and verify proves all days, before and after.
func TestGolden(t *testing.T) {
	t.Parallel()
	paths, err := filepath.Glob("testdata/state-*.jsonl")
	if err != nil || len(paths) == 0 {
		t.Fatal(paths, err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".jsonl"), func(t *testing.T) {
			readGolden(t, path).goesOn(t)
		})
	}
}

func (g *golden) goesOn(t *testing.T) {
	w := g.load(t, nil)
	w.proved("before anything has run")
	before, commits := w.state()
	events, rejects := w.events(), len(w.records(".dlq"))

	r := w.run(g.At)
	r.until("it goes on with the scan", func() bool { return r.log.has("going on with a scan") })
	r.cycles()
	r.end()
	if got := w.events(); !slices.Equal(got, events) || len(w.records(".dlq")) != rejects {
		t.Fatalf("nothing has changed, and there are events %q of which %q were there before; %d rejects, %d before", got, events, len(w.records(".dlq")), rejects)
	}
	after, more := w.state()
	if more <= commits || !after.Window(window.Of(g.At)).LastScan.After(*before.Window(window.Of(g.At)).LastScan) {
		t.Errorf("commit %d after %d: it has not worked", more, commits)
	}

	// Each of these is told from a new row, and from one that is as it was, by its entry alone.
	now := g.At.Add(time.Hour)
	change := func(id string, fn func(map[string]any)) {
		t.Helper()
		if err := w.sim.CorrectRow(goldenTenant, id, fn, now); err != nil {
			t.Fatal(err)
		}
	}
	longer := func(row map[string]any) { row["duration"] = 1000 }
	change(goldenID(goldenCorrected), longer)
	change(goldenID(goldenOldLedger), longer)
	change(goldenText, longer)
	change(goldenID(goldenRejected), func(row map[string]any) { row["charge"] = 1 })
	if err := w.sim.RestoreRow(goldenTenant, goldenID(goldenVanished), now); err != nil {
		t.Fatal(err)
	}
	w.addGolden(goldenID(0x99), now.Add(-time.Hour), now)
	want := append(events, "000000c0/2", "000000a0/1", "000000f0/0", "text/1", "00000099/0")
	slices.Sort(want)
	r = w.run(now)
	r.until("the changes are published", func() bool { return len(w.records("")) >= len(want) })
	r.cycles()
	r.end()

	// Until all of it has settled, and no ledger is left. The row that has moved is known as long as the day that it is in now can change.
	for n, at := range []time.Time{g.At.Add(7 * time.Hour), g.At.AddDate(0, 0, 3), g.At.AddDate(0, 0, 6)} {
		now = at
		if n == 1 {
			change(goldenID(goldenMoved), longer)
			want = append(want, "000000d0/2")
		}
		r = w.run(at)
		r.cycles()
		w.addGolden(goldenID(0x300+n), at, at) // a commit carries what has settled
		want = append(want, fmt.Sprintf("0000030%d/0", n))
		r.until("a row of that day", func() bool { return len(w.records("")) >= len(want) })
		r.end()
	}
	slices.Sort(want)
	if got := w.events(); !slices.Equal(got, want) || len(w.records(".dlq")) != rejects {
		t.Errorf("published\n%q, want\n%q; %d rejects, %d before", got, want, len(w.records(".dlq")), rejects)
	}
	last, _ := w.state()
	for day := last.Header.Start; day <= window.Of(g.At); day++ {
		if !last.Settled(day) || last.HasLedger(day) || last.Window(day).Vanished > 0 {
			t.Errorf("%s: settled %v, with a ledger %v, %d vanished", day, last.Settled(day), last.HasLedger(day), last.Window(day).Vanished)
		}
	}
	w.proved("at the end")
}

// proved runs verify, which has to prove every day.
func (w *goldenWorld) proved(when string) {
	w.t.Helper()
	code, out, said := invoke(w.t.Context(), w.environ, "", "verify", "--all")
	if code != exitDone || !strings.Contains(out, " differs=0 missing=0 extra=0 stale=0 doubled=0 unproven=0") || strings.Contains(out, " days=0 ") {
		w.t.Errorf("verify %s: exit %d\n%s%s", when, code, out, said)
	}
}

func (l *logText) has(s string) bool { return strings.Contains(l.String(), s) }
