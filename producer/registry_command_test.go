package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kfake"

	"pstncalls/internal/graphfake"
	"pstncalls/internal/status"
	"pstncalls/schema"
)

// environ is that of the schema command for a topic.
func (reg testRegistry) environ(topic string) []string {
	return []string{"KAFKA_BROKERS=127.0.0.1:1", "SCHEMA_REGISTRY_URL=" + reg.url, "KAFKA_EVENTS_TOPIC=" + topic}
}

func TestSchemaCommand(t *testing.T) {
	t.Parallel()
	eachRegistry(t, func(t *testing.T, reg testRegistry) {
		topic := reg.topic()
		subject := subjectOf(topic)
		run := func(topic string, want int, args ...string) (stdout, stderr string) {
			t.Helper()
			code, stdout, stderr := invoke(t.Context(), reg.environ(topic), "", append([]string{"schema"}, args...)...)
			if code != want {
				t.Errorf("%v: exit %d, want %d: %q %q", args, code, want, stdout, stderr)
			}
			return stdout, stderr
		}
		object := func(s string) (out map[string]any) {
			t.Helper()
			if err := json.Unmarshal([]byte(s), &out); err != nil || strings.Count(s, "\n") != 1 {
				t.Errorf("%q: %v", s, err)
			}
			return out
		}
		// --check sets and registers nothing.
		for range 2 {
			if out, _ := run(topic, exitDone, "--check"); out != "compatible: subject="+subject+" holds no schema yet\n" {
				t.Errorf("check of nothing: %q", out)
			}
		}
		out, _ := run(topic, exitDone, "--check", "--json")
		if diff := cmp.Diff(map[string]any{"subject": subject, "compatible": true, "level": "", "version": 0.0}, object(out)); diff != "" {
			t.Error(diff)
		}
		out, log := run(topic, exitDone, "--register", "--json")
		first := object(out)
		id, _ := first["id"].(float64)
		if diff := cmp.Diff(map[string]any{"subject": subject, "id": id, "level": "FULL"}, first); diff != "" || id < 1 || !strings.Contains(log, "level=INFO") {
			t.Errorf("%s\n%s", diff, log)
		}
		if out, log := run(topic, exitDone, "--register"); out != fmt.Sprintf("registered: subject=%s id=%v level=FULL\n", subject, id) || log != "" {
			t.Errorf("again: %q %q", out, log)
		}
		if out, log := run(topic, exitDone, "--check"); out != "compatible: subject="+subject+" level=FULL version=1\n" || log != "" {
			t.Errorf("check: %q %q", out, log)
		}

		for _, level := range []string{"FULL", "FULL_TRANSITIVE"} {
			odd := reg.topic()
			reg.add(odd, oddSchema)
			reg.setLevel(odd, level)
			out, stderr := run(odd, exitFailed, "--check")
			if out != "" || !strings.Contains(stderr, "not compatible with version 1 of "+subjectOf(odd)) || !strings.Contains(stderr, "/versions/latest/schema' | jq") {
				t.Errorf("check of what does not fit: %q %q", out, stderr)
			}
			if want := reg.reasons != ""; want != strings.Contains(stderr, "ncompatible artifact") || want == strings.Contains(stderr, "gives no reason") {
				t.Errorf("reason: %q", stderr)
			}
			out, _ = run(odd, exitFailed, "--check", "--json")
			if got := object(out); got["compatible"] != false || got["reason"] == "" || got["version"] != 1.0 || got["level"] != level {
				t.Errorf("check --json: %q", out)
			}
			if level != "FULL" {
				continue // a refusal takes its time: it might be a lost race
			}
			if out, stderr := run(odd, exitFailed, "--register", "--json"); out != "" || !strings.Contains(stderr, "HTTP 409") {
				t.Errorf("register what does not fit: %q %q", out, stderr)
			}
		}

		// A transitive level counts all versions: the newest goes with ours, the one before does not.
		mixed := reg.topic()
		reg.add(mixed, oddSchema)
		reg.setLevel(mixed, none)
		reg.add(mixed, olderSchema)
		reg.setLevel(mixed, "FULL_TRANSITIVE")
		run(mixed, exitFailed, "--check")
		reg.setLevel(mixed, "FULL")
		run(mixed, exitDone, "--check")

		// At NONE a check may mean nothing.
		lax := reg.topic()
		reg.add(lax, olderSchema)
		reg.setLevel(lax, none)
		if out, stderr := run(lax, exitDone, "--check"); !strings.Contains(out, "level=NONE") || !strings.Contains(stderr, "may accept incompatible schemas") {
			t.Errorf("check at NONE: %q %q", out, stderr)
		}
		reg.add(lax, oddSchema)
		run(lax, exitDone, "--check")

		foreign := reg.topic()
		reg.add(foreign, foreignSchema)
		for _, flag := range []string{"--check", "--register"} {
			if out, stderr := run(foreign, exitFailed, flag, "--json"); out != "" || !strings.Contains(stderr, "somebody else's") {
				t.Errorf("%s of somebody else's: %q %q", flag, out, stderr)
			}
		}
	})
}

