package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// TestNewerRecord has one record of a format, or of a kind, that only a newer version knows, in the state of this one: run and the
// commands name it and say what to do, and nothing is published.
func TestNewerRecord(t *testing.T) {
	t.Parallel()
	g := readGolden(t, "testdata/state-1.0.0.jsonl")
	version := func(r *goldenRecord) { r.Value = []byte(strings.Replace(string(r.Value), `{"v":1,`, `{"v":99,`, 1)) }
	as := func(key string) func(*goldenRecord) { // a kind that 1.0.0's set-up had none of
		return func(r *goldenRecord) { r.Key, r.Value = key, []byte(`{"v":99}`) }
	}
	var ledger string
	for _, r := range g.recs {
		if strings.Contains(r.Key, "/ledger/") {
			ledger = r.Key
		}
	}
	for _, tt := range []struct {
		name, key string
		newer     func(*goldenRecord)
		says      string
	}{
		{"meta", "meta", version, "has format 99"},
		{"claim", "claim/pstn-calls-producer", version, "has format 99"},
		{"commit", "commit", version, "has format 99"},
		{"tenant", "contoso/pstn/tenant", version, "has format 99"},
		{"window", "contoso/pstn/window/2026-11-05", version, "has format 99"},
		{"month", "contoso/pstn/month/2026-10", version, "has format 99"},
		{"scan", "contoso/pstn/scan/2026-11-04", version, "has format 99"},
		{"ledger", ledger, func(r *goldenRecord) { r.Value[0] = 99 }, "has format 99"},
		{"fingerprints", ledger, func(r *goldenRecord) { r.Value[1] = 99 }, "of algorithm 99"},
		{"forgotten", "contoso/pstn/scan/2026-11-04", as("contoso/pstn/forgotten"), "has format 99"},
		{"shard", "contoso/pstn/scan/2026-11-04", as("shard"), "has format 99"},
		{"another kind", "contoso/pstn/scan/2026-11-04", func(r *goldenRecord) { r.Key = "contoso/pstn/novelty/2026-11-04" }, "of a kind this version does not know"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			key := tt.key
			w := g.load(t, func(r *goldenRecord) {
				if r.Topic == ".state" && r.Partition == 6 && r.Key == tt.key {
					r.Value = slices.Clone(r.Value)
					tt.newer(r)
					key = r.Key
				}
			})
			helps := func(who, said string) {
				t.Helper()
				for _, want := range []string{`"` + key + `"`, tt.says, "a newer version of this program", "run that version", "to stay with this one, start anew"} {
					if !strings.Contains(said, want) {
						t.Errorf("%s does not say %q: %s", who, want, said)
					}
				}
			}
			records := len(w.records(""))
			r := w.run(g.At)
			<-r.done
			if r.err == nil || len(w.records("")) != records {
				t.Fatalf("run: %v; %d events more", r.err, len(w.records(""))-records)
			}
			helps("run", r.err.Error())
			for _, command := range []string{"verify", "status"} {
				code, out, said := invoke(t.Context(), w.environ, "", command)
				if code == exitDone && (command == "status" && tt.name == "forgotten" || command == "verify" && tt.name == "shard") {
					continue // it does without that record
				}
				if code != exitFailed || out != "" {
					t.Errorf("%s: exit %d, %s", command, code, out)
				}
				helps(command, said)
			}
			w.shows(time.Now()) // as check's
			code, out, _ := invoke(t.Context(), w.environ, "", "check")
			if code != exitFailed || !strings.Contains(out, "failed=1 ") {
				t.Errorf("check: exit %d", code)
			}
			helps("check", out)
			if strings.Contains(out, "restore") {
				t.Errorf("check says that a backup would help: %s", out)
			}
		})
	}
}

// The state is the newer version's all the same: nothing that this one did while it was refused keeps that version from going on.
func TestBackToTheNewerVersion(t *testing.T) {
	g := readGolden(t, "testdata/state-1.0.0.jsonl")
	var was *goldenRecord
	w := g.load(t, func(r *goldenRecord) {
		if strings.HasSuffix(r.Key, "/pstn/tenant") {
			was = &goldenRecord{Key: r.Key, Partition: r.Partition, Value: r.Value}
			r.Value = []byte(strings.Replace(string(r.Value), `{"v":1,`, `{"v":99,`, 1))
		}
	})
	events := w.events()
	for range 3 { // whoever restarts it
		r := w.run(g.At)
		<-r.done
		if r.err == nil {
			t.Fatal("it was not refused")
		}
	}
	w.put(was) // now this program is the newer one
	w.proved("after the refusals")
	r := w.run(g.At)
	r.until("it goes on with the scan", func() bool { return r.log.has("going on with a scan") })
	r.cycles()
	r.end()
	if got := w.events(); !slices.Equal(got, events) {
		t.Errorf("events %q, before %q", got, events)
	}
	w.proved("after it went on")
}

// put writes a record of the state.
func (w *goldenWorld) put(r *goldenRecord) {
	w.t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(w.broker.ListenAddrs()...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		w.t.Fatal(err)
	}
	defer cl.Close()
	if err := cl.ProduceSync(w.t.Context(), &kgo.Record{Topic: "pstn-calls.state", Partition: r.Partition, Key: []byte(r.Key), Value: r.Value}).FirstErr(); err != nil {
		w.t.Fatal(err)
	}
}
