package status

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pstncalls/internal/kafka"
	"pstncalls/internal/state"
)

// A shard's conditions follow from its state and what the cluster says; where the cluster says nothing, nothing is made up.
func TestDerive(t *testing.T) {
	const shards, mib = 3, 1 << 20
	const shard = 0 // contoso's
	if kafka.ShardOf("contoso", shards) != shard {
		t.Fatal("contoso is of another shard")
	}
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	member, nobody := map[int32]string{0: "/10.0.0.1", 1: "/10.0.0.1", 2: "/10.0.0.1"}, map[int32]string{}
	with := func(names ...string) (h state.Header) {
		for _, name := range names {
			h.Conditions = append(h.Conditions, state.Condition{Name: name})
		}
		return h
	}
	hold := now.Add(time.Hour)
	tests := map[string]struct {
		header state.Header
		none   bool // no tenant at all
		mark   time.Duration
		facts  kafka.Facts
		live   int64
		want   []string
	}{
		"healthy":                                   {mark: time.Minute, facts: kafka.Facts{Assigned: member, Open: map[int32]kafka.Transaction{shard: {Began: ago(time.Second), Timeout: 20 * time.Second}}, Bytes: map[int32]int64{shard: mib}}},
		"nobody has it":                             {mark: time.Minute, facts: kafka.Facts{Assigned: nobody}, want: []string{NoOwner}},
		"nobody has it, and it has no tenant":       {none: true, mark: time.Hour, facts: kafka.Facts{Assigned: nobody}},
		"the group may not be seen, commits":        {mark: 29 * time.Minute},
		"the group may not be seen, no commits":     {mark: 31 * time.Minute, want: []string{NoOwner}},
		"no commits":                                {mark: 31 * time.Minute, facts: kafka.Facts{Assigned: member}, want: []string{NotCommitted}},
		"commits as late as they may be":            {mark: 29 * time.Minute, facts: kafka.Facts{Assigned: member}},
		"no commits, for Graph gives nothing":       {header: with(GraphUnreadable), mark: time.Hour, facts: kafka.Facts{Assigned: member}},
		"no commits, for Graph allows nothing":      {header: state.Header{Requests: &state.Requests{Hold: &hold}}, mark: time.Hour, facts: kafka.Facts{Assigned: member}},
		"no commits, for nobody wants the tenant":   {header: with(TenantUnconfigured), mark: time.Hour, facts: kafka.Facts{Assigned: member}},
		"no commits, though the rows only vanish":   {header: with(RowsVanished), mark: time.Hour, facts: kafka.Facts{Assigned: member}, want: []string{NotCommitted}},
		"a transaction within its timeout":          {mark: time.Minute, facts: kafka.Facts{Assigned: member, Open: map[int32]kafka.Transaction{shard: {Began: ago(50 * time.Second), Timeout: 20 * time.Second}}}},
		"a transaction beyond its timeout":          {mark: time.Minute, facts: kafka.Facts{Assigned: member, Open: map[int32]kafka.Transaction{shard: {Began: ago(51 * time.Second), Timeout: 20 * time.Second}}}, want: []string{TransactionOpen}},
		"a large partition, and all of it alive":    {mark: time.Minute, facts: kafka.Facts{Assigned: member, Bytes: map[int32]int64{shard: 600 * mib}}, live: 75 * mib},
		"a large partition, and little of it alive": {mark: time.Minute, facts: kafka.Facts{Assigned: member, Bytes: map[int32]int64{shard: 600*mib + 1}}, live: 75 * mib, want: []string{StateGrowing}},
		"a small partition, and little of it alive": {mark: time.Minute, facts: kafka.Facts{Assigned: member, Bytes: map[int32]int64{shard: 512 * mib}}, live: 1},
	}
	for name, tt := range tests {
		sv := &kafka.StateView{Group: "g", Shards: shards, State: map[string][]byte{}, Marks: map[int32]kafka.Mark{shard: {At: ago(tt.mark)}}, Live: map[int32]int64{shard: tt.live}}
		if !tt.none {
			tt.header.V = state.Version
			value, err := json.Marshal(tt.header)
			if err != nil {
				t.Fatal(err)
			}
			sv.State["contoso/pstn/tenant"] = value
		}
		derived, err := Derive(sv, tt.facts, settings, StateLimits, now)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for of, cs := range derived {
			for _, c := range cs {
				if got = append(got, c.Name); of != shard || c.Sentence == "" || c.Since.After(now) {
					t.Errorf("%s: shard %d, %+v", name, of, c)
				}
			}
		}
		if d := cmp.Diff(tt.want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
}

// What everybody looks up in the definitions is there: a name once, with a meaning and something to do.
func TestDefinitions(t *testing.T) {
	seen := map[string]bool{}
	for _, d := range Definitions {
		if seen[d.Name] || d.Meaning == "" || d.Do == "" || DefinitionOf(d.Name) != d {
			t.Errorf("%+v", d)
		}
		seen[d.Name] = true
	}
	if d := DefinitionOf("of-another-version"); d.Do != "" {
		t.Errorf("%+v", d)
	}
}
