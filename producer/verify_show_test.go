package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"pstncalls/internal/graphfake"
	"pstncalls/internal/kafka"
	"pstncalls/internal/state"
	"pstncalls/internal/verify"
	"pstncalls/internal/window"
	"pstncalls/schema"
)

// showRows is how many rows TestVerifyShow has; PSTNCALLS_TEST_ROWS says another number.
const showRows = 3000

// TestVerifyShow publishes a backfill with the real program, then late rows and corrections, and proves all days, while rows go on
// coming and when none does. Then it copies the topics with one record left out, one doubled, one altered, and one that somebody else
// wrote, each on a day of its own: exactly those days differ, and the rows are named where a ledger or Graph allows it, whether a
// producer is at work on the copies or not.
func TestVerifyShow(t *testing.T) {
	t.Parallel()
	defer debug.SetGCPercent(debug.SetGCPercent(400)) // the log is large, and so is what is read of it
	s := newShow(t)
	s.publish()
	if r := s.verify(s.w.environ, exitDone); r.Verdict.Rows != s.rows || r.Verdict.Proved != r.Verdict.Days || r.Records != s.events.Load() {
		t.Errorf("the originals, nobody at work: %s of %d records; %d rows in %d events were published", r.Verdict, r.Records, s.rows, s.events.Load())
	}
	p := s.start(s.w.environ)
	s.whileAtWork(s.w.environ, s.w.name, func(r *verify.Report) bool {
		return s.verified(r, nil, "the originals, a producer at work")
	}, exitDone)
	p.stop()

	copies, want := s.tampered()
	environ := s.on(copies)
	if r := s.verify(environ, exitFailed); !s.verified(r, want, "the copies, nobody at work") || r.Foreign != 1 {
		t.Errorf("%s, %d foreign records", r.Verdict, r.Foreign)
	}
	s.named(environ, want)
	p = s.start(environ)
	s.whileAtWork(environ, copies, func(r *verify.Report) bool { return s.verified(r, want, "the copies, a producer at work") }, exitFailed)
	p.stop()
}

// show is a world whose log has nine days, those long settled without a ledger.
type show struct {
	t      *testing.T
	w      *world
	today  window.Day
	events atomic.Int64 // on the original topic, as a plain consumer is shown them
	rows   int64        // in the log
	added  int
}

