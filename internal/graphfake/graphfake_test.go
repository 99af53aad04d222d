package graphfake

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pstncalls/internal/graphfake/calllog"
)

func day(d, hour int) time.Time { return time.Date(2026, 11, d, hour, 0, 0, 0, time.UTC) }

// world is a simulator behind a real HTTP server, with a clock that stands still until it is set.
type world struct {
	*Server
	url string
	mu  sync.Mutex
	now time.Time
}

func (w *world) set(t time.Time) { w.mu.Lock(); defer w.mu.Unlock(); w.now = t }

func newWorld(t *testing.T, change func(*Config)) *world {
	t.Helper()
	w := &world{now: day(20, 0)}
	cfg := Config{Seed: 1, RequestsPerMinute: -1, PageSize: 100, Now: func() time.Time { w.mu.Lock(); defer w.mu.Unlock(); return w.now },
		Tenants: []TenantConfig{{ID: "contoso", RowsPerDay: 90, Flat: true, From: day(2, 0), To: day(7, 0), LateShare: 0.2, CorrectShare: 0.2,
			MoveShare: 0.1, NoIDShare: 0.02, RejectShare: 0.02}}}
	if change != nil {
		change(&cfg)
	}
	w.Server = New(cfg)
	server := httptest.NewServer(w.Server)
	t.Cleanup(server.Close)
	w.url = server.URL
	return w
}

// call returns the path of a request for a range, as the documents spell it.
func rangePath(from, to string) string {
	return "/beta/communications/callRecords/getPstnCalls(fromDateTime=" + from + ",toDateTime=" + to + ")"
}

type reply struct {
	status int
	header http.Header
	body   string
	err    error             // of the connection
	Count  *int              `json:"@odata.count"`
	Next   string            `json:"@odata.nextLink"`
	Value  []json.RawMessage `json:"value"`
}

func (w *world) get(t *testing.T, link string) reply {
	t.Helper()
	return w.do(t, http.MethodGet, link, "contoso")
}

func (w *world) do(t *testing.T, method, link, bearer string) reply {
	t.Helper()
	if !strings.HasPrefix(link, "http") {
		link = w.url + link
	}
	req, err := http.NewRequestWithContext(t.Context(), method, link, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+bearer)
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		return reply{err: err}
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	r := reply{status: resp.StatusCode, header: resp.Header, body: string(b), err: err}
	json.Unmarshal(b, &r) // some answers are no JSON
	return r
}

// scan reads all pages and returns the rows, in order, without what varies between requests.
func (w *world) scan(t *testing.T, path string) []string {
	t.Helper()
	var rows []string
	for link := path; link != ""; {
		r := w.get(t, link)
		if r.status != http.StatusOK || r.err != nil {
			t.Fatalf("%s: %d %v %.200s", link, r.status, r.err, r.body)
		}
		if r.Count == nil || *r.Count != len(r.Value) || len(r.Value) > w.cfg.PageSize {
			t.Errorf("%s: count %v of %d rows", link, r.Count, len(r.Value))
		}
		for _, v := range r.Value {
			rows = append(rows, plain(t, v))
		}
		link = r.Next
	}
	return rows
}

