package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"pstncalls/internal/graphfake"
	"pstncalls/internal/state"
	"pstncalls/internal/window"
)

var makeGolden = flag.String("golden", "", "the `version` that testdata/state-<version>.jsonl is written for, by TestMakeGolden")

func goldenID(n int) string { return fmt.Sprintf("%08x-0000-4000-8000-00000000abcd", n) }

// The rows that something happens to.
const (
	goldenCorrected = 0xc0
	goldenMoved     = 0xd0
	goldenVanished  = 0xe0
	goldenRejected  = 0xf0
	goldenOldLedger = 0xa0 // its ledger record is one of format 1
	goldenText      = "text-of-some-kind"
)

// TestMakeGolden writes what this version leaves behind, with a record of every kind, and goes on from it. A release keeps it, once, and
// later ones must be able to go on from that too (TestGolden):
//
//	go test ./producer -run TestMakeGolden -golden 1.0.0
func TestMakeGolden(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "state.jsonl")
	if *makeGolden != "" {
		path = "testdata/state-" + *makeGolden + ".jsonl"
	}
	w := newGoldenWorld(t)
	first := time.Date(2026, 11, 4, 12, 0, 0, 0, time.UTC)
	second, third := first.AddDate(0, 0, 2), first.AddDate(0, 0, 2).Add(6*time.Hour)

	// Days on which little happens; by the second time the older ones' ledgers have gone.
	n := 0
	for day := window.Of(first) - 7; day <= window.Of(first)-1; day++ {
		for range 2 {
			n++
			w.addGolden(goldenID(n), day.Start().Add(time.Duration(n)*time.Hour), first)
		}
	}
	today := window.Of(first).Start()
	for _, n := range []int{goldenCorrected, goldenVanished} {
		w.addGolden(goldenID(n), today.Add(3*time.Hour), first)
	}
	w.addGolden(goldenID(goldenMoved), today.Add(-45*time.Hour), first)
	w.addGolden(goldenText, today.Add(4*time.Hour), first)
	w.addGolden("", today.Add(5*time.Hour), first)
	w.addRow(map[string]any{"id": goldenID(goldenRejected), "callId": "call-r", "startDateTime": stamp(today.Add(6 * time.Hour)), "charge": "much"}, first)
	r := w.run(first)
	r.until("the first rows are published", func() bool { return len(w.records("")) == 2*7+5 && len(w.records(".dlq")) == 1 })
	r.cycles()
	r.end()

	if err := w.sim.CorrectRow(goldenTenant, goldenID(goldenCorrected), func(row map[string]any) { row["duration"] = 99 }, second); err != nil {
		t.Fatal(err)
	}
	if err := w.sim.CorrectRow(goldenTenant, goldenID(goldenMoved), func(row map[string]any) { row["startDateTime"] = stamp(second.Add(-10 * time.Hour)) }, second); err != nil {
		t.Fatal(err)
	}
	if err := w.sim.RemoveRow(goldenTenant, goldenID(goldenVanished), second); err != nil {
		t.Fatal(err)
	}
	for i := range 8 { // several pages
		w.addGolden(goldenID(goldenOldLedger+i), today.AddDate(0, 0, 1).Add(time.Duration(i+1)*time.Hour), second)
	}
	w.addGolden(goldenID(0xb0), today.AddDate(0, 0, 2).Add(time.Hour), second)
	r = w.run(second)
	r.until("what has changed is published", func() bool { return len(w.records("")) == 2*7+5+2+9 })
	r.cycles()
	r.end()

	// The third time it is stopped in the middle of a scan of several pages.
	asked, answer := make(chan struct{}), make(chan struct{})
	w.sim.Script(graphfake.Fault{Kind: graphfake.Hook, Day: today.AddDate(0, 0, 1), Page: 3, Hook: func(graphfake.Request) {
		close(asked)
		<-answer
	}})
	r = w.run(third)
	<-asked
	r.stop()
	close(answer)
	r.end()

	g := w.left(*makeGolden, third)
	g.oldLedger(t, (window.Of(first) + 1).String())
	g.complete(t)
	if t.Failed() {
		return
	}
	g.write(t, path)
	readGolden(t, path).goesOn(t)
}

func (w *goldenWorld) addGolden(id string, start, visible time.Time) {
	w.t.Helper()
	w.addRow(map[string]any{"id": id, "callId": "call-" + id, "startDateTime": stamp(start), "duration": 7, "charge": json.Number("0.25"), "currency": "EUR"}, visible)
}

func (w *goldenWorld) addRow(row map[string]any, visible time.Time) {
	w.t.Helper()
	if err := w.sim.AddRow(goldenTenant, row, visible); err != nil {
		w.t.Fatal(err)
	}
}

