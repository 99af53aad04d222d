package schema_test

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	twmb "github.com/twmb/avro"

	"pstncalls/schema"
)

// javaFingerprint is SchemaNormalization.parsingFingerprint64 of Java's Avro 1.8.2 for pstn_call.avsc; fastavro agrees.
const javaFingerprint = 0xb61d1a780109e5e4

func TestFingerprint(t *testing.T) {
	if got := schema.PstnCallFingerprint(); got != javaFingerprint {
		t.Errorf("fingerprint is %016x, Java's is %016x", got, uint64(javaFingerprint))
	}
	second := twmb.MustParse(schema.PstnCallSchema()).Fingerprint(twmb.NewRabin())
	if got := schema.PstnCallFingerprint(); got != binary.BigEndian.Uint64(second) {
		t.Errorf("fingerprint is %016x, the second implementation's %x", got, second)
	}
}

func TestSingleObject(t *testing.T) {
	got := schema.AppendSingleObject([]byte("before"), []byte("payload"))
	want := "before\xc3\x01\xe4\xe5\x09\x01\x78\x1a\x1d\xb6payload"
	if string(got) != want {
		t.Errorf("got %x, want %x", got, want)
	}
	payload, err := schema.SplitSingleObject(got[len("before"):])
	if err != nil || string(payload) != "payload" {
		t.Errorf("split into %q, %v", payload, err)
	}

	var second any
	framed := schema.AppendSingleObject(nil, encode(t, full()))
	if rest, err := twmb.MustParse(schema.PstnCallSchema()).DecodeSingleObject(framed, &second); err != nil || len(rest) > 0 {
		t.Errorf("the second implementation leaves %d bytes, error %v", len(rest), err)
	}
}

func TestConfluent(t *testing.T) {
	got := schema.AppendConfluent([]byte("before"), 0x01020304, []byte("payload"))
	if want := "before\x00\x01\x02\x03\x04payload"; string(got) != want {
		t.Errorf("got %x, want %x", got, want)
	}
	id, payload, err := schema.SplitConfluent(got[len("before"):])
	if err != nil || id != 0x01020304 || string(payload) != "payload" {
		t.Errorf("split into %d, %q, %v", id, payload, err)
	}
}

func TestDecode(t *testing.T) {
	payload := encode(t, full())
	for name, value := range map[string][]byte{
		"single object": schema.AppendSingleObject(nil, payload),
		"Confluent":     schema.AppendConfluent(nil, 1<<32-1, payload),
	} {
		got, err := schema.Decode(value)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if diff := cmp.Diff(full(), got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestDecodeFramingErrors(t *testing.T) {
	payload := string(encode(t, bare()))
	tests := []struct{ name, value, err string }{
		{"empty", "", "neither Confluent's framing nor"},
		{"no framing", payload, "neither Confluent's framing nor"},
		{"JSON", `{"id":"1"}`, "neither Confluent's framing nor"},
		{"half a single object's header", "\xc3\x01\xe4\xe5\x09\x01\x78\x1a\x1d", "not in Avro's single-object encoding"},
		{"single object of version 2", "\xc3\x02\xe4\xe5\x09\x01\x78\x1a\x1d\xb6" + payload, "not in Avro's single-object encoding"},
		{"unknown fingerprint", "\xc3\x01\x01\x02\x03\x04\x05\x06\x07\x08" + payload, "schema with fingerprint 0807060504030201 is unknown"},
		{"big-endian fingerprint", "\xc3\x01\xb6\x1d\x1a\x78\x01\x09\xe5\xe4" + payload, "schema with fingerprint e4e50901781a1db6 is unknown"},
		{"half a Confluent header", "\x00\x00\x00\x01", "not in Confluent's framing"},
		{"single object without a value", "\xc3\x01\xe4\xe5\x09\x01\x78\x1a\x1d\xb6", "tenantId: the value ends too early"},
		{"Confluent without a value", "\x00\x00\x00\x00\x01", "tenantId: the value ends too early"},
		{"Confluent with a longer value", "\x00\x00\x00\x00\x01" + payload + "\x00", "bytes after the value"},
	}
	for _, tt := range tests {
		if _, err := schema.Decode([]byte(tt.value)); err == nil || !strings.HasPrefix(err.Error(), "decode PstnCall: "+tt.err) {
			t.Errorf("%s: error %v, want %q", tt.name, err, tt.err)
		}
	}
}
