package poller_test

import (
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"pstncalls/internal/clock"
	"pstncalls/internal/graphfake"
	"pstncalls/internal/schedule"
	"pstncalls/internal/state"
	"pstncalls/internal/window"
	"pstncalls/schema"
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
	answer := func(body string, header ...string) graphfake.Fault {
		return graphfake.Fault{Kind: graphfake.Answer, Answer: func(w http.ResponseWriter, _ *http.Request) {
			for i := 0; i < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}
			io.WriteString(w, body)
		}}
	}
	zip := func(s string) string {
		var b strings.Builder
		z := gzip.NewWriter(&b)
		io.WriteString(z, s)
		z.Close()
		return b.String()
	}
	bomb := zip(`{"value":[`) + strings.Repeat(zip(strings.Repeat(" ", 1<<20)), 1024) // 1 GiB
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
		{"link to another port", graphfake.Fault{Kind: graphfake.ForeignLink, URL: "http://127.0.0.1:1"}, "away from"},
		{"link to another scheme", graphfake.Fault{Kind: graphfake.ForeignLink, URL: strings.Replace(w.web.URL, "http:", "https:", 1)}, "away from"},
		{"1 MB link", answer(`{"value":[],"@odata.nextLink":"?` + strings.Repeat("x", 1<<20) + `"}`), "nextLink of 1048577 bytes"},
		{"1 MB header", graphfake.Fault{Kind: graphfake.HugeHeader, Bytes: 1 << 20}, "headers exceeded"},
		{"gzip bomb", answer(bomb, "Content-Encoding", "gzip"), "more than 67108864 bytes"},
		{"100,001 rows", answer(`{"value":[` + strings.Repeat("{},", 100_000) + `{}]}`), "more than 100000 rows"},
		{"a count, and no row", answer(`{"@odata.count":3,"value":[]}`), "without a row"},
		{"a raw NUL", answer("{\"value\":[{\"id\":\"a\x00b\"}]}"), "not valid JSON"},
		{"NaN", answer(`{"value":[{"charge":NaN}]}`), "not valid JSON"},
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
		{"429 with Retry-After -1", throttled(429, "-1"), "429"},
		{"429 with Retry-After in the past", throttled(429, "Mon, 23 Nov 2015 10:00:00 GMT"), "429"},
		{"503 with Retry-After without sense", throttled(503, "when it suits"), "503"},
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
			ends := func() int { return r.log.count("condition ended", "condition=graph-") }
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
			// A scan of a day alone may pass pages that one of several days had not come to: once for each of the two days.
			if n := ends() - ended; n > 2 {
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
	i := slices.IndexFunc(s.Header.Conditions, func(c state.Condition) bool { return strings.HasPrefix(c.Name, "graph-") })
	if i < 0 {
		return state.Condition{}, false
	}
	return s.Header.Conditions[i], true
}

