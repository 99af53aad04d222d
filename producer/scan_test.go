package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"pstncalls/internal/graphfake"
	"pstncalls/internal/state"
	"pstncalls/internal/window"
)

// TestScanUsage has what is wrong with a command line: exit code 2, and the right form.
func TestScanUsage(t *testing.T) {
	today := window.Of(time.Now())
	for _, tt := range []struct{ args, says string }{
		{"", "--from: want the first day, such as 2026-11-01"},
		{"--from " + (today + 1).String(), "lies in the future"},
		{"--from 2026-11-03 --to 2026-11-02", "--to: 2026-11-02 is not after --from 2026-11-03"},
		{"--from " + today.String() + " --to " + (today + 2).String(), "--to: " + (today + 1).String() + " lies in the future"},
		{"--from soon", "want a UTC day such as 2026-11-01"},
		{"--list --cancel x", "want one of them"},
		{"--list --from " + today.String(), "want one of them"},
	} {
		code, out, said := invoke(t.Context(), []string{"KAFKA_BROKERS=127.0.0.1:1"}, "", append([]string{"scan"}, strings.Fields(tt.args)...)...)
		if code != exitUsage || out != "" || !strings.Contains(said, tt.says) || !strings.Contains(said, "Try: producer scan --help") {
			t.Errorf("scan %s: exit %d, %q, %q; want %q", tt.args, code, out, said, tt.says)
		}
	}
}

