package status

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"pstncalls/internal/kafka"
	"pstncalls/internal/schedule"
)

var now = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// stateOf returns the state of a tenant whose polling started on 2026-11-17, with the windows given as "day: last scan settled".
func stateOf(windows map[string]string, scan string) map[string][]byte {
	s := map[string][]byte{"contoso/pstn/tenant": []byte(`{"v":1,"start":"2026-11-17","requests":{"at":"2026-11-20T12:00:00Z",
		"used":["2026-11-20T11:58:59Z","2026-11-20T11:59:30Z"],"limit":45}}`)}
	for day, w := range windows {
		s["contoso/pstn/window/"+day] = []byte(w)
	}
	if scan != "" {
		s["contoso/pstn/scan/"+scan] = fmt.Appendf(nil, `{"v":1,"range":{"from":%q,"to":"2026-11-19"}}`, scan)
	}
	return s
}

const zero = `"digest":"00000000000000000000000000000000"`

func scanned(at string) string {
	return fmt.Sprintf(`{"v":1,"scans":1,%s,"lastScan":%q}`, zero, at)
}

const settled = `{"v":1,"rows":2,"scans":1,` + zero + `,"lastScan":"2026-11-19T01:00:00Z","settled":"2026-11-19T01:00:00Z"}`

func TestView(t *testing.T) {
	tests := []struct {
		name      string
		windows   map[string]string
		scan      string
		states    string // newest first
		watermark string
	}{
		{"never read", nil, "", "open waiting waiting waiting", "2026-11-17T00:00:00Z"},
		{"all read", map[string]string{"2026-11-17": settled, "2026-11-18": scanned("2026-11-19T02:00:00Z"), "2026-11-19": scanned("2026-11-20T01:00:00Z"),
			"2026-11-20": scanned("2026-11-20T11:55:00Z")}, "", "open waiting waiting settled", "2026-11-20T11:55:00Z"},
		{"last read while open", map[string]string{"2026-11-17": settled, "2026-11-18": scanned("2026-11-18T23:00:00Z"), "2026-11-20": scanned("2026-11-20T11:55:00Z")},
			"2026-11-18", "open waiting reading settled", "2026-11-18T23:00:00Z"},
		{"a hole", map[string]string{"2026-11-17": settled, "2026-11-20": scanned("2026-11-20T11:55:00Z")}, "", "open waiting waiting settled", "2026-11-18T00:00:00Z"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			sv := &kafka.StateView{State: stateOf(tt.windows, tt.scan)}
			v, err := NewView(sv, schedule.Settings{Interval: 5 * time.Minute, Lookback: 48 * time.Hour}, now)
			if err != nil || len(v.Tenants) != 1 {
				t.Fatalf("%v, %v", v, err)
			}
			got := v.Tenants[0]
			var states []string
			for _, w := range got.Windows {
				states = append(states, w.State)
				if (w.NextScan == nil) != (w.State == Settled) {
					t.Errorf("%s %s: next scan %v", w.From, w.State, w.NextScan)
				}
			}
			if s := strings.Join(states, " "); s != tt.states {
				t.Errorf("states %s, want %s", s, tt.states)
			}
			if at := got.Watermark.Format(time.RFC3339); at != tt.watermark {
				t.Errorf("watermark %s, want %s", at, tt.watermark)
			}
			if diff := cmp.Diff(Requests{1, 45}, got.Requests); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// The names are a contract with those who read status --json.
func TestViewJSON(t *testing.T) {
	at := now.Add(-time.Hour)
	sv := &kafka.StateView{Shards: 3, State: stateOf(map[string]string{"2026-11-19": settled, "2026-11-20": scanned("2026-11-20T11:55:00Z")}, ""),
		Claims: map[int32]kafka.Claim{1: {Host: "a", Instance: "a-1", At: at}, 2: {Host: "b", Instance: "b-1", At: at, Released: &now}}}
	sv.State["contoso/pstn/tenant"] = []byte(`{"v":1,"start":"2026-11-19"}`)
	v, err := NewView(sv, schedule.Settings{Interval: 5 * time.Minute, Lookback: time.Hour}, now)
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"tenants":[{"tenant":"contoso","watermark":"2026-11-20T11:55:00Z","conditions":[],"requests":{"lastMinute":0,"limit":0},"lateness":{},` +
		`"windows":[{"from":"2026-11-20","to":"2026-11-21","state":"open","rows":0,"revisions":0,"rejects":0,"vanished":0,"pages":0,"scans":1,` +
		`"lastScan":"2026-11-20T11:55:00Z","nextScan":"2026-11-20T12:00:00Z"},` +
		`{"from":"2026-11-19","to":"2026-11-20","state":"settled","rows":2,"revisions":0,"rejects":0,"vanished":0,"pages":0,"scans":1,` +
		`"lastScan":"2026-11-19T01:00:00Z","nextScan":null}]}],` +
		`"shards":[{"shard":0,"owner":"","instance":"","since":null},{"shard":1,"owner":"a","instance":"a-1","since":"2026-11-20T11:00:00Z"},` +
		`{"shard":2,"owner":"","instance":"","since":"2026-11-20T12:00:00Z"}]}`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Error(diff)
	}
}

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
