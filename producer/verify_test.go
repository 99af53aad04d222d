package main

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"pstncalls/internal/kafka"
	"pstncalls/internal/verify"
	"pstncalls/internal/window"
)

// TestVerifyUsage has what can be seen to be wrong without a broker: exit code 2, what is wrong, and how it should be.
func TestVerifyUsage(t *testing.T) {
	today := window.Of(time.Now())
	const form = "want a UTC day such as 2026-11-01"
	for name, tt := range map[string]struct {
		args []string
		says []string
	}{
		"the future":              {[]string{"--from", (today + 1).String()}, []string{"--from: " + (today + 1).String() + " lies in the future", form}},
		"the future, with an end": {[]string{"--from", (today + 10).String(), "--to", (today + 20).String()}, []string{"lies in the future", form}},
		"from is to":              {[]string{"--from", "2026-11-02", "--to", "2026-11-02"}, []string{"--to: 2026-11-02 is not after --from 2026-11-02", form}},
		"from after to":           {[]string{"--from", "2026-11-03", "--to", "2026-11-02"}, []string{"--to: 2026-11-02 is not after --from 2026-11-03", form}},
		"no day":                  {[]string{"--from", "yesterday"}, []string{`--from: "yesterday" is neither a day nor an RFC 3339 time`, form}},
		"a time of day":           {[]string{"--to", "2026-11-02T10:00:00Z"}, []string{`--to: "2026-11-02T10:00:00Z" is not midnight`, form}},
		"Graph without a range":   {[]string{"--graph"}, []string{"--graph: want --from"}},
		"no rate":                 {[]string{"--rate", "0"}, []string{"--rate: want 1 or more"}},
		"an argument":             {[]string{"2026-11-02"}, []string{`takes no argument "2026-11-02"`}},
	} {
		code, out, said := invoke(t.Context(), []string{"KAFKA_BROKERS=127.0.0.1:1"}, "", append([]string{"verify"}, tt.args...)...)
		if code != exitUsage || out != "" || !strings.Contains(said, "Try: producer verify --help") {
			t.Errorf("%s: exit %d, %q, %q", name, code, out, said)
		}
		for _, want := range tt.says {
			if !strings.Contains(said, want) {
				t.Errorf("%s: %q does not say %q", name, said, want)
			}
		}
	}
	for _, days := range [][2]string{{today.String(), ""}, {"", (today + 1).String()}, {"2026-11-01T00:00:00Z", "2099-01-01"}} {
		if _, err := daysBetween("verify", days[0], days[1], time.Now()); err != nil {
			t.Errorf("%q: %v", days, err)
		}
	}
}

// verifyWorld is an embedded Kafka with the topics of a producer that has begun, and one tenant without a day.
type verifyWorld struct {
	t       *testing.T
	fake    *kfake.Cluster
	environ []string
}

