package schema_test

import (
	"bytes"
	"encoding/binary"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pstncalls/schema"
)

// value is bare's encoding with the fields that a case wants otherwise; each is in Avro's encoding.
type value struct{ tenant, row, revision, observed, id, start, duration, caller, charge, units, extra, after string }

func (v value) bytes() []byte {
	or := func(s, otherwise string) string {
		if s == "" {
			return otherwise
		}
		return s
	}
	return []byte(strings.Join([]string{
		or(v.tenant, "\x02t"), or(v.row, "\x02r"), or(v.revision, "\x00"), or(v.observed, "\x00"),
		or(v.id, "\x00"), "\x00\x00\x00\x00", or(v.start, "\x00"), "\x00", or(v.duration, "\x00"), "\x00\x00",
		or(v.caller, "\x00"), "\x00", or(v.charge, "\x00"), strings.Repeat("\x00", 11), or(v.units, "\x00"), "\x00\x00\x00\x00", or(v.extra, "\x00"), v.after,
	}, ""))
}

func long(v int64) string { return string(binary.AppendVarint(nil, v)) }

func TestDecodeAccepts(t *testing.T) {
	units := func(ids ...string) *schema.PstnCall {
		c := bare()
		c.AdministrativeUnitInfos = []schema.AdministrativeUnitInfo{}
		for _, id := range ids {
			c.AdministrativeUnitInfos = append(c.AdministrativeUnitInfos, schema.AdministrativeUnitInfo{ID: &id})
		}
		return c
	}
	extra := func(m map[string]string) *schema.PstnCall {
		c := bare()
		c.Extra = m
		return c
	}
	charge := func(m schema.Money) *schema.PstnCall {
		c := bare()
		c.Charge = &m
		return c
	}
	tests := []struct {
		name  string
		value value
		want  *schema.PstnCall
	}{
		{"bare", value{}, bare()},
		{"units in one block", value{units: "\x02\x04\x02\x02a\x02\x02b\x00"}, units("a", "b")},
		{"units in two blocks", value{units: "\x02\x02\x02\x02a\x02\x02\x02b\x00"}, units("a", "b")},
		{"units in a sized block", value{units: "\x02\x03\x0c\x02\x02a\x02\x02b\x00"}, units("a", "b")},
		{"units in blocks of both kinds", value{units: "\x02\x01\x06\x02\x02a\x02\x02\x02b\x00"}, units("a", "b")},
		{"extra in two blocks", value{extra: "\x02\x02a\x021\x01\x08\x02b\x022\x00"}, extra(map[string]string{"a": "1", "b": "2"})},
		{"decimal with a sign byte", value{charge: "\x02\x04\x00\x01"}, charge(1)},
		{"negative decimal with sign bytes", value{charge: "\x02\x10\xff\xff\xff\xff\xff\xff\xff\xfe"}, charge(-2)},
	}
	for _, tt := range tests {
		got, err := schema.DecodePstnCall(tt.value.bytes())
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
		} else if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	const huge = 1 << 40
	tests := []struct {
		name  string
		value value
		err   string // after "decode PstnCall: "
	}{
		{"empty tenant", value{tenant: "\x00"}, "tenantId: empty"},
		{"empty row id", value{row: "\x00"}, "rowId: empty"},
		{"row id not UTF-8", value{row: "\x02\xff"}, "rowId: not valid UTF-8"},
		{"string of negative length", value{tenant: "\x01"}, "tenantId: length is negative or beyond the end of the value"},
		{"string of smallest length", value{id: "\x02" + long(-1<<63)}, "id: length is"},
		{"string longer than the value", value{id: "\x02" + long(200)}, "id: length is"},
		{"string of 2^40 bytes", value{id: "\x02" + long(huge)}, "id: length is"},
		{"string not UTF-8", value{caller: "\x02\x04\xc0\x80"}, "callerNumber: not valid UTF-8"},
		{"surrogate in UTF-8", value{caller: "\x02\x06\xed\xa0\x80"}, "callerNumber: not valid UTF-8"},
		{"negative revision", value{revision: "\x01"}, "revision: negative"},
		{"revision of 33 bits", value{revision: long(1 << 31)}, "revision: number is beyond 32 bits"},
		{"duration of 33 bits", value{duration: "\x02" + long(-1<<31-1)}, "duration: number is beyond 32 bits"},
		{"duration that wraps", value{duration: "\x02" + long(1<<32)}, "duration: number is beyond 32 bits"},
		{"varint with a zero at its end", value{revision: "\x80\x00"}, "revision: number is not in its shortest form"},
		{"varint of 10 bytes and 65 bits", value{observed: strings.Repeat("\xff", 9) + "\x02"}, "observedAt: number is not in its shortest form"},
		{"varint of 11 bytes", value{observed: strings.Repeat("\x80", 10) + "\x01"}, "observedAt: number is not in its shortest form"},
		{"year 0", value{observed: long(-62135596800001)}, "observedAt: outside the years"},
		{"year 10000", value{start: "\x02" + long(253402300800000)}, "startDateTime: outside the years"},
		{"largest time", value{start: "\x02" + long(1<<63-1)}, "startDateTime: outside the years"},
		{"union branch 2", value{id: "\x04"}, "id: union has no such branch"},
		{"union branch -1", value{id: "\x01"}, "id: union has no such branch"},
		{"union branch 2^32", value{id: long(1 << 32)}, "id: union has no such branch"},
		{"union branch of the array", value{units: "\x04"}, "administrativeUnitInfos: union has no such branch"},
		{"union branch in the array", value{units: "\x02\x02\x04"}, "administrativeUnitInfos.id: union has no such branch"},
		{"decimal without bytes", value{charge: "\x02\x00"}, "charge: decimal is not 1 to 8 bytes long"},
		{"decimal of 9 bytes", value{charge: "\x02\x12" + strings.Repeat("\x00", 9)}, "charge: decimal is not 1 to 8 bytes long"},
		{"decimal of 10^18", value{charge: "\x02\x10\x0d\xe0\xb6\xb3\xa7\x64\x00\x00"}, "charge: amount is beyond decimal(18,6)"},
		{"decimal of -10^18", value{charge: "\x02\x10\xf2\x1f\x49\x4c\x58\x9c\x00\x00"}, "charge: amount is beyond decimal(18,6)"},
		{"array of 2^40", value{units: "\x02" + long(huge)}, "administrativeUnitInfos: length is"},
		{"sized array of 2^40", value{units: "\x02" + long(-huge) + "\x00"}, "administrativeUnitInfos: length is"},
		{"array of the smallest count", value{units: "\x02" + long(-1<<63) + "\x00"}, "administrativeUnitInfos: length is"},
		{"block of negative size", value{units: "\x02\x01\x01\x00\x00"}, "administrativeUnitInfos: length is"},
		{"block longer than the value", value{units: "\x02\x01" + long(huge)}, "administrativeUnitInfos: length is"},
		{"block shorter than it says", value{units: "\x02\x01\x04\x00\x00"}, "administrativeUnitInfos: block is not as long as it says"},
		{"block longer than it says", value{units: "\x02\x01\x02\x02\x02a\x00"}, "administrativeUnitInfos: block is not as long as it says"},
		{"map of 2^40", value{extra: long(huge)}, "extra: length is"},
		{"the same key twice", value{extra: "\x04\x02a\x021\x02a\x021\x00"}, "extra: the same key twice"},
		{"the same key in two blocks", value{extra: "\x02\x02a\x021\x02\x02a\x022\x00"}, "extra: the same key twice"},
		{"map key not UTF-8", value{extra: "\x02\x02\xff\x021\x00"}, "extra: not valid UTF-8"},
		{"map value not UTF-8", value{extra: "\x02\x02a\x02\xff\x00"}, "extra: not valid UTF-8"},
		{"trailing byte", value{after: "\x00"}, "bytes after the value"},
	}
	for _, tt := range tests {
		c, err := schema.DecodePstnCall(tt.value.bytes())
		if err == nil || !strings.HasPrefix(err.Error(), "decode PstnCall: "+tt.err) {
			t.Errorf("%s: error %v, want %q", tt.name, err, tt.err)
		}
		if c != nil {
			t.Errorf("%s: a call beside the error", tt.name)
		}
	}
}

