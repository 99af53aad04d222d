package state

import (
	"errors"
	"maps"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestShardRecord(t *testing.T) {
	at := time.Date(2024, 10, 5, 1, 2, 3, 0, time.UTC)
	s, err := LoadShard(nil)
	if err != nil || s.Dirty() || len(s.Records()) > 0 {
		t.Fatalf("a shard without a record: %+v, %v", s, err)
	}
	s.Change(func(s *Shard) {
		s.Conditions = []Condition{{Name: "fenced-repeatedly", Since: at, Sentence: "why", Until: &at}}
	})
	rs := s.Records()
	const want = `{"v":1,"conditions":[{"name":"fenced-repeatedly","since":"2024-10-05T01:02:03Z","sentence":"why","until":"2024-10-05T01:02:03Z"}]}`
	if len(rs) != 1 || rs[0].Key != "shard" || string(rs[0].Value) != want || s.Dirty() {
		t.Fatalf("records %s", rs)
	}
	again, err := LoadShard(map[string][]byte{"shard": rs[0].Value})
	if d := cmp.Diff(s.Conditions, again.Conditions); err != nil || d != "" {
		t.Errorf("read again: %v %s", err, d)
	}
	if _, ok := TenantOf(ShardKey); ok {
		t.Error("the record of a shard is taken for a tenant's")
	}
	if _, err := LoadShard(map[string][]byte{"shard": []byte(`{"v":2}`)}); !errors.Is(err, ErrNewer) {
		t.Errorf("of a newer version: %v", err)
	}
	var damaged *DamagedError
	if _, err := LoadShard(map[string][]byte{"shard": []byte(`{`)}); !errors.As(err, &damaged) {
		t.Errorf("damaged: %v", err)
	}
}

// A record of a tenant that is not polled can be changed without its ledgers, and what else is in it stays.
func TestStrangers(t *testing.T) {
	records := map[string][]byte{}
	add := func(id string) {
		s := New(id, day0)
		s.SetHeader(func(h *Header) { h.NoID = 7 })
		rs, _, err := s.Records()
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range rs {
			records[r.Key] = r.Value
		}
	}
	add("contoso")
	add("fabrikam")
	records["newer/pstn/tenant"] = []byte(`{"v":2}`)
	records["contoso/pstn/window/2024-10-05"] = []byte(`{`) // nobody reads it
	maps.Copy(records, map[string][]byte{"shard": nil, "signal/1/pstn/tenant": nil})
	got := Strangers(func(id string) bool { return id == "fabrikam" }, records)
	if len(got) != 1 || got[0].ID != "contoso" {
		t.Fatalf("strangers %+v", got)
	}
	got[0].Header.Conditions = []Condition{{Name: "tenant-unconfigured"}}
	r := got[0].Record()
	if h, err := HeaderOf(r.Key, r.Value); err != nil || h.NoID != 7 || h.Start != day0 || len(h.Conditions) != 1 || r.Key != "contoso/pstn/tenant" {
		t.Errorf("%s %s: %v", r.Key, r.Value, err)
	}
}

func TestArrivals(t *testing.T) {
	begin := time.Date(2024, 10, 5, 0, 0, 0, 0, time.UTC)
	at := func(hours int) time.Time { return begin.Add(time.Duration(hours) * time.Hour) }
	var a Arrivals
	arrive := func(hours ...int) {
		for _, h := range hours {
			a.Arrived(at(h))
		}
	}
	arrive(0, 3, 10)
	if a.Longest() != 7*time.Hour || a.Silent(at(10+22)) {
		t.Fatalf("within the first week: %+v", a)
	}
	a.Interrupted(at(100)) // what was missed meanwhile nobody knows
	arrive(101)
	for h := 105; h <= 200; h += 5 {
		arrive(h)
	}
	if a.Longest() != 7*time.Hour {
		t.Errorf("the longest is %v", a.Longest())
	}
	last := 200
	if a.Silent(at(last+21)) || !a.Silent(at(last+22)) {
		t.Errorf("three times the longest: %t, %t", a.Silent(at(last+21)), a.Silent(at(last+22)))
	}
	a.Interrupted(at(last + 22))
	if a.Silent(at(last + 23)) {
		t.Error("silent although nobody looked")
	}
}