// plain returns a row's JSON with sorted keys and without nulls.
func plain(t *testing.T, doc []byte) string {
	t.Helper()
	var m map[string]any
	d := json.NewDecoder(strings.NewReader(string(doc)))
	d.UseNumber()
	if err := d.Decode(&m); err != nil {
		t.Fatalf("%s: %v", doc, err)
	}
	delete(m, "@odata.type")
	maps.DeleteFunc(m, func(_ string, v any) bool { return v == nil })
	b, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// truthAt returns what a scan of [from, to) has to give at now, sorted.
func (w *world) truthAt(t *testing.T, from, to, now time.Time) []string {
	var want []string
	for _, row := range w.Truth("contoso") {
		for _, v := range row.Versions {
			if !v.Start.Before(from) && v.Start.Before(to) && !now.Before(v.VisibleFrom) && (v.VisibleUntil.IsZero() || now.Before(v.VisibleUntil)) {
				want = append(want, plain(t, v.JSON))
			}
		}
	}
	slices.Sort(want)
	return want
}

func TestPagesAddUpToTheTruth(t *testing.T) {
	for order := ByStart; order <= Newest; order++ {
		t.Run(order.String(), func(t *testing.T) {
			w := newWorld(t, func(c *Config) { c.Order = order })
			firstSeen := map[string]time.Time{}
			for _, row := range w.Truth("contoso") {
				for _, v := range row.Versions {
					firstSeen[plain(t, v.JSON)] = row.Versions[0].VisibleFrom
				}
			}
			for _, now := range []time.Time{day(4, 9), day(20, 0)} {
				w.set(now)
				rows := w.scan(t, rangePath("2026-11-01", "2026-11-10"))
				if len(rows) < 101 {
					t.Fatalf("%d rows: not enough for pages", len(rows))
				}
				again := w.scan(t, rangePath("2026-11-01", "2026-11-10"))
				if got, want := slices.Equal(rows, again), order != Random; got != want {
					t.Errorf("a second scan has the same order: %v, want %v", got, want)
				}
				if order == ByID && !slices.IsSortedFunc(rows, byProperty(t, "id")) {
					t.Error("not by id")
				}
				if order == Visible && !slices.IsSortedFunc(rows, func(a, b string) int { return firstSeen[a].Compare(firstSeen[b]) }) {
					t.Error("a late row is not at the end")
				}
				if order == Newest && !slices.IsSortedFunc(rows, func(a, b string) int { return -byProperty(t, "startDateTime")(a, b) }) {
					t.Error("not newest first")
				}
				slices.Sort(rows)
				if diff := cmp.Diff(w.truthAt(t, day(1, 0), day(10, 0), now), rows); diff != "" {
					t.Errorf("at %v (-want +got):\n%.600s", now, diff)
				}
			}
			if m := w.Misuse(); len(m) > 0 {
				t.Errorf("misuse: %q", m)
			}
		})
	}
}

// byProperty compares two rows by a property; rows without it are equal to all.
func byProperty(t *testing.T, name string) func(a, b string) int {
	return func(a, b string) int {
		var x, y map[string]any
		if err := json.Unmarshal([]byte(a), &x); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(b), &y); err != nil {
			t.Fatal(err)
		}
		s, _ := x[name].(string)
		u, _ := y[name].(string)
		if len(s) < 20 || len(u) < 20 {
			return 0
		}
		return strings.Compare(strings.TrimSuffix(s, "Z"), strings.TrimSuffix(u, "Z"))
	}
}

func TestEnvelope(t *testing.T) {
	w := newWorld(t, nil)
	for _, path := range []string{
		rangePath("2026-11-02", "2026-11-07"),
		strings.NewReplacer("(", "%28", ")", "%29").Replace(rangePath("2026-11-02T02:00:00%2B02:00", "2026-11-07T02:00:00%2B02:00")),
		"/v1.0/communications/callRecords/microsoft.graph.callRecords.getPstnCalls(toDateTime=2026-11-07,fromDateTime=2026-11-02)",
	} {
		r := w.get(t, path)
		p, _ := url.PathUnescape(path)
		version, function, _ := strings.Cut(strings.TrimPrefix(p, "/"), "/")
		function, _, _ = strings.Cut(function, "(")
		if want := w.url + "/" + version + "/" + function + "(from=2026-11-02"; !strings.HasPrefix(r.Next, want) || !strings.HasSuffix(r.Next, ")?$skip=100") {
			t.Errorf("nextLink %q, want %q…", r.Next, want)
		}
		if strings.Contains(r.Next, "+") {
			t.Errorf("nextLink %q: plus sign", r.Next)
		}
		if want := w.url + "/" + version + "/$metadata#Collection(microsoft.graph.callRecords.pstnCallLogRow)"; !strings.Contains(r.body, want) {
			t.Errorf("no context %q", want)
		}
		if got := strings.Contains(r.body, "clientLocalIpV4Address"); got != (version == "beta") {
			t.Errorf("%s: beta's properties: %v", version, got)
		}
		if r.header.Get("Date") != w.now.Format(http.TimeFormat) || r.header.Get("request-id") == "" || r.header.Get("x-ms-ags-diagnostic") == "" {
			t.Errorf("headers %v", r.header)
		}
	}
}

