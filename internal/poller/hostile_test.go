package poller_test

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pstncalls/internal/clock"
	"pstncalls/internal/graphfake"
	"pstncalls/internal/schedule"
	"pstncalls/internal/state"
	"pstncalls/internal/window"
)

// TestHostilePages switches every fault on for good while a poller works, waits until the state topic says that Graph cannot be
// read, and switches it off. Nothing is doubled, lost or taken for read.
func TestHostilePages(t *testing.T) {
	// Ten minutes a second: the waits of a fault are short, and the test does not see midnight.
	today := window.Of(time.Now())
	c := clock.NewScaled(today.Start().Add(30*time.Minute), 600)
	w := newWorld(t, c, schedule.Settings{Interval: time.Minute, Lookback: 7 * 24 * time.Hour}, today-1,
		graphfake.Config{Seed: 5, PageSize: 20, Tenants: []graphfake.TenantConfig{{ID: tenant, RowsPerDay: 70, Flat: true,
			From: (today - 1).Start(), To: today.Start()}}})
	var visits atomic.Int64
	foreign := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { visits.Add(1) }))
	defer foreign.Close()
	status := func(code int) graphfake.Fault { return graphfake.Fault{Kind: graphfake.Status, Status: code} }
	throttled := func(code int, after string) graphfake.Fault {
		return graphfake.Fault{Kind: graphfake.Status, Status: code, RetryAfter: after}
	}
	later := func(r graphfake.Request) bool { return r.Skip > 0 }
	tests := []struct {
		name  string
		fault graphfake.Fault
		says  string // part of the condition
	}{
		{"truncate", graphfake.Fault{Kind: graphfake.Truncate}, "cut off"},
		{"truncate gzip", graphfake.Fault{Kind: graphfake.TruncateGzip}, "breaks off"},
		{"html", graphfake.Fault{Kind: graphfake.HTML}, ""},
		{"no value", graphfake.Fault{Kind: graphfake.NoValue}, "value"},
		{"null value", graphfake.Fault{Kind: graphfake.NullValue}, "value"},
		{"object value", graphfake.Fault{Kind: graphfake.ObjectValue}, "value"},
		{"error in 200", graphfake.Fault{Kind: graphfake.ErrorIn200}, ""},
		{"duplicate keys", graphfake.Fault{Kind: graphfake.DuplicateKeys}, "value"},
		{"link loop", graphfake.Fault{Kind: graphfake.LinkLoop, Loop: 1}, "loop of 1"},
		{"link loop of three", graphfake.Fault{Kind: graphfake.LinkLoop, Loop: 3}, "loop of 3"},
		{"endless empty pages", graphfake.Fault{Kind: graphfake.EmptyPage}, "empty pages"},
		{"foreign link", graphfake.Fault{Kind: graphfake.ForeignLink, URL: foreign.URL}, "away from"},
		{"redirect", graphfake.Fault{Kind: graphfake.Redirect, URL: foreign.URL}, "redirect"},
		{"reset", graphfake.Fault{Kind: graphfake.Reset}, "no answer"},
		{"reset in the body", graphfake.Fault{Kind: graphfake.ResetBody}, ""},
		{"401 for ever", status(401), "CallRecords.Read.All"},
		{"403 without message", status(403), "CallRecords.Read.All"},
		{"404", status(404), "404"},
		{"400", status(400), "400"},
		{"406", status(406), "406"},
		{"410 on a link", graphfake.Fault{Kind: graphfake.Status, Status: 410, Match: later}, "410"},
		{"429", status(429), "429"},
		{"429 with Retry-After", throttled(429, "20"), "429"},
		{"500", status(500), "500"},
		{"502", status(502), "502"},
		{"503", status(503), "503"},
		{"503 with Retry-After", throttled(503, "20"), "503"},
		{"504", status(504), "504"},
		{"509", status(509), "509"},
	}
	w.add(50, today.Start())
	r := w.run("a", setUp{})
	w.clean("before the faults")
	for _, tt := range tests {
		ok := t.Run(tt.name, func(t *testing.T) {
			w := *w
			w.TB = t
			tt.fault.Count = -1
			ends := func() int { return strings.Count(r.log.String(), "readable again") }
			ended, armed := ends(), c.Now()
			script := w.graph.Script(tt.fault)
			defer script.Off()
			ids := w.add(2, today.Start())
			w.correct(ids[0], func(r map[string]any) { r["duration"] = 7 })
			w.until("the condition is in the state topic", func() bool {
				cond, ok := unreadable(w.state(r))
				return ok && strings.Contains(cond.Sentence, tt.says) && cond.Since.After(armed)
			})
			if script.Fired() == 0 {
				t.Fatal("the fault never fired")
			}
			if last := w.state(r).Window(today).LastScan; last != nil && last.After(armed) {
				t.Errorf("a scan that began %v into the fault counts as read", last.Sub(armed))
			}
			// A scan that has begun anew may pass pages it had not come to before: once.
			if n := ends() - ended; n > 1 {
				t.Errorf("the condition ended %d times while the fault was on", n)
			}
			script.Off()
			w.clean("after the fault")
			w.until("the condition ends", func() bool { _, ok := unreadable(w.state(r)); return !ok })
		})
		if !ok {
			t.Logf("log:\n%.6000s", tail(r.log.String(), 6000))
			break
		}
	}
	t.Run("401 once", func(t *testing.T) {
		w := *w
		w.TB = t
		script := w.graph.Script(graphfake.Fault{Kind: graphfake.Status, Status: 401})
		w.until("the fault fires", func() bool { return script.Fired() > 0 })
		w.add(2, today.Start())
		w.clean("after it")
		if _, ok := unreadable(w.state(r)); ok {
			t.Error("one refused token is a condition")
		}
	})
	if n := visits.Load(); n > 0 {
		t.Errorf("the foreign host was visited %d times", n)
	}
	if m := w.graph.Misuse(); len(m) > 0 {
		t.Errorf("misuse: %q", m)
	}
	if r.log.has("session ended") {
		t.Error("a fault of Graph ended the session")
	}
}

func tail(s string, n int) string { return s[max(0, len(s)-n):] }

func unreadable(s *state.Tenant) (state.Condition, bool) {
	if s == nil {
		return state.Condition{}, false
	}
	i := slices.IndexFunc(s.Header.Conditions, func(c state.Condition) bool { return c.Name == "graph-unreadable" })
	if i < 0 {
		return state.Condition{}, false
	}
	return s.Header.Conditions[i], true
}