func TestSchemaCommandUsage(t *testing.T) {
	if _, out, _ := invoke(t.Context(), nil, "", "schema"); strings.TrimSpace(out) != strings.TrimSpace(schema.PstnCallSchema()) {
		t.Errorf("printed %q", out)
	}
	away := testRegistry{url: "http://127.0.0.1:1"}
	for _, tt := range []struct {
		args    []string
		environ []string
		code    int
		want    string
	}{
		{[]string{"--check", "--register"}, away.environ("t"), exitUsage, "want one of them"},
		{[]string{"--json"}, away.environ("t"), exitUsage, "--json goes with"},
		{[]string{"--check"}, away.environ("t")[:1], exitUsage, "set SCHEMA_REGISTRY_URL"},
		{[]string{"--check"}, []string{"SCHEMA_REGISTRY_URL=x"}, exitUsage, "SCHEMA_REGISTRY_URL"},
		{[]string{"--check"}, away.environ("t"), exitFailed, "connection refused"}, // asks once
	} {
		if code, out, stderr := invoke(t.Context(), tt.environ, "", append([]string{"schema"}, tt.args...)...); code != tt.code || out != "" || !strings.Contains(stderr, tt.want) {
			t.Errorf("%v: exit %d, %q %q", tt.args, code, out, stderr)
		}
	}
	// --register waits, until it is told to stop.
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if code, out, stderr := invoke(ctx, away.environ("t"), "", "schema", "--register"); code != exitFailed || out != "" || strings.Count(stderr, "waiting for the schema registry") != 1 {
		t.Errorf("register: exit %d, %q %q", code, out, stderr)
	}
}