func TestLinkBeforeOrAfterValue(t *testing.T) {
	w := newWorld(t, nil)
	places := map[bool]bool{}
	for hour := range 24 {
		w.set(day(20, hour))
		body := w.get(t, rangePath("2026-11-02", "2026-11-07")).body
		places[strings.Index(body, `"@odata.nextLink"`) < strings.Index(body, `"value"`)] = true
	}
	if len(places) != 2 {
		t.Errorf("always before, or always after: %v", places)
	}
}

func TestClientRequestIDIsEchoed(t *testing.T) {
	w := newWorld(t, nil)
	for _, path := range []string{rangePath("2026-11-02", "2026-11-03"), "/beta/nowhere"} {
		req := httptest.NewRequest(http.MethodGet, path, nil)
		req.Header.Set("Authorization", "Bearer contoso")
		req.Header.Set("client-request-id", "mine")
		rec := httptest.NewRecorder()
		w.ServeHTTP(rec, req)
		inBody := strings.Contains(rec.Body.String(), `"client-request-id":"mine"`)
		if got := rec.Header().Get("client-request-id"); got != "mine" || inBody != (rec.Code == http.StatusNotFound) {
			t.Errorf("%s: header %q, in the body: %v", path, got, inBody)
		}
	}
}

func TestVersionsAtExactInstants(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Tenants[0].RowsPerDay = 0 })
	row := func(id string) map[string]any {
		return map[string]any{"id": id, "startDateTime": "2026-11-03T10:00:00Z"}
	}
	if err := w.AddRow("contoso", row("late"), day(9, 1)); err != nil {
		t.Fatal(err)
	}
	err := w.CorrectRow("contoso", "late", func(r map[string]any) { r["startDateTime"] = "2026-11-04T10:00:00Z" }, day(9, 2))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.RemoveRow("contoso", "late", day(9, 3)); err != nil {
		t.Fatal(err)
	}
	if err := w.AddRow("nobody", row("x"), day(9, 1)); err == nil {
		t.Error("an unknown tenant has a row")
	}
	for _, c := range []struct {
		now           time.Time
		third, fourth int
	}{{day(9, 1).Add(-1), 0, 0}, {day(9, 1), 1, 0}, {day(9, 2).Add(-1), 1, 0}, {day(9, 2), 0, 1}, {day(9, 3).Add(-1), 0, 1}, {day(9, 3), 0, 0}} {
		w.set(c.now)
		third, fourth := w.scan(t, rangePath("2026-11-03", "2026-11-04")), w.scan(t, rangePath("2026-11-04", "2026-11-05"))
		if len(third) != c.third || len(fourth) != c.fourth {
			t.Errorf("at %v: %d and %d rows, want %d and %d", c.now, len(third), len(fourth), c.third, c.fourth)
		}
	}
}