func newShow(t *testing.T) *show {
	n := showRows
	if s := os.Getenv("PSTNCALLS_TEST_ROWS"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	today := window.Of(time.Now())
	w := newWorld(t, graphfake.Config{Seed: 1, PageSize: min(1000, max(20, n/50)), Tenants: []graphfake.TenantConfig{{ID: worldTenant, Flat: true,
		RowsPerDay: n / 9, From: (today - 10).Start(), To: (today - 1).Start()}}}, "POLL_LOOKBACK=24h")
	w.environ = slices.DeleteFunc(w.environ, func(kv string) bool { return strings.HasPrefix(kv, "POLL_START=") })
	w.environ = append(w.environ, "POLL_START=240h")
	return &show{t: t, w: w, today: today, rows: int64(n / 9 * 9)}
}

// start starts a producer in a process of its own.
func (s *show) start(environ []string) *process {
	was := s.w.environ
	s.w.environ = environ
	defer func() { s.w.environ = was }()
	return s.w.start("none")
}

// on returns the environment for topics of another name.
func (s *show) on(name string) (out []string) {
	for _, kv := range s.w.environ {
		key, value, _ := strings.Cut(kv, "=")
		if rest, ok := strings.CutPrefix(value, s.w.name); ok && key != "KAFKA_GROUP" {
			kv = key + "=" + name + rest
		}
		out = append(out, kv)
	}
	return out
}

// publish has all rows published under a long lookback; then, with nobody at work, rows that are late and corrections come up on all
// days, and a producer with a short lookback finds them, settles the days and drops the old ledgers.
func (s *show) publish() {
	s.t.Helper()
	long := append(slices.DeleteFunc(slices.Clone(s.w.environ), func(kv string) bool { return strings.HasPrefix(kv, "POLL_LOOKBACK=") }), "POLL_LOOKBACK=240h")
	p := s.start(long)
	s.created(s.w.name)
	s.w.consume(s.w.name, func(*kgo.Record) { s.events.Add(1) })
	s.await("the backfill", func() bool { return s.events.Load() == s.rows })
	p.stop()

	at := time.Now()
	corrected := int64(0)
	for i, row := range s.w.graph.Truth(worldTenant) {
		if i%50 != 0 {
			continue
		}
		if err := s.w.graph.CorrectRow(worldTenant, row.ID, func(r map[string]any) { r["duration"] = 12345 + i }, at); err != nil {
			s.t.Fatal(err)
		}
		corrected++
		s.add((s.today - 10 + window.Day(s.added%9)).Start().Add(time.Duration(s.added)*time.Second), at)
	}
	p = s.start(s.w.environ)
	s.await("late rows and corrections", func() bool { return s.events.Load() == s.rows+corrected })
	for s.ledgers() > 4 { // they go with the next commit after the scan that settles them
		s.add(time.Now(), time.Now())
		s.await("a row of today", func() bool { return s.events.Load() == s.rows+corrected })
	}
	p.stop()
}

func (s *show) add(start, at time.Time) {
	s.t.Helper()
	row := map[string]any{"id": fmt.Sprintf("added-%d", s.added), "callId": fmt.Sprintf("call-%d", s.added), "startDateTime": stamp(start), "duration": 7, "charge": 0.25, "currency": "EUR"}
	s.added, s.rows = s.added+1, s.rows+1
	if err := s.w.graph.AddRow(worldTenant, row, at); err != nil {
		s.t.Error(err)
	}
}

// created waits until a topic exists.
func (s *show) created(topic string) {
	s.t.Helper()
	cl := s.client()
	s.await("topic "+topic, func() bool {
		found, err := kadm.NewClient(cl).ListTopics(s.t.Context(), topic)
		return err == nil && found[topic].Err == nil && len(found[topic].Partitions) > 0
	})
}

func (s *show) client(opts ...kgo.Opt) *kgo.Client {
	s.t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(s.w.brokers...), kgo.MetadataMinAge(50 * time.Millisecond)}, opts...)...)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(cl.Close)
	return cl
}

// await waits for another process, as long as something is published, and for stall without.
func (s *show) await(what string, done func() bool) {
	s.t.Helper()
	began := time.Now()
	defer func() { s.t.Logf("%s: %s", what, time.Since(began).Round(10*time.Millisecond)) }()
	deadline, events := time.Now().Add(stall), int64(0)
	for !done() {
		if n := s.events.Load(); n != events {
			deadline, events = time.Now().Add(stall), n
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("%s did not come; %d events were published", what, events)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// verify runs the command.
func (s *show) verify(environ []string, code int, more ...string) *verify.Report {
	s.t.Helper()
	got, out, said := invoke(s.t.Context(), withoutChild(environ), "", append([]string{"verify", "--json"}, more...)...)
	r := &verify.Report{}
	if err := json.Unmarshal([]byte(out), r); err != nil || got != code {
		s.t.Fatalf("verify: exit code %d, want %d, %v\n%s%.2000s", got, code, err, said, out)
	}
	return r
}

// whileAtWork verifies while rows come up and a producer publishes them, until three reports fell together with a commit, and judges
// each.
func (s *show) whileAtWork(environ []string, topic string, judge func(*verify.Report) bool, code int) {
	s.t.Helper()
	began := time.Now()
	var published atomic.Int64
	s.w.consume(topic, func(rec *kgo.Record) {
		if rec.Timestamp.After(began) {
			published.Add(1)
		}
	})
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case at := <-tick.C:
				s.add(at, at)
			case <-stop:
				return
			}
		}
	}()
	defer func() { close(stop); <-ended }()
	s.await("the first of the new rows", func() bool { return published.Load() > 0 })
	meanwhile := 0
	s.await("commits while the topics are read", func() bool {
		before := published.Load()
		if r := s.verify(environ, code); !judge(r) {
			s.t.FailNow()
		}
		if published.Load() > before {
			meanwhile++
		}
		return meanwhile == 3
	})
}

