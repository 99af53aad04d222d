package status

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"pstncalls/internal/kafka"
	"pstncalls/internal/schedule"
	"pstncalls/internal/state"
	"pstncalls/internal/window"
)

var (
	now      = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	settings = schedule.Settings{Interval: 5 * time.Minute, Lookback: 48 * time.Hour}
)

func dayOf(t *testing.T, s string) window.Day {
	t.Helper()
	d, err := window.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func instant(t *testing.T, s string) time.Time {
	t.Helper()
	at, err := time.Parse(time.DateTime, s)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// world is a tenant, the records that it was committed as, and what was published of it.
type world struct {
	*testing.T
	tenant    *state.Tenant
	records   map[string][]byte
	published int64 // rows
	received  uint64
}

func newWorld(t *testing.T, id, start string) *world {
	return &world{T: t, tenant: state.New(id, dayOf(t, start)), records: map[string][]byte{}}
}

// scan is a complete scan of the days from first to last, begun at an instant, that returns these rows.
func (w *world) scan(first, last, begun string, rows ...state.Seen) {
	w.Helper()
	r := window.Range{From: dayOf(w.T, first), To: dayOf(w.T, last) + 1}
	at := instant(w.T, begun)
	w.tenant.BeginScan(r)
	w.received += 2
	for _, s := range rows {
		d := w.tenant.Observe(s, state.Page{Range: r, Asked: w.received - 1, Received: w.received, Busy: func(window.Day) bool { return false }})
		if d.Action != state.Publish {
			continue
		}
		w.tenant.Published(d.Owner, state.HashEvent(d.RowID, d.Revision, s.Fingerprint, nil), at)
		if d.Revision == 0 {
			w.published++
		}
	}
	w.tenant.Complete(state.Scanned{Range: r, Begun: at, Pages: 3})
}

func (w *world) settle(first, last string) {
	w.Helper()
	for d := dayOf(w.T, first); d <= dayOf(w.T, last); d++ {
		w.tenant.Settle(d, now)
	}
}

// row is a row of a day.
func (w *world) row(day, id string, fingerprint uint64) state.Seen {
	return state.Seen{ID: id, HasID: true, Fingerprint: fingerprint, Day: dayOf(w.T, day)}
}

func (w *world) commit() map[string][]byte {
	w.Helper()
	rs, _, err := w.tenant.Records()
	if err != nil {
		w.Fatal(err)
	}
	for _, r := range rs {
		if w.records[r.Key] = r.Value; r.Value == nil {
			delete(w.records, r.Key)
		}
	}
	return w.records
}

// view commits and returns the tenant's view.
func (w *world) view() Tenant {
	w.Helper()
	v, err := NewView(&kafka.StateView{Shards: 3, State: w.commit()}, settings, now)
	if err != nil || len(v.Tenants) != 1 {
		w.Fatalf("%v, %v", v, err)
	}
	return v.Tenants[0]
}

func TestView(t *testing.T) {
	tests := []struct {
		name      string
		prepare   func(w *world)
		states    string // newest first
		watermark string
	}{
		{"never read", func(*world) {}, "open waiting waiting waiting", "2026-11-17 00:00:00"},
		{"all read", func(w *world) {
			w.scan("2026-11-17", "2026-11-20", "2026-11-20 11:55:00")
			w.settle("2026-11-17", "2026-11-17")
		}, "open waiting waiting settled", "2026-11-20 11:55:00"},
		{"last read while open", func(w *world) {
			w.scan("2026-11-17", "2026-11-18", "2026-11-18 23:00:00")
			w.settle("2026-11-17", "2026-11-17")
			w.scan("2026-11-20", "2026-11-20", "2026-11-20 11:55:00")
			w.tenant.KeepScan(state.Scan{Range: window.Range{From: dayOf(t, "2026-11-18"), To: dayOf(t, "2026-11-19")}})
		}, "open waiting reading settled", "2026-11-18 23:00:00"},
		{"a hole", func(w *world) {
			w.scan("2026-11-17", "2026-11-17", "2026-11-19 01:00:00")
			w.settle("2026-11-17", "2026-11-17")
			w.scan("2026-11-20", "2026-11-20", "2026-11-20 11:55:00")
		}, "open waiting waiting settled", "2026-11-18 00:00:00"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, "contoso", "2026-11-17")
			tt.prepare(w)
			got := w.view()
			var states []string
			for _, v := range got.Windows {
				states = append(states, v.State)
				if (v.NextScan == nil) != (v.State == Settled) {
					t.Errorf("%s %s: next scan %v", v.From, v.State, v.NextScan)
				}
			}
			if s := strings.Join(states, " "); s != tt.states {
				t.Errorf("states %s, want %s", s, tt.states)
			}
			if at := got.Watermark.Format(time.DateTime); at != tt.watermark {
				t.Errorf("watermark %s, want %s", at, tt.watermark)
			}
		})
	}
}