// A row that lands ahead of the offset between two pages makes one row come twice; one that leaves makes one missing.
func TestSkipShifts(t *testing.T) {
	for _, c := range []struct {
		name   string
		mutate func(*world) error
		want   string
	}{
		{"late row", func(w *world) error {
			return w.AddRow("contoso", map[string]any{"id": "late", "startDateTime": "2026-11-03T00:00:00Z"}, w.now)
		}, "r0 r1 r1 r2 r3"},
		{"row gone", func(w *world) error { return w.RemoveRow("contoso", "r0", w.now) }, "r0 r1 r3"},
		{"nothing", func(*world) error { return nil }, "r0 r1 r2 r3"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, func(c *Config) { c.PageSize, c.Tenants[0].RowsPerDay = 2, 0 })
			for i := range 4 {
				row := map[string]any{"id": fmt.Sprint("r", i), "startDateTime": fmt.Sprintf("2026-11-03T10:00:0%dZ", i)}
				if err := w.AddRow("contoso", row, day(3, 12)); err != nil {
					t.Fatal(err)
				}
			}
			hook := w.Script(Fault{Kind: Hook, Page: 2, Hook: func(Request) {
				if err := c.mutate(w); err != nil {
					t.Error(err)
				}
			}})
			var ids []string
			for _, r := range w.scan(t, rangePath("2026-11-03", "2026-11-04")) {
				var id struct{ ID string }
				if err := json.Unmarshal([]byte(r), &id); err != nil {
					t.Fatal(err)
				}
				ids = append(ids, id.ID)
			}
			if got := strings.Join(ids, " "); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
			if hook.Fired() != 1 {
				t.Errorf("the hook fired %d times", hook.Fired())
			}
		})
	}
}

func TestReadings(t *testing.T) {
	starts := []string{"2026-11-02T23:59:59.9999999Z", "2026-11-03T00:00:00Z", "2026-11-03T06:00:00Z", "2026-11-04T00:00:00Z",
		"2026-11-04T12:00:00Z", "2026-11-04T12:00:00.0000001Z", "2026-11-05T00:00:00Z"}
	for _, c := range []struct {
		reading  string
		from, to string
		want     string // digits: indices into starts
	}{
		{"days-exclusive", "2026-11-03", "2026-11-04", "12"},
		{"days-inclusive", "2026-11-03", "2026-11-04", "12345"},
		{"times-exclusive", "2026-11-03", "2026-11-04", "12"},
		{"times-inclusive", "2026-11-03", "2026-11-04", "123"},
		{"days-exclusive", "2026-11-03T05:00:00Z", "2026-11-04T12:00:00Z", "12"},
		{"days-inclusive", "2026-11-03T05:00:00Z", "2026-11-04T12:00:00Z", "12345"},
		{"times-exclusive", "2026-11-03T05:00:00Z", "2026-11-04T12:00:00Z", "23"},
		{"times-inclusive", "2026-11-03T05:00:00Z", "2026-11-04T12:00:00Z", "234"},
		{"times-inclusive", "2026-11-03T07:00:00%2B02:00", "2026-11-04T12:00:00Z", "234"},
		{"days-exclusive", "2026-11-03T05:00:00Z", "2026-11-03T12:00:00Z", "400"},
		{"days-inclusive", "2026-11-03", "2026-11-03", "400"},
		{"times-inclusive", "2026-11-03", "2026-11-03", "400"},
		{"times-exclusive", "2026-11-04", "2026-11-03", "400"},
	} {
		reading, err := ParseReading(c.reading)
		if err != nil {
			t.Fatal(err)
		}
		w := newWorld(t, func(c *Config) { c.Reading, c.Tenants[0].RowsPerDay = reading, 0 })
		for i, s := range starts {
			if err := w.AddRow("contoso", map[string]any{"id": fmt.Sprint(i), "startDateTime": s}, day(6, 0)); err != nil {
				t.Fatal(err)
			}
		}
		got := ""
		r := w.get(t, rangePath(c.from, c.to))
		for _, v := range r.Value {
			var row struct{ ID string }
			if err := json.Unmarshal(v, &row); err != nil {
				t.Fatal(err)
			}
			got += row.ID
		}
		if r.status != http.StatusOK {
			got = strconv.Itoa(r.status)
		}
		if got != c.want {
			t.Errorf("%s, %s to %s: rows %s, want %s", c.reading, c.from, c.to, got, c.want)
		}
	}
}

func TestSpan(t *testing.T) {
	w := newWorld(t, nil)
	if r := w.get(t, rangePath("2026-01-01", "2026-04-01")); r.status != http.StatusOK {
		t.Errorf("90 days: %d", r.status)
	}
	if r := w.get(t, rangePath("2026-01-01", "2026-04-02")); r.status != http.StatusNotAcceptable {
		t.Errorf("91 days: %d", r.status)
	}
	w = newWorld(t, func(c *Config) { c.SpanStatus = 400 })
	if r := w.get(t, rangePath("2026-01-01", "2026-04-02")); r.status != http.StatusBadRequest {
		t.Errorf("91 days: %d, want 400", r.status)
	}
}