// run waits for the registry before it asks Graph; from then on nothing asks the registry, and nothing notices that it is away. The
// next start waits for it again, and publishes nothing in between.
func TestRunWithRegistry(t *testing.T) {
	t.Parallel()
	eachRegistry(t, func(t *testing.T, reg testRegistry) {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		broker, err := kfake.NewCluster(kfake.NumBrokers(1))
		if err != nil {
			t.Fatal(err)
		}
		defer broker.Close()
		var up atomic.Bool
		refused := make(chan struct{}, 100)
		front := reg.newFront("", func(http.ResponseWriter, *http.Request) bool {
			if !up.Load() {
				select {
				case refused <- struct{}{}:
				default:
				}
				panic(http.ErrAbortHandler)
			}
			return true
		})
		o := simulateOptions{reading: "days-exclusive", order: "start", days: 3, rowsPerDay: 60, tenants: list{"contoso"},
			server: graphfake.Config{Seed: 7, PageSize: 20, RequestsPerMinute: -1}}
		sim, err := o.newServer(time.Now().UTC())
		if err != nil {
			t.Fatal(err)
		}
		var graphAsked, registered atomic.Int64
		var once sync.Once
		graph := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			graphAsked.Add(1)
			once.Do(func() { // before the first event
				up.Store(false)
				registered.Store(int64(front.count("")))
			})
			sim.ServeHTTP(w, r)
		}))
		defer graph.Close()
		topic := reg.topic()
		environ := []string{"GRAPH_AUTH=none", "GRAPH_ENDPOINT=" + graph.URL, "GRAPH_TENANTS=contoso", "GRAPH_REQUESTS_PER_MINUTE=10000", "KAFKA_EVENTS_TOPIC=" + topic,
			"KAFKA_BROKERS=" + broker.ListenAddrs()[0], "POLL_START=72h", "ADMIN_ADDR=127.0.0.1:0", "SCHEMA_REGISTRY_URL=" + front.URL}
		var log bytes.Buffer // read after run has ended
		start := func() (end func() int) {
			running, stop := context.WithCancel(ctx)
			ended := make(chan int, 1)
			go func() {
				ended <- dispatch(running, env{environ: environ, stdout: io.Discard, stderr: &log}, []string{"run"})
			}()
			return func() int {
				stop()
				return <-ended
			}
		}
		waits := func() {
			t.Helper()
			for range 2 {
				select {
				case <-refused:
				case <-ctx.Done():
					t.Fatal("run does not ask the registry")
				}
			}
		}
		end := start()
		waits()
		if n := graphAsked.Load(); n != 0 {
			t.Errorf("%d requests to Graph before the registry is there", n)
		}
		up.Store(true)
		for ctx.Err() == nil {
			var v status.View
			if code, stdout, _ := invoke(ctx, environ, "", "status", "--json"); code == exitDone && json.Unmarshal([]byte(stdout), &v) == nil && allScanned(v) {
				break
			}
			time.Sleep(20 * time.Millisecond) // run is another process in real life: there is nothing to wait on
		}
		if code := end(); code != exitDone || ctx.Err() != nil || !strings.Contains(log.String(), "schema registered") || strings.Count(log.String(), "waiting for the schema registry") != 1 {
			t.Fatalf("run: exit %d\n%s", code, log.String())
		}
		if got, want := front.count(""), int(registered.Load()); got != want {
			t.Errorf("%d requests to the registry, %d at the start", got, want)
		}
		id := reg.newest(topic)["id"].(float64)
		events := func() int {
			t.Helper()
			code, out, stderr := invoke(ctx, environ, "", "tail", "--from-beginning", "--until-end")
			if code != exitDone {
				t.Fatalf("tail: exit %d, %s", code, stderr)
			}
			n := strings.Count(out, "\n")
			if want := fmt.Sprintf(`"%s":"%s/schemas/ids/%v"`, schema.HeaderDataSchema, front.URL, id); strings.Count(out, want) != n {
				t.Errorf("%d of %d events name the schema %s:\n%.500s", strings.Count(out, want), n, want, out)
			}
			return n
		}
		before := events()
		if before < 60 {
			t.Fatalf("%d events", before)
		}
		asked := graphAsked.Load()
		end = start()
		waits()
		if code := end(); code != exitDone || graphAsked.Load() != asked || events() != before {
			t.Errorf("restart without the registry: exit %d, %d requests to Graph, %d events after %d", code, graphAsked.Load()-asked, events(), before)
		}
	})
}

// What the registry refuses ends run before it asks Graph or publishes anything.
func TestRunRefusedByRegistry(t *testing.T) {
	eachRegistry(t, func(t *testing.T, reg testRegistry) {
		broker, err := kfake.NewCluster(kfake.NumBrokers(1))
		if err != nil {
			t.Fatal(err)
		}
		defer broker.Close()
		topic := reg.topic()
		reg.add(topic, foreignSchema)
		environ := []string{"GRAPH_AUTH=none", "GRAPH_ENDPOINT=http://127.0.0.1:1", "GRAPH_TENANTS=contoso", "KAFKA_EVENTS_TOPIC=" + topic,
			"KAFKA_BROKERS=" + broker.ListenAddrs()[0], "ADMIN_ADDR=127.0.0.1:0", "SCHEMA_REGISTRY_URL=" + reg.url}
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		if code, _, stderr := invoke(ctx, environ, "", "run"); code != exitFailed || !strings.Contains(stderr, "somebody else's") || strings.Contains(stderr, "joining the group") {
			t.Errorf("exit %d: %s", code, stderr)
		}
	})
}
