package state

import (
	"encoding/hex"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pstncalls/internal/window"
)

// goldenDay makes the world of the first golden records: a corrected row, a reject of an id that is text, and a row without one.
func goldenDay(t *testing.T) *world {
	w := newWorld(t)
	at := time.Date(2024, 10, 5, 1, 2, 3, 4e6, time.UTC)
	w.tenant.SetHeader(func(h *Header) {
		h.Requests = &Requests{At: at, Used: []time.Time{at}, Limit: 45}
		h.Conditions = []Condition{{Name: "graph-unreadable", Since: at, Sentence: "why"}}
	})
	see := func(id string, fp uint64, rejected bool) {
		d := w.observe(Seen{ID: id, HasID: id[0] != '~', Fingerprint: fp, Day: day0, Rejected: rejected})
		if d.Action == Leave {
			t.Fatal(d)
		}
	}
	see("9c4984c7-6c3c-427d-a30c-bd0b2eacee90", 0x0102030405060708, false)
	see("9c4984c7-6c3c-427d-a30c-bd0b2eacee90", 0x1112131415161718, false)
	see("9C4984C7-6c3c-427d-a30c-bd0b2eacee90", 2, true)
	see("~h", 3, false)
	w.tenant.Complete(Scanned{Range: window.Range{From: day0, To: day0 + 1}, Begun: at, Pages: 2})
	w.tenant.Settle(day0, at)
	w.tenant.KeepScan(Scan{Range: window.Range{From: day0, To: day0 + 1}, Begun: at, Link: "https://g/?$skip=1", Pages: 1, Rows: 2, APIVersion: "beta", Endpoint: "https://g/beta", Privacy: "p"})
	w.commit()
	return w
}

const goldenLedger = "contoso/pstn/ledger/2024-10-04/1"

// goldenFormat1 is the ledger of goldenDay as it was written before rows had a home.
var goldenFormat1 = "0101" +
	"08" + "9c4984c76c3c427da30cbd0b2eacee90" + "0102030405060708" +
	"10" + "9c4984c76c3c427da30cbd0b2eacee90" + "1112131415161718" +
	"03" + "24" + hex.EncodeToString([]byte("9C4984C7-6c3c-427d-a30c-bd0b2eacee90")) + "0000000000000002" +
	"09" + "02" + "7e68" + "0000000000000003"

// The formats are final: a change of them is a migration of somebody's topics.
func TestGoldenRecords(t *testing.T) {
	wantRecords(t, goldenDay(t), map[string]string{
		goldenLedger: "0201" +
			"10" + "9c4984c76c3c427da30cbd0b2eacee90" + "0102030405060708" +
			"20" + "9c4984c76c3c427da30cbd0b2eacee90" + "1112131415161718" +
			"03" + "24" + hex.EncodeToString([]byte("9C4984C7-6c3c-427d-a30c-bd0b2eacee90")) + "0000000000000002" +
			"11" + "02" + "7e68" + "0000000000000003",
		"contoso/pstn/scan/2024-10-04":   `{"v":1,"range":{"from":"2024-10-04","to":"2024-10-05"},"begun":"2024-10-05T01:02:03.004Z","link":"https://g/?$skip=1","pages":1,"rows":2,"apiVersion":"beta","endpoint":"https://g/beta","privacy":"p"}`,
		"contoso/pstn/tenant":            `{"v":1,"start":"2024-10-04","requests":{"at":"2024-10-05T01:02:03.004Z","used":["2024-10-05T01:02:03.004Z"],"limit":45},"conditions":[{"name":"graph-unreadable","since":"2024-10-05T01:02:03.004Z","sentence":"why"}],"noId":1}`,
		"contoso/pstn/window/2024-10-04": `{"v":1,"rows":2,"events":3,"revisions":1,"rejects":1,"digest":"0daa6ce4e416c2a92aadf001ae6f73fc","seq":1,"firstEvent":"1970-01-01T00:00:00.002Z","scans":1,"pages":2,"lastScan":"2024-10-05T01:02:03.004Z","settled":"2024-10-05T01:02:03.004Z"}`,
	})
}