func TestAdminPaths(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.RequestsPerMinute = 1 })
	w.Script(Fault{Kind: Status, Status: 503})
	w.get(t, rangePath("2026-11-02", "2026-11-03"))
	r := w.get(t, "/_status")
	var status struct {
		Requests map[string]int
		Faults   map[string]int
	}
	if err := json.Unmarshal([]byte(r.body), &status); err != nil || status.Requests["503"] != 1 || status.Faults["status"] != 1 {
		t.Errorf("status %s: %v", r.body, err)
	}
	var got []calllog.TrueRow
	d := json.NewDecoder(strings.NewReader(w.get(t, "/_truth?tenant=contoso").body))
	for d.More() {
		var row calllog.TrueRow
		if err := d.Decode(&row); err != nil {
			t.Fatal(err)
		}
		got = append(got, row)
	}
	want := w.Truth("contoso")
	if len(got) != len(want) || got[7].ID != want[7].ID || plain(t, got[7].Versions[0].JSON) != plain(t, want[7].Versions[0].JSON) {
		t.Errorf("%d rows of %d", len(got), len(want))
	}
	if r := w.get(t, "/_truth?tenant=nobody"); r.status != http.StatusNotFound {
		t.Errorf("unknown tenant: %d", r.status)
	}
}

// What the simulator serves, compared with its own truth, is without fault; every fault in it is found.
func TestCompareWithOwnPages(t *testing.T) {
	w := newWorld(t, func(c *Config) {
		c.Tenants[0].NoIDShare, c.Tenants[0].CorrectShare, c.Tenants[0].MoveShare, c.Tenants[0].RejectShare = 0, 0, 0, 0
	})
	var events []Event
	for _, row := range w.Truth("contoso") {
		var m map[string]json.RawMessage
		if err := json.Unmarshal(row.Versions[0].JSON, &m); err != nil {
			t.Fatal(err)
		}
		if m["callQueueInfo"] != nil {
			m["extra"], _ = json.Marshal(map[string]string{"callQueueInfo": string(m["callQueueInfo"])})
			delete(m, "callQueueInfo")
		}
		for _, name := range []string{"startDateTime", "endDateTime"} {
			if at, err := time.Parse(`"`+time.RFC3339+`"`, string(m[name])); err == nil {
				m[name] = []byte(at.UTC().Format(`"2006-01-02T15:04:05.000Z"`))
			}
		}
		if len(m["charge"]) > len("0.000000") {
			continue
		}
		value, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, Event{TenantID: "contoso", RowID: row.ID, Value: value})
	}
	c := NewComparer(w.TruthSeq("contoso"), CompareOptions{})
	for _, e := range events {
		c.Add(e)
	}
	v := c.Verdict()
	if v.Wrong != 0 || v.Doubled != 0 || v.Lost != v.Rows-len(events) || v.Lost > v.Rows/20 {
		t.Errorf("%v %q", v, v.Details)
	}
}

func BenchmarkPage(b *testing.B) {
	s := New(Config{RequestsPerMinute: -1, Now: func() time.Time { return day(20, 0) },
		Tenants: []TenantConfig{{ID: "contoso", RowsPerDay: 50000, From: day(2, 0), To: day(7, 0)}}})
	req := httptest.NewRequest(http.MethodGet, rangePath("2026-11-02", "2026-11-04"), nil)
	req.Header.Set("Authorization", "Bearer contoso")
	s.ServeHTTP(httptest.NewRecorder(), req) // the days' lists
	for b.Loop() {
		s.ServeHTTP(httptest.NewRecorder(), req)
	}
	b.ReportMetric(float64(b.N)*1000/b.Elapsed().Seconds(), "rows/s")
}