// left is what is there now.
func (w *goldenWorld) left(version string, at time.Time) *golden {
	w.t.Helper()
	g := &golden{Version: version, At: at, Endpoint: goldenEndpoint, IDs: map[string]string{}, Sizes: map[string]int32{}}
	for _, row := range w.sim.Truth(goldenTenant) {
		last := row.Versions[len(row.Versions)-1]
		g.rows = append(g.rows, goldenRow{last.JSON, !last.VisibleUntil.IsZero()})
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(w.broker.ListenAddrs()...))
	if err != nil {
		w.t.Fatal(err)
	}
	defer cl.Close()
	found, err := kadm.NewClient(cl).ListTopics(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	there := strings.NewReplacer(w.web.URL, goldenEndpoint)
	for _, topic := range goldenTopics {
		info := found["pstn-calls"+topic]
		g.IDs[topic], g.Sizes[topic] = info.ID.String(), int32(len(info.Partitions))
		newest := map[string]*goldenRecord{}
		for _, rec := range w.records(topic) {
			key := fmt.Sprint(rec.Partition, rec.Offset)
			if topic == ".state" || topic == ".watermark" {
				key = fmt.Sprint(rec.Partition, string(rec.Key))
			}
			r := &goldenRecord{Topic: topic, Partition: rec.Partition, Key: string(rec.Key), Time: rec.Timestamp.UnixMilli(), Value: rec.Value}
			if topic == ".state" && !strings.Contains(r.Key, "/ledger/") {
				r.Value = goldenBinary(there.Replace(string(rec.Value)))
			}
			for _, h := range rec.Headers {
				r.Headers = append(r.Headers, [2]string{h.Key, there.Replace(string(h.Value))})
			}
			if old := newest[key]; old != nil {
				g.recs = slices.DeleteFunc(g.recs, func(x *goldenRecord) bool { return x == old })
			}
			if rec.Value != nil {
				newest[key] = r
				g.recs = append(g.recs, r)
			}
		}
	}
	slices.SortStableFunc(g.recs, func(a, b *goldenRecord) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	return g
}

// oldLedger writes a day's first ledger record as the versions before 1.0.0 wrote it, which this one reads: the head of an entry had
// no bit for a row that is away.
func (g *golden) oldLedger(t *testing.T, day string) {
	t.Helper()
	i := slices.IndexFunc(g.recs, func(r *goldenRecord) bool { return strings.Contains(r.Key, "/ledger/"+day+"/") })
	const entry = 1 + 16 + 8 // of a GUID, few revisions
	b := g.recs[i].Value
	if b[0] != 2 || len(b)%entry != 2 {
		t.Fatalf("%s: %x", g.recs[i].Key, b)
	}
	b[0] = 1
	for at := 2; at < len(b); at += entry {
		if b[at]&0x8f != 0 {
			t.Fatalf("%s: an entry begins with %x", g.recs[i].Key, b[at])
		}
		b[at] >>= 1
	}
}

// complete fails where a kind of record, or of row, is missing.
func (g *golden) complete(t *testing.T) {
	t.Helper()
	kinds := map[string]int{}
	records, rows, moved := map[string][]byte{}, map[string]int{}, uuid.MustParse(goldenID(goldenMoved))
	for _, r := range g.recs {
		if r.Topic != ".state" {
			kinds[r.Topic]++
			continue
		}
		kind, _, _ := strings.Cut(r.Key, "/")
		if id, ok := state.TenantOf(r.Key); ok {
			records[r.Key] = r.Value
			kind, _, _ = strings.Cut(strings.TrimPrefix(r.Key, id+"/pstn/"), "/")
		}
		if kind == "ledger" {
			kind += fmt.Sprint(" ", r.Value[0])
		}
		kinds[kind]++
		if i := bytes.LastIndex(r.Value, moved[:]); kind == "ledger 2" && i > 0 && r.Value[i-1]&8 != 0 { // the head of its entry
			rows["away"]++
		}
	}
	for _, kind := range []string{"", ".dlq", ".watermark", "meta", "commit", "claim", "tenant", "window", "month", "scan", "ledger 1", "ledger 2"} {
		if kinds[kind] == 0 {
			t.Errorf("no record %q among %v", kind, kinds)
		}
	}
	tenant, ok, err := state.Load(goldenTenant, records)
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	for row := range tenant.Ledger {
		for kind, is := range map[string]bool{"revised": row.Revision > 0, "vanished": row.Vanished, "text": row.ID == goldenText, "no id": row.ID[0] == '~'} {
			if is {
				rows[kind]++
			}
		}
		if n := tenant.Window(row.Owner).Rejects; n > 0 {
			rows["rejected"] = int(n)
		}
	}
	if len(rows) != 6 {
		t.Errorf("rows of these kinds only: %v", rows)
	}
	t.Log(kinds, rows)
}