// TestHostileRows puts rows that are not what Graph's documents promise on the pages of today. Each ends as one event or on the
// dead-letter topic, once, though it is shown twice; the rows beside it do not suffer.
func TestHostileRows(t *testing.T) {
	today := window.Of(time.Now())
	c := clock.NewScaled(today.Start().Add(30*time.Minute), 600)
	w := newWorld(t, c, schedule.Settings{Interval: time.Minute, Lookback: 7 * 24 * time.Hour}, today,
		graphfake.Config{Seed: 5, Tenants: []graphfake.TenantConfig{{ID: tenant}}})
	n := 0
	odd := func(properties string) string { // a row of today
		n++
		return fmt.Sprintf(`{"id":"odd-%d","callId":"odd-%[1]d","startDateTime":%q,%s}`, n, stamp(today.Start()), properties)
	}
	starts := func(at string) string {
		n++
		return fmt.Sprintf(`{"id":"odd-%d","callId":"odd-%[1]d","startDateTime":%s}`, n, at)
	}
	long, large := strings.Repeat("x", 10<<20), strings.Repeat("x", 2<<20)
	is := func(want string, got func(*schema.PstnCall) any) func(*schema.PstnCall) bool {
		return func(c *schema.PstnCall) bool { return fmt.Sprint(got(c)) == want }
	}
	name := func(c *schema.PstnCall) any { return *c.UserDisplayName }
	charge := func(c *schema.PstnCall) any { return *c.Charge }
	const syntax, object = "not valid JSON: broken text, or nested too deep", "the row is not an object"
	tests := []struct {
		name, raw        string
		reason, property string // of the reject
		event            func(*schema.PstnCall) bool
	}{
		{"a row of 10 MiB", odd(`"userDisplayName":"` + long + `"`), "its event would exceed the topic's message size", "", nil},
		{"an unknown property of 2 MiB", odd(`"new":["` + large + `"]`), "its event would exceed the topic's message size", "", nil},
		{"an id of 2 MiB", `{"id":"` + large + `","callId":"` + large + `","startDateTime":"` + stamp(today.Start()) + `"}`, "longer than 256 bytes", "id", nil},
		{"a name twice", odd(`"duration":1,"duration":2`), "a name occurs twice in one object", "duration", nil},
		{"a name twice, the same", odd(`"duration":3,"duration":3`), "a name occurs twice in one object", "duration", nil},
		{"the id twice", odd(`"id":"odd"`), "a name occurs twice in one object", "id", nil},
		{"a name twice in depth", odd(`"new":{"a":1,"a":2}`), "a name occurs twice in one object", "", nil},
		{"NUL", odd(`"userDisplayName":"a\u0000b"`), "", "", is("a\x00b", name)},
		{"invalid UTF-8", odd("\"userDisplayName\":\"a\xffb\""), syntax, "userDisplayName", nil},
		{"invalid UTF-8 in a name", odd("\"user\xff\":1"), syntax, "", nil},
		{"half a surrogate", odd(`"userDisplayName":"\ud800"`), syntax, "userDisplayName", nil},
		{"a number as a string", odd(`"duration":"5"`), "not a whole number of 32 bits", "duration", nil},
		{"half a second", odd(`"duration":0.5`), "not a whole number of 32 bits", "duration", nil},
		{"a duration beyond 32 bits", odd(`"duration":2147483648`), "not a whole number of 32 bits", "duration", nil},
		{"a duration of 1e400", odd(`"duration":1e400`), "not a whole number of 32 bits", "duration", nil},
		{"a string as a number", odd(`"userDisplayName":5`), "not a string", "userDisplayName", nil},
		{"an object for a string", odd(`"callType":{}`), "not a string", "callType", nil},
		{"an id that is a number", `{"id":5,"startDateTime":"` + stamp(today.Start()) + `"}`, "not a string", "id", nil},
		{"charge as a string", odd(`"charge":"0.25"`), "", "", is("0.25", charge)},
		{"charge 1e400", odd(`"charge":1e400`), "amount is beyond decimal(18,6)", "charge", nil},
		{"charge -0", odd(`"charge":-0`), "", "", is("0", charge)},
		{"charge 1e-400", odd(`"charge":1e-400`), "", "", func(c *schema.PstnCall) bool { return *c.Charge == 0 && c.Extra["charge"] == "1e-400" }},
		{"charge NaN", odd(`"charge":"NaN"`), "not a decimal number", "charge", nil},
		{"charge true", odd(`"charge":true`), "not an amount", "charge", nil},
		{"start in year 0001", starts(`"0001-01-01T00:00:00Z"`), "no start time", "startDateTime", nil},
		{"start in year 10000", starts(`"10000-01-01T00:00:00Z"`), "not an RFC 3339 date-time", "startDateTime", nil},
		{"start is a number", starts(`1763000000`), "not an RFC 3339 date-time", "startDateTime", nil},
		{"end in year 0001", odd(`"endDateTime":"0001-01-01T00:00:00Z"`), "", "", func(c *schema.PstnCall) bool { return c.EndDateTime == nil }},
		{"end in year 9999", odd(`"endDateTime":"9999-12-31T23:59:59Z"`), "", "", func(c *schema.PstnCall) bool { return c.EndDateTime.Year() == 9999 }},
		{"null", `null`, object, "", nil},
		{"a number", `7`, object, "", nil},
		{"a string", `"row"`, object, "", nil},
		{"an array", `[{}]`, object, "", nil},
		{"an empty object", `{}`, "no start time", "startDateTime", nil},
	}
	var page []string
	for _, tt := range tests {
		page = append(page, tt.raw)
	}
	page = append(page, starts(`"9999-12-31T23:59:59Z"`)) // of a day that is not asked for
	good := w.add(20, today.Start())
	script := w.graph.Script(graphfake.Fault{Kind: graphfake.Rows, Rows: strings.Join(page, ","), Count: 2, Day: today.Start()})
	after := w.graph.Script(graphfake.Fault{Kind: graphfake.Hook, Count: -1, Day: today.Start()})
	r := w.run("a", setUp{})
	w.until("the rows are shown twice, and then no more", func() bool { return script.Fired() == 2 && after.Fired() >= 4 })
	good = append(good, w.add(1, today.Start())...)
	w.until("a later row is published", func() bool { return len(w.read(topics.Events)) >= len(good)+6 })
	w.until("the row of another day is a condition", func() bool {
		return slices.ContainsFunc(w.state(r).Header.Conditions, func(c state.Condition) bool { return c.Name == "rows-out-of-range" })
	})
	r.stop()

	events := map[string][]*schema.PstnCall{}
	for _, rec := range w.read(topics.Events) {
		call := decode(t, rec)
		events[call.RowID] = append(events[call.RowID], call)
	}
	for _, id := range good {
		if len(events[id]) != 1 {
			t.Errorf("%d events of a good row", len(events[id]))
		}
		delete(events, id)
	}
	rejects := w.read(topics.DLQ)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			mine := slices.DeleteFunc(slices.Clone(rejects), func(rec *kgo.Record) bool {
				return len(rec.Value) == 0 || !strings.HasPrefix(tt.raw, string(rec.Value)) || len(rec.Value) != len(tt.raw) && header(rec, schema.HeaderTruncated) == ""
			})
			if tt.event != nil {
				_, id, _ := strings.Cut(tt.raw, `"id":"`)
				id, _, _ = strings.Cut(id, `"`)
				if got := events[id]; len(got) != 1 || len(mine) != 0 || !tt.event(got[0]) {
					t.Errorf("%d events, %d rejects, want one event: %+v", len(got), len(mine), got)
				}
				delete(events, id)
				return
			}
			if len(mine) != 1 {
				t.Fatalf("%d rejects, want one", len(mine))
			}
			rec := mine[0]
			if got, at := header(rec, schema.HeaderReason), header(rec, schema.HeaderProperty); got != tt.reason || at != tt.property {
				t.Errorf("reason %q of %q, want %q of %q", got, at, tt.reason, tt.property)
			}
			if header(rec, schema.HeaderRowID) == "" || header(rec, schema.HeaderWindow) != today.String() || len(rec.Key)+len(rec.Value) > 1<<20 {
				t.Errorf("key of %d bytes, value of %d, headers %v", len(rec.Key), len(rec.Value), rec.Headers)
			}
		})
	}
	if len(rejects)+6 != len(tests) || len(events) > 0 {
		t.Errorf("%d rejects for %d rows that cannot be events; events nobody expects: %v", len(rejects), len(tests)-6, events)
	}
	if _, ok := unreadable(w.state(r)); ok || r.log.has("session ended") {
		t.Error("odd rows are taken for an outage")
	}
}

