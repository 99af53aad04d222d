package verify

import (
	"testing"
	"time"

	"pstncalls/internal/kafka"
	"pstncalls/schema"
)

func headersOf(change func(*schema.Headers)) []schema.Header {
	h := schema.Headers{RowID: "9c4984c7-6c3c-427d-a30c-bd0b2eacee90", Revision: 12, TenantID: "contoso", Source: "https://graph.microsoft.com/beta",
		Time: time.Date(2026, 11, 22, 12, 0, 0, 500e6, time.UTC), Subject: "183@61.221.3.176", Fingerprint: 0xabc0123456789def, Owner: "2026-11-01", Shard: 3, Commit: 1 << 40}
	change(&h)
	return h.Append(nil)
}

// TestParse says of foreign records what they lack.
func TestParse(t *testing.T) {
	value := schema.AppendSingleObject(nil, []byte("avro"))
	for name, tt := range map[string]struct {
		change func([]schema.Header) []schema.Header
		value  []byte
		err    string
	}{
		"as it is":        {func(h []schema.Header) []schema.Header { return h }, value, ""},
		"a large commit":  {func(h []schema.Header) []schema.Header { h[len(h)-1].Value = []byte("3/1234567890123456789"); return h }, value, ""},
		"one more header": {func(h []schema.Header) []schema.Header { return append(h, schema.Header{Key: "trace"}) }, value, ""},
		"one missing":     {func(h []schema.Header) []schema.Header { return h[1:] }, value, "header ce_specversion: missing"},
		"one twice":       {func(h []schema.Header) []schema.Header { return append(h, h[3]) }, value, "header ce_source: comes twice"},
		"not framed":      {func(h []schema.Header) []schema.Header { return h }, []byte("{}"), "value: neither Confluent's framing nor Avro's single-object encoding"},
	} {
		rec := &kafka.Record{Key: []byte("183@61.221.3.176"), Value: tt.value, Headers: tt.change(headersOf(func(*schema.Headers) {}))}
		e, err := newParser(12, nil).parse(rec)
		if tt.err != "" {
			if err == nil || err.Error() != tt.err {
				t.Errorf("%s: %v, want %s", name, err, tt.err)
			}
			continue
		}
		if err != nil || e.tenant != "contoso" || e.rowID != "9c4984c7-6c3c-427d-a30c-bd0b2eacee90" || string(e.avro) != "avro" || e.home != kafka.ShardOf("contoso", 12) || e.misplaced {
			t.Errorf("%s: %+v, %v", name, e, err)
		}
	}
}
