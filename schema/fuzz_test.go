package schema_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pstncalls/schema"
)

// asLines writes headers as lines of key=value, for a fuzzer to change; ofLines reads them back.
func asLines(headers []schema.Header) []byte {
	var b []byte
	for _, h := range headers {
		b = append(append(append(append(b, h.Key...), '='), h.Value...), '\n')
	}
	return b
}

func ofLines(lines []byte) (headers []schema.Header) {
	for line := range bytes.Lines(lines) {
		key, value, _ := bytes.Cut(bytes.TrimSuffix(line, []byte("\n")), []byte("="))
		headers = append(headers, schema.Header{Key: string(key), Value: value})
	}
	return headers
}

// FuzzParseHeaders: whatever is accepted is what Append writes, so that no two texts mean one event; a refusal names the header and
// shows no value.
func FuzzParseHeaders(f *testing.F) {
	example := string(asLines(exampleHeaders().Append(nil)))
	f.Add([]byte(example))
	for _, change := range [][2]string{{"/2\n", "/02\n"}, {"/2\n", "/-1\n"}, {"beta/", ""}, {".500Z", ".5Z"}, {"2019-11-01", "2019-11-31"}, {"0abc", "0ABC"},
		{"3/", "2147483648/"}, {"1.0", "1.1"}, {"ce_subject=", "ce_subject=\nwas="}, {"ce_dataschema=http", "ce_dataschema=\nwas=http"}, {"2026-11-22T10", "0000-01-01T00"}} {
		changed := strings.Replace(example, change[0], change[1], 1)
		if changed == example {
			f.Fatalf("no %q in %s", change[0], example)
		}
		f.Add([]byte(changed))
	}
	f.Add([]byte(example + "ce_id=x/1\n"))
	f.Fuzz(func(t *testing.T, lines []byte) {
		headers := ofLines(lines)
		h, err := schema.ParseHeaders(headers)
		if err != nil {
			name, why, _ := strings.Cut(strings.TrimPrefix(err.Error(), "header "), ": ")
			if !strings.HasPrefix(name, "ce_") && !strings.HasPrefix(name, "pstn-") && name != "content-type" || !strings.Contains("missing, comes twice, malformed", why) {
				t.Fatalf("error %q", err)
			}
			return
		}
		said := map[string]string{}
		for _, header := range headers {
			if header.Key != schema.HeaderDataSchema || len(header.Value) > 0 { // Append leaves an empty one out
				said[header.Key] = string(header.Value)
			}
		}
		again := h.Append(nil)
		for _, header := range again {
			if got, ok := said[header.Key]; !ok || got != string(header.Value) {
				t.Fatalf("%s is %q, and written again as %q", header.Key, got, header.Value)
			}
		}
		if _, ok := said[schema.HeaderDataSchema]; ok != (len(again) == len(exampleHeaders().Append(nil))) {
			t.Fatalf("written again as %d headers", len(again))
		}
		if shard, commit, ok := schema.CommitOf(headers); !ok || shard != h.Shard || commit != h.Commit {
			t.Fatalf("commit %d/%d, and %d/%d (%t) where it is read alone", h.Shard, h.Commit, shard, commit, ok)
		}
		if h.RowID == "" || h.TenantID == "" || strings.Contains(h.TenantID, "/") || h.Revision < 0 || h.Shard < 0 || h.Commit < 1 || h.Time.Location() != time.UTC {
			t.Fatalf("%+v", h)
		}
	})
}

// FuzzUnframe: what is accepted is a header before a part of the value itself, in one framing alone; a value decodes alike in both.
func FuzzUnframe(f *testing.F) {
	for _, c := range []*schema.PstnCall{bare(), full()} {
		payload := encode(f, c)
		f.Add(schema.AppendSingleObject(nil, payload))
		f.Add(schema.AppendConfluent(nil, 1<<32-1, payload))
		f.Add(payload)
	}
	for _, s := range []string{"", "\x00", "\x00\x00\x00\x00", "\x00\x00\x00\x00\x01", "\xc3\x01", "\xc3\x01\xe4\xe5\x09\x01\x78\x1a\x1d\xb6", "\xc3\x02\xe4\xe5\x09\x01\x78\x1a\x1d\xb6x", `{"id":"1"}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		payload, err := schema.Unframe(value)
		id, confluent, notConfluent := schema.SplitConfluent(value)
		single, notSingle := schema.SplitSingleObject(value)
		switch {
		case notConfluent == nil && notSingle == nil:
			t.Fatal("in both framings")
		case (err == nil) != (notConfluent == nil || notSingle == nil):
			t.Fatalf("Unframe says %v, the framings %v and %v", err, notConfluent, notSingle)
		case err != nil:
			if _, err := schema.Decode(value); err == nil || strings.Contains(err.Error(), "\n") {
				t.Fatalf("decoded without framing: %v", err)
			}
			return
		}
		again := schema.AppendConfluent(nil, id, confluent)
		if notConfluent != nil {
			again, confluent = schema.AppendSingleObject(nil, single), single
		}
		if !bytes.Equal(again, value) || !bytes.Equal(confluent, payload) || len(payload) > 0 && &payload[0] != &value[len(value)-len(payload)] {
			t.Fatalf("%x is framed as %x", value, again)
		}
		call, err := schema.Decode(value)
		other, otherErr := schema.Decode(schema.AppendConfluent(nil, 7, payload))
		if (err == nil) != (otherErr == nil) || !cmp.Equal(call, other) {
			t.Fatalf("decoded as %v (%v), and as %v (%v) in the other framing", call, err, other, otherErr)
		}
	})
}