func TestDecodeRefusesEveryPrefix(t *testing.T) {
	b := encode(t, full())
	for n := range b {
		if _, err := schema.DecodePstnCall(b[:n]); err == nil {
			t.Errorf("no error for the first %d of %d bytes", n, len(b))
		}
	}
}

func TestDecodeCopies(t *testing.T) {
	b := encode(t, full())
	c, err := schema.DecodePstnCall(b)
	if err != nil {
		t.Fatal(err)
	}
	clear(b)
	if diff := cmp.Diff(full(), c); diff != "" {
		t.Errorf("the call changed with its bytes (-want +got):\n%s", diff)
	}
}

// allocated returns the bytes that decoding b allocates.
func allocated(b []byte) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, _ = schema.DecodePstnCall(b)
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// allocationLimit is for n bytes of input: the worst are arrays of nulls, whose slice grows from 8 bytes an item; the rest is
// for a call itself, and for what the test's own machinery does meanwhile.
func allocationLimit(n int) uint64 { return 128*uint64(n) + 64<<10 }

func TestDecodeAllocatesByInput(t *testing.T) {
	const n = 100_000
	keys := binary.AppendVarint(nil, n)
	for i := range n {
		keys = append(keys, 6, byte(i&127), byte(i>>7&127), byte(i>>14), 0)
	}
	tests := map[string]value{
		"count of 2^40":         {units: "\x02" + long(1<<40)},
		"count of 2^62":         {extra: long(1 << 62)},
		"length of 2^40":        {id: "\x02" + long(1<<40)},
		"as many as bytes":      {units: "\x02" + long(1<<20) + strings.Repeat("\x07", 1<<20)},
		"map as many as bytes":  {extra: long(1<<20) + strings.Repeat("\x07", 1<<20)},
		"null items":            {units: "\x02" + long(n) + strings.Repeat("\x00", n) + "\x00"},
		"empty items":           {units: "\x02" + long(n) + strings.Repeat("\x02\x00", n) + "\x00"},
		"blocks of one":         {units: "\x02" + strings.Repeat("\x02\x00", n) + "\x00"},
		"map of different keys": {extra: string(keys) + "\x00"},
	}
	for name, v := range tests {
		b := v.bytes()
		if got, limit := allocated(b), allocationLimit(len(b)); got > limit {
			t.Errorf("%s: %d bytes allocated for %d, want at most %d", name, got, len(b), limit)
		}
	}
}