func wantRecords(t *testing.T, w *world, want map[string]string) {
	t.Helper()
	got := map[string]string{}
	for k, v := range w.topic {
		got[k] = string(v)
		if strings.Contains(k, "/ledger/") {
			got[k] = hex.EncodeToString(v)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// Rows that have moved and vanished, a scan of a part, a window whose end was read later, a month, and all of the tenant's record.
func TestGoldenRecordsOfAll(t *testing.T) {
	w := newWorld(t)
	at := time.Date(2024, 10, 14, 1, 2, 3, 4e6, time.UTC)
	see := func(day window.Day, id string, fp uint64) {
		w.observe(Seen{ID: id, HasID: true, Fingerprint: fp, Day: day})
	}
	see(day0, "9c4984c7-6c3c-427d-a30c-bd0b2eacee90", 1)
	see(day0+1, "9c4984c7-6c3c-427d-a30c-bd0b2eacee90", 2)
	see(day0+1, "text", 3)
	see(day0, "text", 4)
	see(day0+1, "9c4984c7-6c3c-427d-a30c-bd0b2eacee91", 5)
	w.scan(day0 + 1)
	w.tenant.CompleteTail(day0+1, (day0 + 1).End(), at)
	w.observe(rejected(rowOn(day0+3, 1, 7)))
	w.observe(rowOn(day0+3, 1, 7))
	w.observe(rowOn(day0+3, 1, 8))
	w.scan(day0 + 3)
	w.settle(day0+2, day0+5)
	w.tenant.Drop((day0 + 3).End().Add(week+ledgerLife), week)
	w.tenant.KeepScan(Scan{Range: window.Range{From: day0 + 1, To: day0 + 2}, From: &at, Begun: at, Link: "x", APIVersion: "beta", Endpoint: "https://g/beta"})
	w.tenant.SetHeader(func(h *Header) {
		h.Conditions = []Condition{{Name: "clock", Since: at, Sentence: "why", Until: &at}}
		h.Lateness = []int64{1, 0, 2}
		h.Reading = &Reading{Times: TimesHonoured, End: EndExclusive, TimesProved: &at, EndProved: &at, Proofs: 3}
		h.Backfill = &Backfill{Began: at, At: at, Days: 1, Pages: 2, Rows: 3}
	})
	w.check()
	wantRecords(t, w, map[string]string{
		"contoso/pstn/ledger/2024-10-04/1": "0201" +
			"10" + "9c4984c76c3c427da30cbd0b2eacee90" + "0000000000000001" +
			"28" + "9c4984c76c3c427da30cbd0b2eacee90" + "0000000000000002" + "02" +
			"2c" + "9c4984c76c3c427da30cbd0b2eacee90" + "0000000000000002" + "02",
		"contoso/pstn/ledger/2024-10-05/1": "0201" +
			"11" + "04" + "74657874" + "0000000000000003" +
			"29" + "04" + "74657874" + "0000000000000004" + "01" +
			"10" + "9c4984c76c3c427da30cbd0b2eacee91" + "0000000000000005" +
			"14" + "9c4984c76c3c427da30cbd0b2eacee91" + "0000000000000005",
		"contoso/pstn/month/2024-10":     `{"v":1,"settled":"00000060","days":{"07":{"rows":1,"events":2,"rejects":1,"vanished":1,"digest":"379001a0bcdd6060aee69d0cd7b31079","first":"1970-01-01T00:00:00.016Z"}}}`,
		"contoso/pstn/scan/2024-10-05":   `{"v":1,"range":{"from":"2024-10-05","to":"2024-10-06"},"from":"2024-10-14T01:02:03.004Z","begun":"2024-10-14T01:02:03.004Z","link":"x","pages":0,"rows":0,"apiVersion":"beta","endpoint":"https://g/beta"}`,
		"contoso/pstn/tenant":            `{"v":1,"start":"2024-10-04","conditions":[{"name":"clock","since":"2024-10-14T01:02:03.004Z","sentence":"why","until":"2024-10-14T01:02:03.004Z"}],"dropped":2,"lateness":[1,0,2],"reading":{"times":"honoured","end":"exclusive","timesProved":"2024-10-14T01:02:03.004Z","endProved":"2024-10-14T01:02:03.004Z","proofs":3},"backfill":{"began":"2024-10-14T01:02:03.004Z","at":"2024-10-14T01:02:03.004Z","days":1,"pages":2,"rows":3}}`,
		"contoso/pstn/window/2024-10-04": `{"v":1,"rows":1,"events":2,"revisions":1,"rejects":0,"vanished":1,"digest":"de9410bccb5a628c6ac840807e52a947","seq":1,"firstEvent":"1970-01-01T00:00:00.002Z","scans":0,"pages":0}`,
		"contoso/pstn/window/2024-10-05": `{"v":1,"rows":2,"events":3,"revisions":1,"rejects":0,"vanished":1,"digest":"cddb80a27fb7f60eca5b69c0ad328ef7","seq":1,"firstEvent":"1970-01-01T00:00:00.006Z","scans":1,"pages":1,"lastScan":"2024-10-06T00:00:00Z","tail":"2024-10-14T01:02:03.004Z"}`,
		"contoso/pstn/window/2024-10-08": `{"v":1,"rows":0,"events":0,"revisions":0,"rejects":0,"digest":"00000000000000000000000000000000","scans":1,"pages":1,"lastScan":"2024-10-10T00:00:00Z","settled":"2024-10-10T00:00:00Z"}`,
		"contoso/pstn/window/2024-10-09": `{"v":1,"rows":0,"events":0,"revisions":0,"rejects":0,"digest":"00000000000000000000000000000000","scans":1,"pages":1,"lastScan":"2024-10-10T00:00:00Z","settled":"2024-10-10T00:00:00Z"}`,
	})
}

// A ledger record of format 1 is read as ever, and never written back.
func TestGoldenFormat1(t *testing.T) {
	w := goldenDay(t)
	old, err := hex.DecodeString(goldenFormat1)
	if err != nil {
		t.Fatal(err)
	}
	w.topic[goldenLedger] = old
	if diff := differences(w.tenant, w.load()); diff != "" {
		t.Fatalf("format 2 (-) and 1 (+):\n%s", diff)
	}
	w.restart()
	o := w.tenant.own(day0)
	o.Settled, o.dirty = nil, true
	w.observe(Seen{ID: "~h", Fingerprint: 3, Day: day0})
	w.check()
	if _, ok := w.topic["contoso/pstn/ledger/2024-10-04/2"]; ok {
		t.Error("a row that is known as it is was written")
	}
	w.observe(Seen{ID: "9c4984c7-6c3c-427d-a30c-bd0b2eacee90", HasID: true, Fingerprint: 4, Day: day0})
	w.check()
	if got := w.topic["contoso/pstn/ledger/2024-10-04/2"]; len(got) < 3 || got[0] != segmentFormat || got[2] != 0x30 {
		t.Errorf("got %x, want revision 2 in format 2", got)
	}
	if w.topic[goldenLedger][0] != 1 {
		t.Error("the old record was written again")
	}
}

// format1 writes a ledger record of rows that are at home as format 1 did.
func format1(t *testing.T, data []byte) []byte {
	t.Helper()
	out := []byte{1, segmentAlgorithm}
	err := decodeSegment(data, day0, func(e entry, text string, _ window.Day) {
		if e.has(flagAway) {
			t.Fatal("format 1 has no row that is away")
		}
		head := uint64(e.revision+1) << 3
		for i, f := range []flags{flagText, flagRejected, flagVanished} {
			if e.has(f) {
				head |= 1 << i
			}
		}
		for ; head >= 0x80; head >>= 7 {
			out = append(out, byte(head)|0x80)
		}
		out = append(out, byte(head))
		one := appendEntry(nil, &entry{key: e.key, fingerprint: e.fingerprint, revision: -1, flags: e.flags & flagText}, text, 0)
		out = append(out, one[1:]...)
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Records of both formats are merged into one of the new one.
func TestMergeOfBothFormats(t *testing.T) {
	w := newWorld(t)
	for i := range mergeRun {
		switch n := i % 50; {
		case n == 7:
			w.observe(Seen{ID: "text", HasID: true, Fingerprint: uint64(i), Day: day0})
		case n == 8:
			w.observe(rejected(rowOn(day0, n, uint64(i))))
		case n == 9: // a head of several bytes
			for fp := range uint64(20) {
				w.observe(rowOn(day0, n, fp+uint64(i)))
			}
		default:
			w.observe(rowOn(day0, n, uint64(i)))
		}
		w.commit()
		if key := ledgerKey(testTenant, day0, uint64(i+1)); i%3 != 0 {
			w.topic[key] = format1(t, w.topic[key])
		}
	}
	w.restart()
	w.observe(rowOn(day0+1, 10, 100)) // moves
	w.observe(rowOn(day0, 11, 100))
	if !w.commit() {
		t.Fatal("not merged")
	}
	w.check()
	for k, v := range w.topic {
		if strings.Contains(k, "/ledger/") && v[0] != segmentFormat {
			t.Errorf("%s has format %d", k, v[0])
		}
	}
	if got := homeOf(w.load(), 10); got != day0+1 {
		t.Errorf("its home is %s", got)
	}
}

// A row that had moved before format 2 is taken to be at home until a scan returns it; that is noted then, and nothing published.
func TestMovedBeforeFormat2(t *testing.T) {
	w := newWorld(t)
	w.observe(rowOn(day0, 1, 1))
	w.observe(rowOn(day0, 1, 2)) // in truth it was in the next day
	w.commit()
	key := ledgerKey(testTenant, day0, 1)
	w.topic[key] = format1(t, w.topic[key])
	w.restart()
	if d := w.observe(rowOn(day0+1, 1, 2)); d.Action != Nothing || d.Owner != day0 {
		t.Fatalf("got %+v, want Nothing", d)
	}
	w.restart()
	if got := homeOf(w.tenant, 1); got != day0+1 {
		t.Errorf("its home is %s", got)
	}
	topic := maps.Clone(w.topic)
	w.observe(rowOn(day0+1, 1, 2))
	w.check()
	if diff := cmp.Diff(topic, w.topic); diff != "" {
		t.Errorf("written again:\n%s", diff)
	}
}
