package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"pstncalls/internal/config"
	"pstncalls/internal/graphfake"
	"pstncalls/internal/kafka"
	"pstncalls/internal/row"
	"pstncalls/internal/state"
	"pstncalls/internal/status"
	"pstncalls/internal/window"
)

// of returns the lines of a check that are about a subject, as result and text.
func of(fs []finding, check, subject string) (out []string) {
	for _, f := range fs {
		if f.Check == check && f.Subject == subject {
			out = append(out, string(f.Result)+": "+f.Sentence+"; "+f.Do)
		}
	}
	return out
}

// ends returns where every partition of every topic ends, by a client that creates nothing.
func (w *checkWorld) ends() map[string]int64 {
	w.t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(w.broker.ListenAddrs()...))
	if err != nil {
		w.t.Fatal(err)
	}
	defer cl.Close()
	listed, err := kadm.NewClient(cl).ListEndOffsets(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	out := map[string]int64{}
	listed.Each(func(o kadm.ListedOffset) { out[fmt.Sprintf("%s/%d", o.Topic, o.Partition)] = o.Offset })
	return out
}

// What a changed set-up will publish again is said before; and the check leaves no trace in a state that a producer has left.
func TestCheckSetup(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	w := newCheckWorld(t)
	today := window.Of(time.Now())
	w.sim = graphfake.New(graphfake.Config{Seed: 1, RequestsPerMinute: -1,
		Tenants: []graphfake.TenantConfig{{ID: "contoso", RowsPerDay: 20, Flat: true, From: time.Now().Add(-72 * time.Hour), To: time.Now()}}})
	plain, other := httptest.NewServer(w.sim), httptest.NewServer(w.sim)
	defer plain.Close()
	defer other.Close()
	base := map[string]string{"GRAPH_AUTH": "none", "GRAPH_ENDPOINT": plain.URL, "GRAPH_TENANTS": "contoso", "GRAPH_REQUESTS_PER_MINUTE": "10000",
		"KAFKA_BROKERS": w.broker.ListenAddrs()[0], "POLL_START": "72h", "POLL_LOOKBACK": "24h", "ADMIN_ADDR": "127.0.0.1:0"}
	var environ []string
	for name, value := range base {
		environ = append(environ, name+"="+value)
	}
	running, stop := context.WithCancel(ctx)
	ended := make(chan int, 1)
	var said logText
	go func() {
		ended <- dispatch(running, env{environ: environ, stdout: io.Discard, stderr: &said}, []string{"run"})
	}()
	for ctx.Err() == nil {
		var v status.View
		if code, stdout, _ := invoke(ctx, environ, "", "status", "--json"); code == exitDone && json.Unmarshal([]byte(stdout), &v) == nil && len(v.Tenants) == 1 &&
			slices.ContainsFunc(v.Tenants[0].Windows, func(w status.Window) bool { return w.State == status.Waiting && w.Rows > 0 }) &&
			slices.ContainsFunc(v.Tenants[0].Windows, func(w status.Window) bool { return w.State == status.Settled && w.Rows > 0 }) {
			break
		}
		time.Sleep(20 * time.Millisecond) // run is another process in real life: there is nothing to wait on
	}
	stop()
	if code := <-ended; code != exitDone {
		t.Fatalf("run: exit %d\n%s", code, said.String())
	}
	before := w.ends()
	var fenced atomic.Int64
	for _, key := range []kmsg.Key{kmsg.InitProducerID, kmsg.Produce, kmsg.AddPartitionsToTxn, kmsg.EndTxn, kmsg.JoinGroup, kmsg.OffsetCommit, kmsg.FindCoordinator} {
		w.broker.ControlKey(int16(key), func(kmsg.Request) (kmsg.Response, error, bool) {
			w.broker.KeepControl()
			fenced.Add(1)
			return nil, nil, false
		})
	}
	for _, tc := range []struct {
		name    string
		change  map[string]string
		subject string
		want    string
	}{
		{"nothing", nil, "contoso", "ok: endpoint and API version are those of its newest events or scan; 20 of the 20 rows of "},
		{"privacy rules", map[string]string{"PRIVACY_FIELDS": "callerNumber=mask"}, "contoso", "warning: other privacy rules, it seems (20 of the 20 rows of "},
		{"privacy rules: what to do", map[string]string{"PRIVACY_FIELDS": "callerNumber=mask"}, "contoso", "otherwise set PRIVACY_FIELDS and PRIVACY_HASH_KEY back"},
		{"an earlier start", map[string]string{"POLL_START": "240h"}, "contoso", "warning: POLL_START is for new tenants: it says " + (today - 10).String()},
		{"an earlier start: what to do", map[string]string{"POLL_START": "240h"}, "contoso", "scan --tenant contoso --from " + (today - 10).String() + " --to " + (today - 3).String() + " reads them"},
		{"a later start", map[string]string{"POLL_START": "24h"}, "contoso", "ok: "},
		{"a longer lookback", map[string]string{"POLL_LOOKBACK": "168h"}, "contoso", "settled under a shorter POLL_LOOKBACK than 168h0m0s: settled they stay"},
		{"a longer lookback: what to do", map[string]string{"POLL_LOOKBACK": "168h"}, "contoso", " --to " + (today - 1).String() + " reads them once more"},
		{"a shorter lookback", map[string]string{"POLL_LOOKBACK": "1h"}, "contoso", "ok: "},
		{"a registry", map[string]string{"SCHEMA_REGISTRY_URL": w.reg.url}, "contoso", "warning: SCHEMA_REGISTRY_URL is set, and its newest events are in Avro's single-object encoding"},
		{"API version", map[string]string{"GRAPH_API_VERSION": "v1.0"}, "contoso", "warning: API version v1.0 instead of beta: of the "},
		{"API version: what to do", map[string]string{"GRAPH_API_VERSION": "v1.0"}, "contoso", "otherwise set GRAPH_API_VERSION=beta back"},
		{"endpoint", map[string]string{"GRAPH_ENDPOINT": other.URL}, "contoso", "warning: another endpoint than " + plain.URL + ": of the"},
		{"a tenant that is gone", map[string]string{"GRAPH_TENANTS": "fabrikam"}, "contoso", "warning: the state knows the tenant"},
		{"a new tenant", map[string]string{"GRAPH_TENANTS": "contoso,fabrikam"}, "fabrikam", "ok: new: its calls since POLL_START"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w.t, w.environ = t, maps.Clone(base)
			maps.Copy(w.environ, tc.change)
			fs := w.check(ctx)
			got := of(fs, "setup", tc.subject)
			if !slices.ContainsFunc(got, func(line string) bool { return strings.Contains(line, tc.want) }) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
			if others := slices.DeleteFunc(got, func(line string) bool { return strings.HasPrefix(line, "ok: ") || strings.Contains(line, tc.want) }); len(others) > 0 {
				t.Errorf("of something else: %q", others)
			}
			if strings.Contains(tc.name, "version") && !strings.Contains(of(fs, "setup", "contoso")[0], " days that have not settled") {
				t.Errorf("%q", of(fs, "setup", "contoso"))
			}
		})
	}
	w.t = t
	if after := w.ends(); !maps.Equal(before, after) || fenced.Load() > 0 || len(before) == 0 {
		t.Errorf("the topics ended at %v, now at %v; %d requests that only a producer makes", before, after, fenced.Load())
	}

	// The events topic with more partitions; the state topic with more is refused: TestCheckBrokenSetups.
	w.environ = maps.Clone(base)
	w.partitions("pstn-calls", 8)
	if got := of(w.check(ctx), "setup", "pstn-calls"); len(got) != 1 || !strings.HasPrefix(got[0], "warning: it has 8 partitions, and had 6 at the first start: run goes on") {
		t.Errorf("got %q", got)
	}
}