// Nothing that was published is out of sight once its ledger has been dropped.
func TestViewOfDroppedDays(t *testing.T) {
	w := newWorld(t, "contoso", "2026-10-29")
	var rows []state.Seen
	for d := dayOf(t, "2026-10-29"); d <= dayOf(t, "2026-11-19"); d++ {
		for n := range 2 {
			rows = append(rows, w.row(d.String(), fmt.Sprint(d, "-", n), 1))
		}
	}
	w.scan("2026-10-29", "2026-11-19", "2026-11-20 11:50:00", rows...)
	bad := w.row("2026-11-01", "bad", 1)
	bad.Rejected = true
	rows[0].Fingerprint = 2                                                                       // a revision on 2026-10-29
	w.scan("2026-10-29", "2026-11-19", "2026-11-20 11:55:00", append(rows[:len(rows)-1], bad)...) // one of 2026-11-19 has vanished
	w.settle("2026-10-29", "2026-11-06")
	w.settle("2026-11-08", "2026-11-17")
	if n := w.tenant.Drop(now, settings.Lookback); n != 15 { // the 7th holds back the 5th and the 6th
		t.Fatalf("%d days were dropped", n)
	}
	before := w.view()
	w.tenant.Settle(dayOf(t, "2026-11-07"), now)
	if n := w.tenant.Drop(now, settings.Lookback); n != 3 {
		t.Fatalf("%d days were dropped", n)
	}
	for _, c := range []struct {
		view Tenant
		want string
	}{
		{before, "11-20 11-19 11-18 11-17 11-16 11-08..15 11-07 11-06 11-05 11-01..04 10-29..31"},
		{w.view(), "11-20 11-19 11-18 11-17 11-16 11-01..15 10-29..31"},
	} {
		var got []string
		var sum Window
		for _, v := range c.view.Windows {
			name := v.From.String()[5:]
			if v.To > v.From+1 {
				name += ".." + (v.To - 1).String()[8:]
				if v.State != Settled || v.LastScan != nil || v.NextScan != nil {
					t.Errorf("%s: %+v", name, v)
				}
			}
			got = append(got, name)
			sum.add(v)
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("windows %s, want %s", s, c.want)
		}
		if sum.Rows != w.published || w.published != int64(len(rows)) || sum.Revisions != 1 || sum.Rejects != 1 || sum.Vanished != 1 {
			t.Errorf("the windows add up to %+v; %d rows were published", sum, w.published)
		}
	}
	if last := before.Windows[len(before.Windows)-1]; last.Revisions != 1 || last.Rows != 3*2 {
		t.Errorf("the oldest: %+v", last)
	}
}

// What is shown for a while ends in the view even if no owner is there to end it.
func TestViewOfConditions(t *testing.T) {
	w := newWorld(t, "contoso", "2026-11-20")
	over, later := now, now.Add(time.Second)
	w.tenant.SetHeader(func(h *state.Header) {
		h.Conditions = []state.Condition{{Name: "lasts"}, {Name: "over", Until: &over}, {Name: "shown", Until: &later}}
	})
	want := []Condition{{Condition: state.Condition{Name: "lasts"}}, {Condition: state.Condition{Name: "shown", Until: &later}}}
	if diff := cmp.Diff(want, w.view().Conditions); diff != "" {
		t.Error(diff)
	}
}

