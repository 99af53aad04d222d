package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"pstncalls/internal/config"
	"pstncalls/internal/graphfake"
	"pstncalls/internal/state"
	"pstncalls/internal/status"
	"pstncalls/internal/window"
	"pstncalls/schema"
)

// invoke runs one command and returns its exit code and what it printed.
func invoke(ctx context.Context, environ []string, stdin string, args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = dispatch(ctx, env{environ: environ, stdin: strings.NewReader(stdin), stdout: &out, stderr: &errs}, args)
	return code, out.String(), errs.String()
}

// What run publishes, tail prints and simulate --compare finds sound; status says how it stands.
func TestCommandsAgree(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	broker, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	defer broker.Close()
	o := simulateOptions{reading: "days-exclusive", order: "start", days: 3, rowsPerDay: 40, tenants: list{"contoso"},
		server: graphfake.Config{Seed: 7, PageSize: 30, RequestsPerMinute: -1}}
	sim, err := o.newServer(time.Now().UTC())
	if err != nil {
		t.Fatal(err)
	}
	graph := httptest.NewServer(sim)
	defer graph.Close()
	environ := []string{"GRAPH_AUTH=none", "GRAPH_ENDPOINT=" + graph.URL, "GRAPH_TENANTS=contoso", "GRAPH_REQUESTS_PER_MINUTE=10000",
		"KAFKA_BROKERS=" + broker.ListenAddrs()[0], "POLL_START=72h", "ADMIN_ADDR=127.0.0.1:0"}

	if code, _, stderr := invoke(ctx, environ, "", "tail", "--until-end"); code != exitFailed || !strings.Contains(stderr, "pstn-calls does not exist") {
		t.Errorf("tail without a topic: exit %d, %s", code, stderr)
	}
	if code, _, stderr := invoke(ctx, environ, "", "status"); code != exitFailed || !strings.Contains(stderr, "does not exist") {
		t.Errorf("status without a topic: exit %d, %s", code, stderr)
	}

	running, stop := context.WithCancel(ctx)
	ended := make(chan int, 1)
	var runLog bytes.Buffer // read after run has ended
	go func() {
		ended <- dispatch(running, env{environ: environ, stdout: io.Discard, stderr: &runLog}, []string{"run"})
	}()
	defer func() { stop() }()
	var v status.View
	for ctx.Err() == nil {
		v = status.View{}
		if code, stdout, _ := invoke(ctx, environ, "", "status", "--json"); code == exitDone && json.Unmarshal([]byte(stdout), &v) == nil && allScanned(v) {
			break
		}
		time.Sleep(20 * time.Millisecond) // run is another process in real life: there is nothing to wait on
	}
	owned := 0
	for _, s := range v.Shards {
		if s.Owner != "" && s.Since != nil {
			owned++
		}
	}
	stop()
	if code := <-ended; code != exitDone || !allScanned(v) || owned == 0 {
		t.Fatalf("run: exit %d, %d shards owned, view %+v\n%s", code, owned, v, runLog.String())
	}

	code, events, stderr := invoke(ctx, environ, "", "tail", "--from-beginning", "--until-end")
	if code != exitDone {
		t.Fatalf("tail: exit %d: %s", code, stderr)
	}
	lines := strings.Split(strings.TrimSpace(events), "\n")
	var rows, revisions int64
	_, stdout, _ := invoke(ctx, environ, "", "status", "--json")
	v = status.View{}
	if err := json.Unmarshal([]byte(stdout), &v); err != nil {
		t.Fatal(err)
	}
	for _, w := range v.Tenants[0].Windows {
		rows += w.Rows
		revisions += w.Revisions
	}
	if rows == 0 || int64(len(lines)) != rows+revisions {
		t.Errorf("status counts %d rows and %d revisions, tail printed %d lines", rows, revisions, len(lines))
	}
	var l map[string]any
	if err := json.Unmarshal([]byte(lines[0]), &l); err != nil {
		t.Fatal(err)
	}
	if h, _ := l["headers"].(map[string]any); h[schema.HeaderSubject] != l["key"] || l["value"].(map[string]any)["tenantId"] != "contoso" {
		t.Errorf("line %v", l)
	}
	if _, three, _ := invoke(ctx, environ, "", "tail", "--from-beginning", "--count", "3"); strings.Count(three, "\n") != 3 {
		t.Errorf("--count 3 printed %q", three)
	}

	_, rejects, _ := invoke(ctx, environ, "", "tail", "--dlq", "--from-beginning", "--until-end")
	file := filepath.Join(t.TempDir(), "rejects")
	if err := os.WriteFile(file, []byte(rejects), 0o600); err != nil {
		t.Fatal(err)
	}
	judge := func(stdin string) (int, string) {
		code, stdout, stderr := invoke(ctx, nil, stdin, "simulate", "--compare", graph.URL, "--dlq", file, "--settle", "10m", "--since", time.Now().UTC().AddDate(0, 0, -3).Format(time.DateOnly))
		return code, stdout + stderr
	}
	if code, said := judge(events); code != exitDone || !strings.Contains(said, "lost=0 doubled=0 wrong=0") || strings.Contains(said, "rows=0") {
		t.Errorf("compare: exit %d, %s", code, said)
	}
	if code, said := judge(events + lines[0] + "\n"); code != exitFailed || !strings.Contains(said, "doubled=1") {
		t.Errorf("compare with an event twice: exit %d, %s", code, said)
	}
	if code, said := judge(strings.Join(lines[:len(lines)/2], "\n")); code != exitFailed || strings.Contains(said, "lost=0") {
		t.Errorf("compare with half of the events: exit %d, %s", code, said)
	}
	if code, text, _ := invoke(ctx, environ, "", "status"); code != exitDone || !strings.Contains(text, "tenant contoso") || !strings.Contains(text, "open") {
		t.Errorf("status: exit %d\n%s", code, text)
	}

	// A value that nobody can read: a line with an error, and exit code 1 at the end.
	cl, err := kgo.NewClient(kgo.SeedBrokers(broker.ListenAddrs()...))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if err := cl.ProduceSync(ctx, &kgo.Record{Topic: "pstn-calls", Value: []byte("junk")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	code, bad, stderr := invoke(ctx, environ, "", "tail", "--from-beginning", "--until-end")
	if code != exitFailed || strings.Count(bad, `"error":`) != 1 || strings.Count(bad, "\n") != len(lines)+1 || !strings.Contains(stderr, "1 of") {
		t.Errorf("tail over junk: exit %d, %s", code, stderr)
	}
	// Following ends with the signal, and that is no failure.
	signalled, signal := context.WithCancel(ctx)
	signal()
	if code, _, stderr := invoke(signalled, environ, "", "tail"); code != exitDone {
		t.Errorf("interrupted tail: exit %d, %s", code, stderr)
	}
}

// The text of status is for somebody at a terminal of 120 columns.
func TestStatusText(t *testing.T) {
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) *time.Time { at := now.Add(-d); return &at }
	today := window.Of(now)
	var old []status.Window
	for d := window.Day(1); d <= 10; d++ {
		old = append(old, status.Window{From: today - 2 - d, To: today - 1 - d, State: status.Waiting, Rows: 10, Scans: 2, LastScan: ago(time.Duration(d) * time.Hour), NextScan: ago(-time.Hour)})
	}
	for d := window.Day(11); d <= 20; d++ { // never read, but for a few
		old = append(old, status.Window{From: today - 2 - d, To: today - 1 - d, State: status.Waiting, NextScan: ago(time.Duration(d) * 24 * time.Hour)})
	}
	old[14].State, old[14].NextScan = status.Settled, nil
	old[18] = status.Window{From: today - 21, To: today - 20, State: status.Waiting, Rows: 1, Scans: 1, LastScan: ago(5 * time.Hour), NextScan: ago(-2 * time.Hour)}
	old[19] = status.Window{From: today - 22, To: today - 21, State: status.Waiting, Rows: 3, Revisions: 4, Scans: 2, LastScan: ago(4 * time.Hour), NextScan: ago(-3 * time.Hour)}
	old = append(old, status.Window{From: today - 26, To: today - 22, State: status.Settled, Rows: 20, Rejects: 5, Vanished: 1})
	v := &status.View{
		Tenants: []status.Tenant{{
			Tenant: "contoso", Shard: 0, Watermark: now.AddDate(0, 0, -13),
			Conditions: []status.Condition{{Condition: state.Condition{Name: "graph-denied", Since: *ago(time.Hour),
				Sentence: "Graph answered 403 Forbidden to a request for contoso: grant the application CallRecords.Read.All with admin consent; it is asked again every two minutes at the latest"},
				Do: "grant it"}},
			Lateness: status.Lateness{P50: "3h12m0s", P99: "128h0m0s"},
			Reading:  status.Reading{Times: "unknown", End: "unknown"},
			Backfill: &status.Backfill{DaysLeft: 8, Pages: 2, Rows: 2000, RowsPerSecond: 180},
			Windows: append([]status.Window{
				{From: today, To: today + 1, State: status.Open, Rows: 120, Revisions: 3, Scans: 144, LastScan: ago(6 * time.Minute), NextScan: ago(time.Minute)},
				{From: today - 1, To: today, State: status.BeingRead, Rows: 90, Rejects: 1, Scans: 12, LastScan: ago(time.Hour), NextScan: ago(time.Second)},
				{From: today - 2, To: today - 1, State: status.Settled, Rows: 12345678, Vanished: 2, Scans: 12, LastScan: ago(2 * time.Hour)},
			}, old...),
		}, {
			Tenant: "00000000-0000-0000-0000-000000000000", Shard: 1, Watermark: *ago(time.Minute),
			Requests: status.Requests{LastMinute: 7, Limit: 45, At: ago(3 * time.Minute)},
			Lateness: status.Lateness{Rows: 2500, P50: "25m0s", P99: "26h0m0s"},
			Reading:  status.Reading{Times: "ignored", TimesProved: ago(time.Hour), End: "inclusive", EndProved: ago(48 * time.Hour)},
			Backfill: &status.Backfill{DaysRead: 300, DaysLeft: 65, Pages: 4000, Rows: 4000000, RowsPerSecond: 700, SecondsLeft: new(int64(3725))},
			Windows: []status.Window{
				{From: today, To: today + 1, State: status.Open, Rows: 7, Scans: 1, LastScan: ago(time.Minute), NextScan: ago(-4 * time.Minute)},
				{From: today - 19, To: today, State: status.Settled, Rows: 44, Revisions: 3, Rejects: 2, Vanished: 1},
			},
		}, {
			Tenant: "fabrikam", Shard: 2, Lateness: status.Lateness{P50: "3h12m0s", P99: "128h0m0s"}, Reading: status.Reading{Times: "unknown", End: "unknown"},
			Watermark: today.Start(), Windows: []status.Window{{From: today, To: today + 1, State: status.Open, NextScan: ago(12 * time.Hour)}},
		}},
		Shards: []status.Shard{{Shard: 0, Since: ago(time.Hour)}, {Shard: 1, Owner: "a", Instance: "a-7-0123456789ab", Since: ago(2 * time.Hour)}, {Shard: 2, Conditions: []status.Condition{{Condition: state.Condition{Name: "no-owner", Since: *ago(time.Hour), Sentence: "nobody has it"}, Do: "start one"}}}},
	}
	var out strings.Builder
	if err := printView(&out, v, now, false); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(statusText, out.String()); diff != "" {
		t.Errorf("-want +got\n%s\n%s", diff, out.String())
	}
	for line := range strings.Lines(out.String()) {
		if n := utf8.RuneCountInString(line) - 1; n > 120 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	out.Reset()
	if err := printView(&out, v, now, true); err != nil || !strings.Contains(out.String(), "\n2026-10-31 ") || strings.Contains(out.String(), "..31") {
		t.Errorf("--all: %v\n%s", err, out.String())
	}
}

const statusText = `As of 2026-11-20 12:00:00. All times are UTC.

tenant contoso
  ! graph-denied, since 2026-11-20 11:00:00:
    Graph answered 403 Forbidden to a request for contoso: grant the application CallRecords.Read.All with admin
    consent; it is asked again every two minutes at the latest
    -> grant it
  polled by       nobody since 2026-11-20 11:00:00, when its shard 0 was released
  complete up to  2026-11-07 12:00:00: the calls that start before have been read, as far as Graph has shown them
  lateness        half of the rows within 3h12m of the call's start, 99 of 100 within 128h0m (expected, none seen yet)
  ranges          how Graph reads them: times of day not known yet, end not known yet
  backfill        0 days read, 8 to go: 2000 rows in 2 pages, 180 rows/s, time left not known yet

window          state           rows      revisions  rejects  vanished  scans  last scan       next scan
2026-11-20      open            120       3          0        0         144    11-20 11:54:00  11-20 11:59:00
2026-11-19      reading         90        0          1        0         12     11-20 11:00:00  now
2026-11-18      settled         12345678  0          0        2         12     11-20 10:00:00  -
2026-11-17      waiting         10        0          0        0         2      11-20 11:00:00  11-20 13:00:00
2026-11-16      waiting         10        0          0        0         2      11-20 10:00:00  11-20 13:00:00
2026-11-15      waiting         10        0          0        0         2      11-20 09:00:00  11-20 13:00:00
2026-11-14      waiting         10        0          0        0         2      11-20 08:00:00  11-20 13:00:00
2026-11-13      waiting         10        0          0        0         2      11-20 07:00:00  11-20 13:00:00
2026-11-12      waiting         10        0          0        0         2      11-20 06:00:00  11-20 13:00:00
2026-11-11      waiting         10        0          0        0         2      11-20 05:00:00  11-20 13:00:00
2026-11-10      waiting         10        0          0        0         2      11-20 04:00:00  11-20 13:00:00
2026-11-09      waiting         10        0          0        0         2      11-20 03:00:00  11-20 13:00:00
2026-11-08      waiting         10        0          0        0         2      11-20 02:00:00  11-20 13:00:00
2026-11-07      waiting         0         0          0        0         0      never           backfill
2026-11-01..06  1 of 6 settled  0         0          0        0         0      never           backfill
2026-10-25..31  4 of 7 settled  24        4          5        1         3      11-20 08:00:00  11-20 14:00:00
A next scan in the past is due, or made: a scan that finds nothing new shows here up to 10 minutes later.

tenant 00000000-0000-0000-0000-000000000000
  conditions      none
  polled by       a-7-0123456789ab since 2026-11-20 10:00:00
  complete up to  2026-11-20 11:59:00: the calls that start before have been read, as far as Graph has shown them
  requests        7 of 45 in the minute before 2026-11-20 11:57:00
  lateness        half of the rows within 25m of the call's start, 99 of 100 within 26h0m (of 2500 seen)
  ranges          how Graph reads them: times of day ignored (seen 2026-11-20), end inclusive (seen 2026-11-18)
  backfill        300 days read, 65 to go: 4000000 rows in 4000 pages, 700 rows/s, about 1h2m5s left

window          state    rows  revisions  rejects  vanished  scans  last scan       next scan
2026-11-20      open     7     0          0        0         1      11-20 11:59:00  11-20 12:04:00
2026-11-01..19  settled  44    3          2        1         -      -               -

tenant fabrikam
  conditions      none
  polled by       nobody: its shard 2 never had an owner
  complete up to  2026-11-20 00:00:00: the calls that start before have been read, as far as Graph has shown them
  lateness        half of the rows within 3h12m of the call's start, 99 of 100 within 128h0m (expected, none seen yet)
  ranges          how Graph reads them: times of day not known yet, end not known yet

window      state  rows  revisions  rejects  vanished  scans  last scan  next scan
2026-11-20  open   0     0          0        0         0      never      11-20 00:00:00

shard  owner  instance          since
1      a      a-7-0123456789ab  2026-11-20 10:00:00
1 of 3 shards have an owner; those without tenants need none.

shard 2
  ! no-owner, since 2026-11-20 11:00:00:
    nobody has it
    -> start one
`

func allScanned(v status.View) bool {
	if len(v.Tenants) != 1 || len(v.Tenants[0].Windows) < 4 {
		return false
	}
	for _, w := range v.Tenants[0].Windows {
		if w.LastScan == nil {
			return false
		}
	}
	return true
}

func TestHealth(t *testing.T) {
	h := status.NewHealth("v", prometheus.NewRegistry())
	srv := httptest.NewServer(h.Handler())
	defer srv.Close()
	u, _ := url.Parse(srv.URL)
	environ := []string{"ADMIN_ADDR=0.0.0.0:" + u.Port()}
	if code, out, _ := invoke(t.Context(), environ, "", "health"); code != exitFailed || out != "not ready: starting\n" {
		t.Errorf("not ready: exit %d, %q", code, out)
	}
	if code, out, _ := invoke(t.Context(), environ, "", "health", "--live"); code != exitDone || out != "ok\n" {
		t.Errorf("live: exit %d, %q", code, out)
	}
	h.SetReady(true, "")
	if code, out, _ := invoke(t.Context(), environ, "", "health"); code != exitDone || out != "ready\n" {
		t.Errorf("ready: exit %d, %q", code, out)
	}
	if code, _, _ := invoke(t.Context(), []string{"ADMIN_ADDR=nonsense"}, "", "health"); code != exitUsage {
		t.Errorf("nonsense: exit %d", code)
	}
	for addr, want := range map[string]string{":81": "127.0.0.1:81", "[::]:81": "localhost:81", "10.1.2.3:81": "10.1.2.3:81"} {
		if got, err := adminAddr(addr); got != want || err != nil {
			t.Errorf("%s: %s, %v", addr, got, err)
		}
	}
	if got := lookup(nil, "ADMIN_ADDR"); got != "127.0.0.1:8080" {
		t.Errorf("default %q", got)
	}
}

func TestFramers(t *testing.T) {
	u, _ := url.Parse("https://user:secret@registry:8081/base")
	f := newConfluentFramer(258, u)
	if got, want := f.DataSchema(), "https://registry:8081/base/schemas/ids/258"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if id, payload, err := schema.SplitConfluent(f.Frame([]byte("x"))); id != 258 || string(payload) != "x" || err != nil {
		t.Errorf("%d %q %v", id, payload, err)
	}
	if payload, err := schema.SplitSingleObject(singleObjectFramer{}.Frame([]byte("x"))); string(payload) != "x" || err != nil {
		t.Errorf("%q %v", payload, err)
	}
}

func TestVersion(t *testing.T) {
	info := &debug.BuildInfo{Main: debug.Module{Version: "v1.0.0"}, Settings: []debug.BuildSetting{
		{Key: "vcs.revision", Value: "0123456789abcdef"}, {Key: "vcs.time", Value: "2026-11-01T00:00:00Z"}, {Key: "vcs.modified", Value: "true"}}}
	got := buildOf(info, "v2")
	want := got
	want.Version, want.Revision, want.Time, want.Modified = "v2", "0123456789abcdef", "2026-11-01T00:00:00Z", true
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if b := buildOf(info, ""); b.Version != "v1.0.0" {
		t.Errorf("without a release: %s", b.Version)
	}
}

func TestHelpOfEachCommand(t *testing.T) {
	for _, c := range commands() {
		code, own, _ := invoke(t.Context(), nil, "", c.name, "--help")
		if code != exitDone || !strings.Contains(own, "Example:") {
			t.Errorf("%s --help: exit %d, %q", c.name, code, own)
		}
		if code, out, said := invoke(t.Context(), nil, "", "help", c.name); code != exitDone || said != "" || out != own {
			t.Errorf("help %s: exit %d, %s%s", c.name, code, out, said)
		}
		if code, _, stderr := invoke(t.Context(), nil, "", c.name, "--nonsense"); code != exitUsage || !strings.Contains(stderr, "Try:") {
			t.Errorf("%s --nonsense: exit %d, %q", c.name, code, stderr)
		}
	}
	if code, out, _ := invoke(t.Context(), nil, "", "help"); code != exitDone || !strings.Contains(out, "Commands:") {
		t.Errorf("help: exit %d, %s", code, out)
	}
	if code, _, said := invoke(t.Context(), nil, "", "help", "bogus"); code != exitUsage || !strings.Contains(said, `unknown command "bogus"`) {
		t.Errorf("help bogus: exit %d, %s", code, said)
	}
	for _, kind := range strings.FieldsFunc(faultKinds, func(r rune) bool { return strings.ContainsRune(", \n", r) }) {
		if _, err := graphfake.ParseFault(kind + ":status=500"); err != nil {
			t.Errorf("the help names %s: %v", kind, err)
		}
	}
	for _, v := range config.Manual() {
		if v.Meaning == "" {
			t.Errorf("%s has no meaning", v.Name)
		}
	}
}
