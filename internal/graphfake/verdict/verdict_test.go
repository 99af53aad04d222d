package verdict

import (
	"encoding/json"
	"fmt"
	"iter"
	"strings"
	"testing"
	"time"

	"pstncalls/internal/graphfake/calllog"
)

const start = `"startDateTime":"2026-11-01T10:00:00.1239999Z"`

func hour(n int) time.Time { return time.Date(2026, 11, 2, n, 0, 0, 0, time.UTC) }

// truth returns a row whose i-th version says docs[i] from hour i on.
func truth(id string, docs ...string) calllog.TrueRow {
	r := calllog.TrueRow{Tenant: "t", ID: id, Ident: id}
	for i, d := range docs {
		v := calllog.TrueVersion{VisibleFrom: hour(i), Start: hour(0), JSON: json.RawMessage(d)}
		if i < len(docs)-1 {
			v.VisibleUntil = hour(i + 1)
		}
		r.Versions = append(r.Versions, v)
	}
	return r
}

func doc(id, rest string) string { return `{"id":"` + id + `",` + start + rest + `}` }

// event returns the event of a row: properties as the topic has them.
func event(id string, revision int32, rest string) Event {
	v := fmt.Sprintf(`{"tenantId":"t","rowId":%q,"revision":%d,"observedAt":"2026-11-02T00:00:00.000Z","id":%q,
		"startDateTime":"2026-11-01T10:00:00.123Z","callId":null%s}`, id, revision, id, rest)
	return Event{TenantID: "t", RowID: id, Revision: revision, Value: json.RawMessage(v), Offset: int64(revision)}
}

func seq(events []Event) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		for _, e := range events {
			if !yield(e, nil) {
				return
			}
		}
	}
}