// TestScan asks a running producer for settled days, days further back, and what it cannot do. On a real Kafka where there is one.
func TestScan(t *testing.T) {
	t.Parallel()
	today := window.Of(time.Now())
	w := newWorld(t, graphfake.Config{Seed: 8, PageSize: 1000, Tenants: []graphfake.TenantConfig{{ID: worldTenant, From: (today - 12).Start(),
		To: today.Start(), RowsPerDay: 30, Flat: true}}}, "POLL_START=192h", "POLL_LOOKBACK=1s")
	scan := func(args ...string) (int, string, string) {
		return invoke(t.Context(), w.environ, "", append([]string{"scan"}, args...)...)
	}
	from, to := (today - 8).String(), (today - 4).String()

	p := w.start("none")
	settled := func() bool {
		code, out, _ := invoke(t.Context(), w.environ, "", "status", "--json")
		return code == exitDone && strings.Contains(out, fmt.Sprintf(`"to":%q,"state":"settled"`, today-2))
	}
	w.await("the days to settle", settled)
	before := len(w.read(w.name))

	at := func(day window.Day, n int) string {
		return day.Start().Add(time.Duration(n) * time.Hour).Format("2006-01-02T15:04:05.0000000Z")
	}
	for i := range 5 {
		id := fmt.Sprintf("%08d-0000-4000-8000-000000000000", i)
		if err := w.graph.AddRow(worldTenant, map[string]any{"id": id, "callId": "late-" + id, "startDateTime": at(today-6, i), "duration": 5}, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	var changed []string
	for _, r := range w.graph.Truth(worldTenant) {
		if window.Of(r.Versions[0].Start) == today-7 && len(changed) < 3 {
			changed = append(changed, r.ID)
		}
	}
	for _, id := range changed {
		if err := w.graph.CorrectRow(worldTenant, id, func(v map[string]any) { v["duration"] = 77 }, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	code, out, said := scan("--tenant", worldTenant, "--from", from, "--to", to, "--wait")
	if code != exitDone || !strings.HasSuffix(strings.TrimSpace(out), fmt.Sprintf("tenant %s: done: [%s, %s), events=8 revisions=3", worldTenant, from, to)) {
		t.Errorf("scan of settled days: exit %d, %s%s", code, out, said)
	}
	if n := len(w.read(w.name)) - before; n != 8 {
		t.Errorf("%d events more, want 8", n)
	}
	w.await("the days to settle again", settled)
	if code, out, said := invoke(t.Context(), w.environ, "", "verify"); code != exitDone || !strings.Contains(out, " differs=0 ") || strings.Contains(out, "proved=0 ") {
		t.Errorf("verify: exit %d, %s%s", code, out, said)
	}
	if code, _, said := invoke(t.Context(), w.environ, "", "verify", "--from", "2020-01-01", "--to", "2020-02-01"); code != exitFailed || !strings.Contains(said, "nothing is proved: no day of [2020-01-01, 2020-02-01)") {
		t.Errorf("verify of days that are not there: exit %d, %s", code, said)
	}

	code, out, said = scan("--from", (today - 12).String(), "--to", (today - 8).String(), "--wait", "--json")
	var got []wish
	if err := json.Unmarshal([]byte(out), &got); err != nil || code != exitDone || len(got) != 1 || got[0].Answer != state.AnswerDone || got[0].Events != 120 {
		t.Errorf("scan further back: exit %d, %v, %s%s", code, err, out, said)
	}

	// Nobody runs: the wish waits, and can be taken back.
	p.stop()
	if code, out, said = scan("--from", from, "--to", to, "--json"); code != exitDone {
		t.Fatalf("scan without an owner: exit %d, %s%s", code, out, said)
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil || len(got) != 1 {
		t.Fatalf("%v: %s", err, out)
	}
	if code, out, said = scan("--list"); code != exitDone || !strings.Contains(out, got[0].ID) || !strings.Contains(out, "not accepted yet") {
		t.Errorf("--list: exit %d, %s%s", code, out, said)
	}
	code, out, said = scan("--from", from, "--to", to)
	second, _, _ := strings.Cut(out, " ")
	if code != exitDone || second == "" {
		t.Fatalf("a second scan: exit %d, %s%s", code, out, said)
	}
	if code, out, said = scan("--cancel", second); code != exitDone || !strings.Contains(out, "its end is asked for: no producer runs") {
		t.Errorf("--cancel: exit %d, %s%s", code, out, said)
	}
	if _, out, _ := scan("--list"); strings.Count(out, "not accepted yet") != 2 || strings.Count(out, "its end is asked for") != 1 {
		t.Errorf("--list after --cancel: %s", out)
	}
	w.start("none")
	w.await("the wish to be granted by the next owner", func() bool {
		code, out, _ := scan("--list", "--json")
		return code == exitDone && strings.TrimSpace(out) == "[]"
	})
	if n := len(w.read(w.name)) - before; n != 8+120 {
		t.Errorf("%d events more, want %d", n, 8+120)
	}

	for _, tt := range []struct {
		args string
		code int
		says string
	}{
		{"--from 2020-01-01 --to 2020-02-01", exitFailed, "Graph keeps no calls before"},
		{"--from " + from + " --tenant fabrikam", exitUsage, `tenant "fabrikam" is not in the state, which knows ["contoso"]`},
		{"--cancel nothing", exitUsage, `no scan "nothing" is asked for`},
	} {
		if code, out, said := scan(strings.Fields(tt.args)...); code != tt.code || !strings.Contains(said, tt.says) {
			t.Errorf("scan %s: exit %d, %s%s; want %q", tt.args, code, out, said, tt.says)
		}
	}
	if v := w.verdict(); !v.OK() {
		t.Errorf("%s: %q", v, v.Details)
	}
	keys := map[string]bool{}
	for _, rec := range w.read(w.name) {
		e, err := eventOf(rec)
		if err != nil {
			t.Fatal(err)
		}
		key := fmt.Sprintf("%s/%d", e.RowID, e.Revision)
		if keys[key] {
			t.Errorf("%s is doubled", key)
		}
		keys[key] = true
	}
}

// await waits for what is going to be.
func (w *world) await(what string, met func() bool) {
	w.t.Helper()
	for began := time.Now(); !met(); time.Sleep(100 * time.Millisecond) {
		if time.Since(began) > 2*time.Minute {
			w.t.Fatalf("in vain: %s", what)
		}
	}
}