func TestViewOfBackfill(t *testing.T) {
	w := newWorld(t, "contoso", "2026-11-11")
	w.tenant.SetHeader(func(h *state.Header) {
		h.Backfill = &state.Backfill{Began: now.Add(-10 * time.Second), At: now.Add(-5 * time.Second), Pages: 3, Rows: 2500}
	})
	if diff := cmp.Diff(&Backfill{DaysLeft: 9, Pages: 3, Rows: 2500, RowsPerSecond: 500}, w.view().Backfill); diff != "" {
		t.Errorf("no day is complete: %s", diff)
	}
	w.scan("2026-11-19", "2026-11-20", "2026-11-20 11:55:00")
	w.tenant.SetHeader(func(h *state.Header) { h.Backfill.Days = 2 })
	left := int64(20)
	if diff := cmp.Diff(&Backfill{DaysRead: 2, DaysLeft: 8, Pages: 3, Rows: 2500, RowsPerSecond: 500, SecondsLeft: &left}, w.view().Backfill); diff != "" {
		t.Errorf("two days are complete: %s", diff)
	}
	w.scan("2026-11-11", "2026-11-18", "2026-11-20 11:55:00")
	if b := w.view().Backfill; b != nil {
		t.Errorf("no day is left: %+v", b)
	}
}

// The names are a contract with those who read status --json.
func TestViewJSON(t *testing.T) {
	w := newWorld(t, "contoso", "2026-11-11")
	var rows []state.Seen
	for d := dayOf(t, "2026-11-11"); d < window.Of(now); d++ {
		rows = append(rows, w.row(d.String(), d.String(), 1))
	}
	w.scan("2026-11-12", "2026-11-20", "2026-11-20 11:55:00", rows[1:]...)
	w.settle("2026-11-12", "2026-11-17")
	w.tenant.Drop(now, settings.Lookback)
	lateness := schedule.Lateness{}
	for range 80 {
		lateness.Add(3 * time.Hour)
	}
	proved, at := now.Add(-time.Hour), now.Add(-5*time.Minute)
	w.tenant.SetHeader(func(h *state.Header) {
		h.Requests = &state.Requests{At: at, Used: []time.Time{at.Add(-time.Minute), at.Add(-59 * time.Second), at}, Limit: 45}
		h.Conditions = []state.Condition{{Name: "graph-unreadable", Since: at, Sentence: "403"}}
		h.Lateness = lateness.Counts[:]
		h.Reading = &state.Reading{Times: state.TimesHonoured, TimesProved: &proved}
		h.Backfill = &state.Backfill{Began: proved, At: at, Days: 9, Pages: 3, Rows: 9}
	})
	healthy := newWorld(t, "fabrikam", "2026-11-20")
	all := w.commit()
	maps.Copy(all, healthy.commit())
	shard := []byte(`{"v":1,"conditions":[{"name":"fenced-repeatedly","since":"2026-11-20T11:00:00Z","sentence":"why"},{"name":"over","until":"2026-11-20T11:00:00Z"}]}`)
	v, err := NewView(&kafka.StateView{Shards: 3, State: all, Own: map[int32][]byte{1: shard},
		Claims: map[int32]kafka.Claim{1: {Host: "a", Instance: "a-1", At: proved}, 2: {Host: "b", Instance: "b-1", At: proved, Released: &now}}}, settings, now)
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.ReplaceAll(goldenJSON, "\n", ""), string(got)); diff != "" {
		t.Error(diff)
	}
}

