package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pstncalls/internal/graphfake"
	"pstncalls/internal/verify"
)

// TestVerifyGraph changes what Graph shows after the producer has read it last: rows of settled days are missing, extra or stale, and
// what the next scan publishes anyway is told apart.
func TestVerifyGraph(t *testing.T) {
	g := readGolden(t, "testdata/state-1.0.0.jsonl")
	w := g.load(t, nil)
	args := []string{"verify", "--json", "--graph", "--rate", "100000", "--from", "2026-10-28", "--to", "2026-11-07"}
	run := func(code int) (r verify.Report, said string) {
		t.Helper()
		got, out, said := invoke(t.Context(), w.environ, "", args...)
		if err := json.Unmarshal([]byte(out), &r); err != nil || got != code {
			t.Fatalf("exit %d, want %d, %v: %s%s", got, code, err, said, out)
		}
		return r, said
	}
	if r, said := run(exitDone); r.Verdict.Proved != r.Verdict.Days || r.Verdict.Days != 10 || len(told(r)) > 0 || !strings.Contains(said, "Graph has shown") {
		t.Errorf("%s, %q, %s", r.Verdict, told(r), said)
	}

	at := g.At.Add(-time.Minute)
	settled, open := time.Date(2026, 11, 3, 9, 0, 0, 0, time.UTC), g.At.Add(-time.Hour)
	w.addGolden(goldenID(0x500), settled, at)
	w.addGolden(goldenID(0x501), open, at)
	if err := w.sim.CorrectRow(goldenTenant, goldenID(0xd), func(row map[string]any) { row["duration"] = 5 }, at); err != nil {
		t.Fatal(err)
	}
	if err := w.sim.CorrectRow(goldenTenant, goldenID(0xb0), func(row map[string]any) { row["duration"] = 5 }, at); err != nil {
		t.Fatal(err)
	}
	if err := w.sim.RemoveRow(goldenTenant, goldenID(1), at); err != nil {
		t.Fatal(err)
	}
	r, _ := run(exitFailed)
	want := []string{"2026-10-28 00000001/0 extra", "2026-11-03 0000000d/0 stale", "2026-11-03 00000500/0 missing", "(2026-11-06 000000b0/0 stale)", "(2026-11-06 00000501/0 missing)"}
	if diff := cmp.Diff(want, told(r)); diff != "" || r.Verdict.Differs != 2 || r.Verdict.Missing != 1 || r.Verdict.Extra != 1 || r.Verdict.Stale != 1 {
		t.Errorf("%s: -want +got\n%s", r.Verdict, diff)
	}
}

// told returns the rows that a report names, those that wait for the next scan in brackets.
func told(r verify.Report) (out []string) {
	for _, t := range r.Tenants {
		for _, d := range t.Days {
			for i, n := range slices.Concat(d.Rows, d.Graph.Recent) {
				id, _, _ := strings.Cut(n.RowID, "-")
				line := fmt.Sprintf("%s %s/%d %s", d.Day, id, n.Revision, n.What)
				if i >= len(d.Rows) {
					line = "(" + line + ")"
				}
				out = append(out, line)
			}
		}
	}
	return out
}

// TestVerifyGraphRefuses has what the topics alone say shown, as partial, where Graph refuses.
func TestVerifyGraphRefuses(t *testing.T) {
	w := readGolden(t, "testdata/state-1.0.0.jsonl").load(t, nil)
	w.sim.Script(graphfake.Fault{Kind: graphfake.Status, Status: http.StatusForbidden, Count: -1})
	code, out, said := invoke(t.Context(), w.environ, "", "verify", "--graph", "--rate", "100000", "--from", "2026-10-28")
	if code != exitFailed || !strings.Contains(out, "tenant contoso: 10 of 10 days proved") || !strings.Contains(out, "partial: ended by an error after 0 of 10 days were compared with Graph") ||
		!strings.Contains(out, "\npartial verdict: days=10 ") || !strings.Contains(said, "403") {
		t.Errorf("exit %d\n%s%s", code, out, said)
	}
}

func TestVerifyProgress(t *testing.T) {
	var said strings.Builder
	say := progressOn(&said, time.Now().Add(-10*time.Second))
	say(0, 1000) // nothing is known yet
	say(250, 1000)
	say(251, 1000) // too soon
	var rate, left int
	_, err := fmt.Sscanf(said.String(), "read 250 of 1000 offsets, %d a second, about %ds left\n", &rate, &left)
	if err != nil || rate < 15 || rate > 25 || left < 30 || left > 50 || strings.Count(said.String(), "\n") != 1 { // 25 and 30, on a machine that does not stall
		t.Errorf("got %q, %v", said.String(), err)
	}
}