func TestVerdict(t *testing.T) {
	a, b, c := `,"charge":0.00`, `,"charge":1.20`, `,"charge":1.30`
	three := truth("r", doc("r", a), doc("r", b), doc("r", c))
	back := truth("r", doc("r", a), doc("r", b), doc("r", a))
	bad := `{"id":"r","startDateTime":null}`
	anon := calllog.TrueRow{Tenant: "t", Ident: "hidden", Versions: truth("", `{`+start+a+`}`).Versions}
	nameless := func(row string) Event {
		e := event(row, 0, a)
		e.Value = json.RawMessage(strings.Replace(string(e.Value), `"id":"`+row+`"`, `"id":null`, 1))
		return e
	}
	move := func(e Event, partition int32, offset int64) Event {
		e.Partition, e.Offset = partition, offset
		return e
	}
	ev := event
	type events = []Event
	for _, test := range []struct {
		name    string
		truth   calllog.TrueRow
		events  []Event
		rejects []Reject
		opt     Options
		want    string
	}{
		{"all", three, events{ev("r", 0, a), ev("r", 1, b), ev("r", 2, c)}, nil, Options{}, "1 3 2 0 0 0 0"},
		{"unseen versions", three, events{ev("r", 0, c)}, nil, Options{}, "1 1 0 0 0 0 0"},
		{"spelling of money", three, events{ev("r", 0, `,"charge":1.3`)}, nil, Options{}, "1 1 0 0 0 0 0"},
		{"other partition", three, events{move(ev("r", 1, c), 1, 0), move(ev("r", 0, b), 2, 9)}, nil, Options{}, "1 2 1 0 0 0 0"},
		{"back again", back, events{ev("r", 0, a), ev("r", 1, b), ev("r", 2, a)}, nil, Options{}, "1 3 2 0 0 0 0"},
		{"between unseen", back, events{ev("r", 0, a)}, nil, Options{}, "1 1 0 0 0 0 0"},
		{"finer than a millisecond", truth("r", doc("r", a), strings.Replace(doc("r", a), "9999Z", "9998Z", 1)),
			events{ev("r", 0, a), ev("r", 1, a)}, nil, Options{}, "1 2 1 0 0 0 0"},
		{"seven decimals", truth("r", doc("r", `,"charge":0.0000015`)),
			events{ev("r", 0, `,"charge":0.000002,"extra":{"charge":"0.0000015"}`)}, nil, Options{}, "1 1 0 0 0 0 0"},
		{"rounded to even", truth("r", doc("r", `,"charge":0.0000025`)),
			events{ev("r", 0, `,"charge":0.000002,"extra":{"charge":"0.0000025"}`)}, nil, Options{}, "1 1 0 0 0 0 0"},
		{"unknown property", truth("r", doc("r", `,"new":{"a":[1.0,null],"b":"é"},"@odata.type":"#x"`)),
			events{ev("r", 0, `,"extra":{"new":"{\"b\":\"\\u00e9\",\"a\":[1,null]}"}`)}, nil, Options{}, "1 1 0 0 0 0 0"},
		{"year one", truth("r", doc("r", `,"endDateTime":"0001-01-01T00:00:00Z"`)), events{ev("r", 0, "")}, nil, Options{}, "1 1 0 0 0 0 0"},
		{"v1.0", truth("r", doc("r", `,"otherPartyCountryCode":"US"`)), events{ev("r", 0, "")}, nil, Options{V1: true}, "1 1 0 0 0 0 0"},
		{"reject", truth("r", bad), nil, []Reject{{"t", "r"}, {"t", "r"}}, Options{}, "1 0 0 1 0 0 0"},
		{"mended reject", truth("r", bad, doc("r", a)), events{ev("r", 0, a)}, []Reject{{"t", "r"}}, Options{}, "1 1 0 1 0 0 0"},
		{"reject between", truth("r", doc("r", a), bad, doc("r", a)), events{ev("r", 0, a), ev("r", 1, a)}, []Reject{{"t", "r"}}, Options{}, "1 2 1 1 0 0 0"},
		{"too much money", truth("r", doc("r", `,"charge":1000000000000`)), nil, []Reject{{"t", "r"}}, Options{}, "1 0 0 1 0 0 0"},
		{"without id", anon, events{nameless("~1")}, nil, Options{}, "1 1 0 0 0 0 0"},
		{"as of", three, events{ev("r", 0, b)}, nil, Options{AsOf: hour(1)}, "1 1 0 0 0 0 0"},
		{"as of before", three, nil, nil, Options{AsOf: hour(0).Add(-1)}, "0 0 0 0 0 0 0"},
		{"not settled", three, events{ev("r", 0, b)}, nil, Options{AsOf: hour(2).Add(time.Minute), Settle: time.Hour}, "1 1 0 0 0 0 0"},
		{"since", three, nil, nil, Options{Since: hour(5)}, "0 0 0 0 0 0 0"},

		{"no event", three, nil, nil, Options{}, "1 0 0 0 1 0 0"},
		{"last version missing", three, events{ev("r", 0, a), ev("r", 1, b)}, nil, Options{}, "1 2 1 0 1 0 0"},
		{"reject missing", truth("r", bad), nil, nil, Options{}, "1 0 0 0 1 0 0"},
		{"without id, no event", anon, nil, nil, Options{}, "1 0 0 0 1 0 0"},
		{"settled", three, events{ev("r", 0, b)}, nil, Options{AsOf: hour(4), Settle: time.Hour}, "1 1 0 0 1 0 0"},
		{"not back again", back, events{ev("r", 0, a), ev("r", 1, b)}, nil, Options{}, "1 2 1 0 1 0 0"},

		{"same revision", three, events{ev("r", 0, c), ev("r", 0, c)}, nil, Options{}, "1 2 0 0 0 1 0"},
		{"same content", three, events{ev("r", 0, c), ev("r", 1, c)}, nil, Options{}, "1 2 1 0 0 1 0"},
		{"same content, unseen between", back, events{ev("r", 0, a), ev("r", 1, a)}, nil, Options{}, "1 2 1 0 0 1 0"},
		{"without id twice", anon, events{nameless("~1"), nameless("~2")}, nil, Options{}, "1 2 0 0 0 1 0"},

		{"no such version", three, events{ev("r", 0, `,"charge":9`), ev("r", 1, c)}, nil, Options{}, "1 2 1 0 0 0 1"},
		{"revision skipped", three, events{ev("r", 0, a), ev("r", 2, c)}, nil, Options{}, "1 2 1 0 0 0 1"},
		{"revision 0 missing", three, events{ev("r", 1, c)}, nil, Options{}, "1 1 1 0 0 0 1"},
		{"backwards", three, events{ev("r", 0, b), ev("r", 1, a), ev("r", 2, c)}, nil, Options{}, "1 3 2 0 0 0 1"},
		{"order on a partition", three, events{move(ev("r", 0, b), 0, 5), move(ev("r", 1, c), 0, 4)}, nil, Options{}, "1 2 1 0 0 0 1"},
		{"unknown row", three, events{ev("r", 0, c), ev("q", 0, c)}, nil, Options{}, "1 2 0 0 0 0 1"},
		{"sound row rejected", three, events{ev("r", 0, c)}, []Reject{{"t", "r"}}, Options{}, "1 1 0 0 0 0 1"},
		{"unknown row rejected", three, events{ev("r", 0, c)}, []Reject{{"t", "q"}}, Options{}, "1 1 0 0 0 0 1"},
		{"garbage", three, events{{TenantID: "t", RowID: "r", Value: json.RawMessage(`{"duration":"x"}`)}, ev("r", 1, c)}, nil, Options{}, "1 2 1 0 0 0 1"},
		{"no literal in extra", truth("r", doc("r", `,"charge":0.0000015`)), events{ev("r", 0, `,"charge":0.000002`)}, nil, Options{}, "1 1 0 0 1 0 1"},
		{"unknown property missing", truth("r", doc("r", `,"new":1`)), events{ev("r", 0, "")}, nil, Options{}, "1 1 0 0 1 0 1"},
		{"disagreeing revision", three, events{ev("r", 0, c), func() Event { e := ev("r", 1, c); e.Revision = 7; return e }()}, nil, Options{}, "1 2 1 0 0 0 1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			v, err := Compare([]calllog.TrueRow{test.truth}, seq(test.events), test.rejects, test.opt)
			if err != nil {
				t.Fatal(err)
			}
			got := fmt.Sprint(v.Rows, v.Events, v.Revisions, v.Rejects, v.Lost, v.Doubled, v.Wrong)
			if got != test.want {
				t.Errorf("rows events revisions rejects lost doubled wrong = %s, want %s; %q", got, test.want, v.Details)
			}
			if len(v.Details) != v.Lost+v.Doubled+v.Wrong || v.OK() != (len(v.Details) == 0) {
				t.Errorf("details %q", v.Details)
			}
		})
	}
}