// TestHundredThousandRows reads a page of a hundred times Graph's size.
func TestHundredThousandRows(t *testing.T) {
	const many = 100_000
	today := window.Of(time.Now())
	w := newWorld(t, clock.System, schedule.Settings{Interval: time.Hour, Lookback: 48 * time.Hour}, today,
		graphfake.Config{Tenants: []graphfake.TenantConfig{{ID: tenant}}})
	var b strings.Builder
	for i := range many {
		fmt.Fprintf(&b, `,{"id":"%08x-0000-4000-8000-000000000001","startDateTime":%q}`, i, stamp(today.Start()))
	}
	script := w.graph.Script(graphfake.Fault{Kind: graphfake.Rows, Rows: b.String()[1:], Count: -1, Day: today.Start()})
	r := w.run("a", setUp{})
	w.until("the page is asked for", func() bool { return script.Fired() > 0 })
	w.until("it is committed", func() bool { return r.log.has("events=100000") })
	w.until("the window is read", func() bool { s := w.state(r); return s != nil && s.Window(today).LastScan != nil })
	seen := map[string]bool{}
	recs := w.read(topics.Events)
	for _, rec := range recs {
		seen[string(rec.Key)] = true // without a callId the row id is the key
	}
	if got := w.state(r).Window(today); len(recs) != many || len(seen) != many || got.Rows != many {
		t.Errorf("%d events of %d rows, and the state says %d: want %d", len(recs), len(seen), got.Rows, many)
	}
}