// ledgers is how many of the days have one.
func (s *show) ledgers() (n int) {
	s.t.Helper()
	cluster, err := kafka.New(kafka.Config{Brokers: s.w.brokers, Topics: kafka.Topics{Events: s.w.name, State: s.w.name + ".state"}})
	if err != nil {
		s.t.Fatal(err)
	}
	view, err := cluster.ReadState(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	records := map[string][]byte{}
	for key, value := range view.State {
		if id, ok := state.TenantOf(key); ok && id == worldTenant {
			records[key] = value
		}
	}
	t, ok, err := state.Load(worldTenant, records)
	if err != nil || !ok {
		s.t.Fatal(ok, err)
	}
	for day := s.today - 10; day <= s.today; day++ {
		if t.HasLedger(day) {
			n++
		}
	}
	return n
}

// wrong is what verify has to say of a day.
type wrong struct {
	Day   string
	Why   string   // part of it
	Named []string // by the topics alone
	Graph []string // with Graph
}

// verified compares the days that differ with what has to be said of them.
func (s *show) verified(r *verify.Report, want []wrong, what string) bool {
	s.t.Helper()
	var got, expected []string
	for _, d := range r.Tenants[0].Days {
		if d.Proof == verify.Proved {
			continue
		}
		got = append(got, fmt.Sprint(d.Day, d.Proof, names(d)))
		i := slices.IndexFunc(want, func(x wrong) bool { return x.Day == d.Day.String() })
		if i >= 0 && !strings.Contains(d.Why, want[i].Why) {
			s.t.Errorf("%s: %s: %s", what, d.Day, d.Why)
		}
	}
	for _, x := range want {
		expected = append(expected, fmt.Sprint(x.Day, verify.Differs, x.Named))
	}
	diff := cmp.Diff(expected, got)
	if diff != "" || len(r.Tenants) != 1 || r.Verdict.OK() != (len(want) == 0) || r.Verdict.Proved != r.Verdict.Days-len(want) {
		s.t.Errorf("%s: %s\n-want +got:\n%s", what, r.Verdict, diff)
		return false
	}
	return true
}

func names(d verify.Day) []string {
	var out []string
	for _, n := range d.Rows {
		out = append(out, fmt.Sprintf("%s/%d %s", n.RowID, n.Revision, n.What))
	}
	return out
}

// named compares what verify says with Graph of all days that are settled.
func (s *show) named(environ []string, want []wrong) {
	s.t.Helper()
	named := slices.Clone(want)
	for i := range named {
		named[i].Named = named[i].Graph
	}
	r := s.verify(environ, exitFailed, "--graph", "--rate", "100000", "--from", (s.today - 10).String(), "--to", (s.today - 1).String())
	s.verified(r, named, "the copies, with Graph")
}

// tampered copies what was committed into topics of another name, partition by partition, and returns the name and what is wrong with
// the copies. One record has to be another for the copies to be honest otherwise: each shard's meta names the events topic by the id
// that the cluster gave it, and a topic of another id is one that was created anew, whose proof verify refuses.
func (s *show) tampered() (name string, want []wrong) {
	s.t.Helper()
	name = s.w.name + "copy"
	cl := s.client(kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(kgo.Lz4Compression()), kgo.MaxBufferedRecords(100_000))
	adm, ctx := kadm.NewClient(cl), s.t.Context()
	ids := map[string]string{}
	for topic, policy := range map[string]string{"": "delete", ".state": "compact", ".dlq": "delete", ".watermark": "compact"} {
		found, err := adm.ListTopics(ctx, s.w.name+topic)
		if err != nil {
			s.t.Fatal(err)
		}
		from := found[s.w.name+topic]
		configs := map[string]*string{"cleanup.policy": &policy, "retention.ms": kadm.StringPtr("-1")}
		to, err := adm.CreateTopic(ctx, int32(len(from.Partitions)), -1, configs, name+topic)
		if err != nil {
			s.t.Fatal(err)
		}
		s.created(name + topic)
		ids[from.ID.String()] = to.ID.String()
	}
	tamper := s.tamperer()
	for _, topic := range []string{"", ".state", ".dlq", ".watermark"} {
		for rec, err := range committed(ctx, s.w.brokers, s.w.name+topic) {
			if err != nil {
				s.t.Fatal(err)
			}
			out := &kgo.Record{Topic: name + topic, Partition: rec.Partition, Key: rec.Key, Value: rec.Value, Headers: rec.Headers, Timestamp: rec.Timestamp}
			recs := []*kgo.Record{out}
			switch {
			case topic == "":
				recs = tamper.event(out)
			case topic == ".state" && string(rec.Key) == "meta":
				for old, id := range ids {
					out.Value = bytes.ReplaceAll(out.Value, []byte(old), []byte(id))
				}
			}
			for _, r := range recs {
				cl.Produce(ctx, r, func(_ *kgo.Record, err error) {
					if err != nil {
						s.t.Errorf("copy: %v", err)
					}
				})
			}
		}
	}
	recs := []*kgo.Record{{Topic: name, Key: []byte("k"), Value: []byte("hello"), Timestamp: time.Now()}}
	if err := errors.Join(cl.ProduceSync(ctx, recs...).FirstErr(), cl.Flush(ctx)); err != nil {
		s.t.Fatal(err)
	}
	return name, tamper.want(s.t)
}

// tamperer does its work on the first fitting event of each of its days.
type tamperer struct {
	s     *show
	works []work
}

type work struct {
	day   window.Day
	do    func(*kgo.Record, schema.Headers) []*kgo.Record
	wrong func(row string) wrong
	row   string // that it was done to
}

func (s *show) tamperer() *tamperer {
	one := func(format, row string) []string { return []string{fmt.Sprintf(format, row)} }
	leave := func(*kgo.Record, schema.Headers) []*kgo.Record { return nil }
	return &tamperer{s: s, works: []work{
		{day: s.today - 9, do: leave, wrong: func(row string) wrong {
			return wrong{Why: "which rows, --graph can say", Graph: one("%s/0 missing", row)}
		}},
		{day: s.today - 8, do: func(r *kgo.Record, _ schema.Headers) []*kgo.Record { return []*kgo.Record{r, r} }, wrong: func(row string) wrong {
			return wrong{Named: one("%s/0 doubled", row), Graph: one("%s/0 doubled", row)}
		}},
		{day: s.today - 6, do: func(r *kgo.Record, _ schema.Headers) []*kgo.Record { // the headers stay
			call, err := schema.Decode(r.Value)
			if err != nil {
				s.t.Fatal(err)
			}
			call.Duration = new(*call.Duration + 1)
			value, err := schema.AppendPstnCall(nil, call)
			if err != nil {
				s.t.Fatal(err)
			}
			r.Value = schema.AppendSingleObject(nil, value)
			return []*kgo.Record{r}
		}, wrong: func(row string) wrong {
			return wrong{Why: "which rows, --graph can say", Graph: one("%s/0 altered", row)}
		}},
		{day: s.today - 3, do: leave, wrong: func(row string) wrong {
			return wrong{Named: one("%s/0 missing", row), Graph: one("%s/0 missing", row)}
		}},
		{day: s.today - 2, do: func(r *kgo.Record, h schema.Headers) []*kgo.Record { // as our producer would have written it
			h.RowID, h.Subject = "somebody-else's", string(r.Key)
			foreign := *r
			foreign.Headers = nil
			for _, x := range h.Append(nil) {
				foreign.Headers = append(foreign.Headers, kgo.RecordHeader{Key: x.Key, Value: x.Value})
			}
			return []*kgo.Record{r, &foreign}
		}, wrong: func(string) wrong {
			return wrong{Named: []string{"somebody-else's/0 extra"}, Graph: []string{"somebody-else's/0 extra"}}
		}},
	}}
}

// event returns what is copied of an event. Corrected rows are left alone.
func (x *tamperer) event(rec *kgo.Record) []*kgo.Record {
	var hs []schema.Header
	for _, h := range rec.Headers {
		hs = append(hs, schema.Header{Key: h.Key, Value: h.Value})
	}
	h, err := schema.ParseHeaders(hs)
	if err != nil {
		x.s.t.Fatal(err)
	}
	for i := range x.works {
		w := &x.works[i]
		if w.row == "" && h.Owner == w.day.String() && strings.HasPrefix(h.RowID, "added-") {
			w.row = h.RowID
			return w.do(rec, h)
		}
	}
	return []*kgo.Record{rec}
}

func (x *tamperer) want(t *testing.T) (out []wrong) {
	t.Helper()
	for _, w := range x.works {
		if w.row == "" {
			t.Fatalf("no event of %s", w.day)
		}
		o := w.wrong(w.row)
		o.Day = w.day.String()
		out = append(out, o)
	}
	return out
}
