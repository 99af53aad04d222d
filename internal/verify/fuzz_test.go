package verify

import (
	"bytes"
	"testing"
	"time"

	"pstncalls/internal/kafka"
	"pstncalls/internal/window"
	"pstncalls/schema"
)

// FuzzEvent: any record of the events topic is counted exactly once, as an event, as one beyond the state, as an odd one or as
// somebody else's, and twice the same record is twice the digest.
func FuzzEvent(f *testing.F) {
	const tenant, shards = "contoso", 12
	shard := kafka.ShardOf(tenant, shards)
	call := schema.PstnCall{TenantID: tenant, RowID: "a", ObservedAt: time.UnixMilli(1)}
	avro, err := schema.AppendPstnCall(nil, &call)
	if err != nil {
		f.Fatal(err)
	}
	lines := func(h schema.Headers) (b []byte) {
		for _, header := range h.Append(nil) {
			b = append(append(append(append(b, header.Key...), '='), header.Value...), '\n')
		}
		return b
	}
	h := schema.Headers{RowID: "a", TenantID: tenant, Source: "https://graph.example/beta", Time: time.UnixMilli(1), Subject: "k", Owner: "2026-11-01", Shard: shard, Commit: 3}
	f.Add(lines(h), []byte("k"), schema.AppendSingleObject(nil, avro))
	f.Add(lines(h), []byte("other"), schema.AppendConfluent(nil, 1, avro))
	f.Add(lines(h), []byte("k"), avro)
	h.Commit, h.Revision = 9, 1<<31-1
	f.Add(lines(h), []byte("k"), schema.AppendConfluent(nil, 1, nil))
	h.Shard = (shard + 1) % shards
	f.Add(lines(h), []byte("k"), []byte{0})
	f.Add([]byte("ce_id=a/0\n"), []byte(nil), []byte(nil))
	marks := map[int32]kafka.Mark{shard: {N: 5}}
	all := func(dayKey) bool { return true }
	f.Fuzz(func(t *testing.T, lines, key, value []byte) {
		rec := kafka.Record{Key: key, Value: value, Partition: 1, Offset: 7}
		for line := range bytes.Lines(lines) {
			name, value, _ := bytes.Cut(bytes.TrimSuffix(line, []byte("\n")), []byte("="))
			rec.Headers = append(rec.Headers, schema.Header{Key: string(name), Value: value})
		}
		one, two := newTally(shards, nil), newTally(shards, nil)
		one.note(&rec, marks, all)
		two.note(&rec, marks, all)
		e, err := newParser(shards, nil).parse(&rec)
		if one.foreign != int64(len(one.first)) || (err != nil) != (one.foreign == 1) || one.records != 1 {
			t.Fatalf("%v, and %d of %d records are foreign", err, one.foreign, one.records)
		}
		counted := one.foreign + int64(len(one.beyond))
		for _, n := range one.odd {
			counted += n
		}
		for k, c := range one.days {
			counted += c.Events
			if k != e.dayKey || k.day != mustParse(t, k.day.String()) {
				t.Fatalf("an event of %v is counted for %v", e.dayKey, k)
			}
		}
		if counted != 1 {
			t.Fatalf("counted %d times: %+v", counted, one)
		}
		digest := Counts{}
		if c := one.days[e.dayKey]; c != nil {
			digest = *c
		}
		one.add(two)
		if c := one.days[e.dayKey]; c != nil && (c.Events != 2 || c.Digest != digest.Digest.Add(digest.Digest)) {
			t.Fatalf("twice is %+v, once was %+v", c, digest)
		}
	})
}

func mustParse(t *testing.T, s string) window.Day {
	t.Helper()
	d, err := window.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}