const goldenJSON = `{"tenants":[
{"tenant":"contoso","shard":0,"watermark":"2026-11-11T00:00:00Z",
"conditions":[{"name":"graph-unreadable","since":"2026-11-20T11:55:00Z","sentence":"403","do":"look at the sentence if it lasts: network, proxy, endpoint, or Microsoft's service health"}],"requests":{"lastMinute":2,"limit":45,"at":"2026-11-20T11:55:00Z"},
"lateness":{"rows":80,"p50":"3h1m0s","p90":"3h59m0s","p99":"58h40m0s"},
"reading":{"times":"honoured","end":"unknown","timesProved":"2026-11-20T11:00:00Z","endProved":null},
"backfill":{"daysRead":9,"daysLeft":1,"pages":3,"rows":9,"rowsPerSecond":0,"secondsLeft":366},
"windows":[
{"from":"2026-11-20","to":"2026-11-21","state":"open","rows":0,"revisions":0,"rejects":0,"vanished":0,"pages":3,"scans":1,"lastScan":"2026-11-20T11:55:00Z","nextScan":"2026-11-20T12:00:00Z"},
{"from":"2026-11-19","to":"2026-11-20","state":"waiting","rows":1,"revisions":0,"rejects":0,"vanished":0,"pages":3,"scans":1,"lastScan":"2026-11-20T11:55:00Z","nextScan":"2026-11-20T23:50:00Z"},
{"from":"2026-11-18","to":"2026-11-19","state":"waiting","rows":1,"revisions":0,"rejects":0,"vanished":0,"pages":3,"scans":1,"lastScan":"2026-11-20T11:55:00Z","nextScan":"2026-11-21T00:00:00Z"},
{"from":"2026-11-17","to":"2026-11-18","state":"settled","rows":1,"revisions":0,"rejects":0,"vanished":0,"pages":3,"scans":1,"lastScan":"2026-11-20T11:55:00Z","nextScan":null},
{"from":"2026-11-16","to":"2026-11-17","state":"settled","rows":1,"revisions":0,"rejects":0,"vanished":0,"pages":3,"scans":1,"lastScan":"2026-11-20T11:55:00Z","nextScan":null},
{"from":"2026-11-12","to":"2026-11-16","state":"settled","rows":4,"revisions":0,"rejects":0,"vanished":0,"pages":0,"scans":0,"lastScan":null,"nextScan":null},
{"from":"2026-11-11","to":"2026-11-12","state":"waiting","rows":0,"revisions":0,"rejects":0,"vanished":0,"pages":0,"scans":0,"lastScan":null,"nextScan":"2026-11-11T00:00:00Z"}]},
{"tenant":"fabrikam","shard":2,"watermark":"2026-11-20T00:00:00Z",
"conditions":[],"requests":{"lastMinute":0,"limit":0,"at":null},
"lateness":{"rows":0,"p50":"3h12m0s","p90":"45h20m0s","p99":"128h0m0s"},
"reading":{"times":"unknown","end":"unknown","timesProved":null,"endProved":null},
"windows":[
{"from":"2026-11-20","to":"2026-11-21","state":"open","rows":0,"revisions":0,"rejects":0,"vanished":0,"pages":0,"scans":0,"lastScan":null,"nextScan":"2026-11-20T00:00:00Z"}]}],
"shards":[
{"shard":0,"owner":"","instance":"","since":null,"conditions":[]},
{"shard":1,"owner":"a","instance":"a-1","since":"2026-11-20T11:00:00Z","conditions":[{"name":"fenced-repeatedly","since":"2026-11-20T11:00:00Z","sentence":"why","do":"look for a second set-up with the same KAFKA_GROUP and state topic that is in no group with this one, for brokers that take longer than 20 s, and for frozen machines"}]},
{"shard":2,"owner":"","instance":"","since":"2026-11-20T12:00:00Z","conditions":[]}]}`

func TestHandler(t *testing.T) {
	r := prometheus.NewRegistry()
	NewMetrics(r).Commits.Inc()
	h := NewHealth("v1 <b>", r)
	get := func(path string) (int, string) {
		w := httptest.NewRecorder()
		h.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		return w.Code, w.Body.String()
	}
	h.SetReady(false, "waiting for Kafka")
	for path, want := range map[string]struct {
		code int
		part string
	}{"/healthz": {200, "ok"}, "/readyz": {503, "waiting for Kafka"}, "/metrics": {200, "pstncalls_commits_total 1"}, "/": {200, "v1 &lt;b&gt;"}, "/none": {404, ""}} {
		if code, body := get(path); code != want.code || !strings.Contains(body, want.part) {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	h.SetReady(true, "")
	if code, _ := get("/readyz"); code != 200 {
		t.Errorf("ready: %d", code)
	}
}

func TestServe(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	addr, wait, err := Serve(ctx, "127.0.0.1:0", http.NotFoundHandler())
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := Serve(ctx, addr, http.NotFoundHandler()); err == nil {
		t.Error("the same address twice: no error")
	}
	resp, err := http.Get("http://" + addr)
	if err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	cancel()
	if err := wait(); err != nil {
		t.Error(err)
	}
	if _, err := http.Get("http://" + addr); err == nil {
		t.Error("it still answers")
	}
}