func FuzzDecodePstnCall(f *testing.F) {
	for _, c := range []*schema.PstnCall{bare(), example(), full()} {
		f.Add(encode(f, c))
	}
	for _, v := range []value{
		{units: "\x02\x01\x06\x02\x02a\x02\x02\x02b\x00"}, {extra: "\x02\x02a\x021\x01\x08\x02b\x022\x00"},
		{charge: "\x02\x04\x00\x01"}, {units: "\x02" + long(1<<40)}, {after: "\x00"},
	} {
		f.Add(v.bytes())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, limit := allocated(b), allocationLimit(len(b)); got > limit {
			t.Fatalf("%d bytes allocated for %d, want at most %d", got, len(b), limit)
		}
		c, err := schema.DecodePstnCall(b)
		if err != nil {
			return
		}
		again := encode(t, c)
		got, err := schema.DecodePstnCall(again)
		if err != nil {
			t.Fatalf("decode what was encoded: %v", err)
		}
		if diff := cmp.Diff(c, got); diff != "" {
			t.Fatalf("(-first +second):\n%s", diff)
		}
		if len(again) > len(b) || len(again) == len(b) && len(c.Extra) < 2 && !bytes.Equal(again, b) {
			t.Fatalf("%x is encoded as %x", b, again)
		}
	})
}

func BenchmarkDecodePstnCall(b *testing.B) {
	buf := encode(b, example())
	b.SetBytes(int64(len(buf)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := schema.DecodePstnCall(buf); err != nil {
			b.Fatal(err)
		}
	}
}