// Every documented property is compared: a change to any of them is wrong.
func TestEveryPropertyCounts(t *testing.T) {
	values := map[kind][2]string{text: {`"a"`, `"b"`}, instant: {`"2026-11-01T10:00:00.123Z"`, `"2026-11-01T10:00:00.124Z"`},
		money: {`0.1`, `0.100001`}, seconds: {`1`, `2`}, units: {`[{"id":"a"}]`, `[]`}}
	names := strings.Fields(`callId userId userPrincipalName userDisplayName startDateTime endDateTime duration callDurationSource callType
		callerNumber calleeNumber charge connectionCharge currency destinationContext destinationName conferenceId licenseCapability
		inventoryType operator tenantCountryCode usageCountryCode otherPartyCountryCode administrativeUnitInfos clientPublicIpV4Address
		clientPublicIpV6Address clientLocalIpV4Address clientLocalIpV6Address`)
	for _, name := range names {
		v := values[kindOf(name)]
		row := truth("r", doc("r", `,"`+name+`":`+v[0]))
		for i, want := range []int{0, 1} {
			got, err := Compare([]calllog.TrueRow{row}, seq([]Event{event("r", 0, `,"`+name+`":`+v[i])}), nil, Options{})
			if err != nil || got.Wrong != want {
				t.Errorf("%s = %s: wrong=%d (%v), want %d", name, v[i], got.Wrong, err, want)
			}
		}
	}
}

func TestVerdictLine(t *testing.T) {
	got := Verdict{Rows: 1, Events: 2, Revisions: 3, Rejects: 4}.String()
	if want := "verdict: rows=1 events=2 revisions=3 rejects=4 lost=0 doubled=0 wrong=0"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestDetailsAreBounded(t *testing.T) {
	var rows []calllog.TrueRow
	for i := range 50 {
		rows = append(rows, truth(fmt.Sprint(i), doc(fmt.Sprint(i), "")))
	}
	v, err := Compare(rows, seq(nil), nil, Options{})
	if err != nil || v.Lost != 50 || len(v.Details) != maxDetails {
		t.Errorf("lost %d, %d details, %v", v.Lost, len(v.Details), err)
	}
}