// partitions gives a topic more of them.
func (w *checkWorld) partitions(topic string, n int) {
	w.t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(w.broker.ListenAddrs()...))
	if err != nil {
		w.t.Fatal(err)
	}
	defer cl.Close()
	if resp, err := kadm.NewClient(cl).UpdatePartitions(w.t.Context(), n, topic); err != nil || resp.Error() != nil {
		w.t.Fatal(err, resp.Error())
	}
}

// A scan in progress tells of privacy rules too.
func TestCheckSetupOfAScan(t *testing.T) {
	load := func(s state.Scan) *state.Tenant {
		t.Helper()
		s.V, s.Link, s.Begun = 1, "next", time.Now()
		s.Range = window.Range{From: 20000, To: 20001}
		text, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		tenant, ok, err := state.Load("contoso", map[string][]byte{"contoso/pstn/tenant": []byte(`{"v":1,"start":"2024-10-01"}`), "contoso/pstn/scan/" + s.Range.From.String(): text})
		if err != nil || !ok {
			t.Fatal(ok, err)
		}
		return tenant
	}
	cfg, err := config.Load([]string{"GRAPH_AUTH=none", "GRAPH_ENDPOINT=http://127.0.0.1:1", "GRAPH_TENANTS=contoso", "KAFKA_BROKERS=b:1"})
	if err != nil {
		t.Fatal(err)
	}
	masked, err := row.ParsePrivacy("callerNumber=mask", nil)
	if err != nil {
		t.Fatal(err)
	}
	c := &checker{cfg: cfg}
	if c.src, err = newSources(cfg, nil, nil, quiet()); err != nil {
		t.Fatal(err)
	}
	now := c.src.endpoint()
	for _, tc := range []struct {
		name    string
		scan    state.Scan
		was     used
		privacy *row.Privacy
		want    string
	}{
		{"the same", state.Scan{Endpoint: now}, used{}, nil, "ok: endpoint and API version are those of its newest events or scan; "},
		{"the same rules", state.Scan{Endpoint: now, Privacy: masked.ID()}, used{}, masked, "ok: "},
		{"new rules", state.Scan{Endpoint: now}, used{}, masked, "warning: other privacy rules: "},
		{"rules that are gone", state.Scan{Endpoint: now, Privacy: masked.ID()}, used{source: now, at: time.Now()}, nil, "set PRIVACY_FIELDS and PRIVACY_HASH_KEY back"},
		{"a scan newer than the events", state.Scan{Endpoint: now}, used{source: strings.Replace(now, "beta", "v1.0", 1), at: time.Unix(0, 0)}, nil, "ok: "},
		{"events newer than the scan", state.Scan{Endpoint: now}, used{source: strings.Replace(now, "beta", "v1.0", 1), at: time.Now().Add(time.Hour)}, nil, "warning: API version beta instead of v1.0"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c.f = &findings{}
			c.judgeTenant("contoso", load(tc.scan), tc.was, tc.privacy)
			if got := of(c.f.lines, "setup", "contoso"); len(got) != 1 || !strings.Contains(got[0], tc.want) || strings.Contains(got[0], "nothing tells") {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

// Of many tenants that get no answer, a few are enough to know; one that gets none among others stops nobody.
func TestCheckSilence(t *testing.T) {
	for _, tc := range []struct {
		name    string
		silent  func(tenant string) bool
		asked   func(n int64) bool
		failed  func(n int) bool
		unasked bool
	}{
		{"all", func(string) bool { return true }, func(n int64) bool { return n < 3*checkTenants }, func(n int) bool { return n < 3*checkTenants }, true},
		{"one", func(tenant string) bool { return tenant == "t07" }, func(n int64) bool { return n == 40 }, func(n int) bool { return n == 1 }, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newCheckWorld(t)
			var names []string
			for i := range 40 {
				names = append(names, fmt.Sprintf("t%02d", i))
			}
			w.environ["GRAPH_TENANTS"] = strings.Join(names, ",")
			w.sim = graphfake.New(graphfake.Config{Seed: 1, Tenants: tenantsOf(names)})
			if tc.name == "all" {
				w.setup.answer = 100 * time.Millisecond
			}
			var asked atomic.Int64
			over := make(chan struct{})
			w.refuse = func(out http.ResponseWriter, r *http.Request) bool {
				tenant, _, token := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/oauth2/")
				if !token {
					return false
				}
				asked.Add(1)
				if !tc.silent(tenant) {
					return false
				}
				if tc.name == "one" {
					panic(http.ErrAbortHandler)
				}
				io.Copy(io.Discard, r.Body) // or the server does not hear that the client has gone
				select {
				case <-r.Context().Done():
				case <-over:
				}
				return true
			}
			defer close(over)
			fs := w.check(t.Context())
			failed, unasked := 0, 0
			for _, f := range fs {
				if f.Check == "token" && f.Result == kafka.Failed {
					failed++
					if tc.name == "all" && !strings.Contains(f.Sentence, "no answer from the token authority") {
						t.Errorf("%+v", f)
					}
				}
				if f.Check == "token" && strings.Contains(f.Sentence, "not asked") {
					unasked++
				}
			}
			if !tc.failed(failed) || !tc.asked(asked.Load()) || tc.unasked != (unasked > 0) {
				t.Errorf("%d failed, %d not asked, %d requests", failed, unasked, asked.Load())
			}
			if got := len(slices.DeleteFunc(fs, func(f finding) bool { return f.Check != "graph" })); got != 40 {
				t.Errorf("%d lines of 40 tenants", got)
			}
		})
	}
}

func tenantsOf(names []string) (out []graphfake.TenantConfig) {
	for _, name := range names {
		out = append(out, graphfake.TenantConfig{ID: name})
	}
	return out
}

// An interrupted check has no verdict.
func TestCheckInterrupted(t *testing.T) {
	w := newCheckWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	w.refuse = func(_ http.ResponseWriter, r *http.Request) bool {
		cancel()
		return false
	}
	var environ []string
	for name, value := range w.environ {
		environ = append(environ, name+"="+value)
	}
	var out, stderr strings.Builder
	code := report(&stderr, "check", runCheck(ctx, env{environ: environ, stdout: &out, stderr: &stderr}, nil, w.setup))
	if code != exitFailed || out.Len() > 0 || !strings.Contains(stderr.String(), "interrupted") {
		t.Errorf("exit %d, %q %q", code, out.String(), stderr.String())
	}
}

// The text has one line for each finding, and one for what to do.
func TestCheckText(t *testing.T) {
	w := newCheckWorld(t)
	w.environ["SCHEMA_REGISTRY_URL"] = "http://127.0.0.1:1"
	var environ []string
	for name, value := range w.environ {
		environ = append(environ, name+"="+value)
	}
	var out, stderr strings.Builder
	code := report(&stderr, "check", runCheck(t.Context(), env{environ: environ, stdout: &out, stderr: &stderr}, nil, w.setup))
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if code != exitFailed || stderr.Len() > 0 || !strings.HasPrefix(lines[len(lines)-1], "verdict: ok=") || !strings.Contains(lines[len(lines)-1], "failed=1 ") {
		t.Errorf("exit %d: %s%s", code, out.String(), stderr.String())
	}
	if !slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, "failed") && strings.Contains(l, "registry") }) {
		t.Errorf("no line of the registry:\n%s", out.String())
	}
}