func newVerifyWorld(t *testing.T) *verifyWorld {
	t.Helper()
	fake, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fake.Close)
	w := &verifyWorld{t: t, fake: fake, environ: []string{"KAFKA_BROKERS=" + fake.ListenAddrs()[0]}}
	cluster, err := kafka.New(kafka.Config{Brokers: fake.ListenAddrs(), Group: "pstn-calls-producer", SessionTimeout: 6 * time.Second, Host: "host", Instance: "one",
		Topics: kafka.Topics{Events: "pstn-calls", State: "pstn-calls.state", DLQ: "pstn-calls.dlq", Watermark: "pstn-calls.watermark"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cluster.Prepare(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	w.write("pstn-calls.state", "contoso/pstn/tenant", `{"v":1,"start":"2026-11-01"}`)
	return w
}

func (w *verifyWorld) write(topic, key, value string) {
	w.t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(w.fake.ListenAddrs()...))
	if err != nil {
		w.t.Fatal(err)
	}
	defer cl.Close()
	if err := cl.ProduceSync(w.t.Context(), &kgo.Record{Topic: topic, Key: []byte(key), Value: []byte(value)}).FirstErr(); err != nil {
		w.t.Fatal(err)
	}
}

func TestVerifyUnknownTenant(t *testing.T) {
	w := newVerifyWorld(t)
	code, _, said := invoke(t.Context(), w.environ, "", "verify", "--tenant", "fabrikam")
	if code != exitUsage || !strings.Contains(said, `--tenant: tenant "fabrikam" is not in the state, which knows ["contoso"]`) || !strings.Contains(said, "Try:") {
		t.Errorf("exit %d, %s", code, said)
	}
	if code, out, said := invoke(t.Context(), w.environ, "", "verify", "--tenant", "contoso"); code != exitDone || !strings.HasPrefix(out, "verdict: days=0 ") {
		t.Errorf("the tenant that it knows: exit %d, %s%s", code, out, said)
	}
}

// TestVerifyForeign has records of somebody else on the events topic: they are counted and shown, and fail nothing.
func TestVerifyForeign(t *testing.T) {
	w := newVerifyWorld(t)
	w.write("pstn-calls", "k", "hello")
	w.write("pstn-calls", "k", "")
	code, out, said := invoke(t.Context(), w.environ, "", "verify")
	if code != exitDone || !strings.Contains(out, "2 records on the topic are no events of this program; the first:\n  partition ") || !strings.Contains(out, "header ce_specversion: missing") {
		t.Errorf("exit %d, %s%s", code, out, said)
	}
	code, out, _ = invoke(t.Context(), w.environ, "", "verify", "--json")
	var r verify.Report
	if err := json.Unmarshal([]byte(out), &r); err != nil || code != exitDone || r.Foreign != 2 || len(r.First) != 2 || r.Records != 2 {
		t.Errorf("exit %d, %v, %s", code, err, out)
	}
}

// TestVerifyDamagedState names the record, and says that it is one of the state.
func TestVerifyDamagedState(t *testing.T) {
	t.Parallel()
	for key, values := range map[string][]string{
		"contoso/pstn/tenant":                  {"junk", `{"start":"2026-11-01"}`, `{"v":2}`},
		"contoso/pstn/month/2026-11":           {"junk", `{"v":1,"settled":"x"}`, `{"v":2}`},
		"contoso/pstn/window/2026-11-01":       {"junk", `{"v":2}`},
		"contoso/pstn/ledger/2026-11-01/00001": {"junk", "\xff"},
		"contoso/pstn/scan/2026-11-01":         {"junk", `{"v":1}`},
		"meta":                                 {"junk", `{"v":2}`},
		"commit":                               {"junk", `{"v":2}`},
		"claim/pstn-calls-producer":            {"junk", `{"v":2}`},
	} {
		for _, value := range values {
			w := newVerifyWorld(t)
			w.write("pstn-calls.state", key, value)
			code, out, said := invoke(t.Context(), w.environ, "", "verify")
			if code != exitFailed || out != "" || !strings.Contains(said, `"`+key+`"`) || !strings.Contains(said, "state topic pstn-calls.state") || strings.Contains(said, "events topic") {
				t.Errorf("%s = %s: exit %d, %s%s", key, value, code, out, said)
			}
		}
	}
}

// TestVerifyInterrupted is told to stop before it has begun, and while an open transaction holds it up: what it has found by then is
// printed, and called partial.
func TestVerifyInterrupted(t *testing.T) {
	w := newVerifyWorld(t)
	ended, end := context.WithCancel(t.Context())
	end()
	for _, args := range [][]string{{"verify"}, {"verify", "--json"}} {
		code, out, said := invoke(ended, w.environ, "", args...)
		if code != exitFailed || !strings.Contains(out, "interrupted before any event was read") || !strings.Contains(out, "partial") || strings.HasPrefix(out, "verdict") {
			t.Errorf("%q: exit %d, %s%s", args, code, out, said)
		}
	}

	w.write("pstn-calls", "k", "hello")
	cl, err := kgo.NewClient(kgo.SeedBrokers(w.fake.ListenAddrs()...), kgo.TransactionalID("other"), kgo.DefaultProduceTopic("pstn-calls"))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if err := cl.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := cl.ProduceSync(t.Context(), &kgo.Record{Key: []byte("k"), Value: []byte("open")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	waits := map[int64]int{} // fetches by offset: of the second one for the same, the broker has nothing to give
	w.fake.ControlKey(int16(kmsg.Fetch), func(req kmsg.Request) (kmsg.Response, error, bool) {
		w.fake.KeepControl()
		for _, topic := range req.(*kmsg.FetchRequest).Topics {
			for _, p := range topic.Partitions {
				if waits[p.FetchOffset]++; p.FetchOffset == 1 && waits[p.FetchOffset] == 3 {
					cancel()
				}
			}
		}
		return nil, nil, false
	})
	code, out, said := invoke(ctx, w.environ, "", "verify")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if code != exitFailed || !strings.HasPrefix(lines[len(lines)-1], "partial verdict: days=0 ") || !strings.Contains(out, "\npartial: interrupted after ") || !strings.Contains(out, "1 records on the topic are no events") {
		t.Errorf("exit %d, %s%s", code, out, said)
	}
}
