package row_test

import "testing"

func TestFingerprintIgnoresSpelling(t *testing.T) {
	tests := map[string][2]string{
		"order":             {`{"a":1,"b":2,"c":{"x":1,"y":2}}`, `{"c":{"y":2,"x":1},"b":2,"a":1}`},
		"white space":       {`{"a":[1,{"b":2}]}`, " {\n\"a\" :\t[ 1 , { \"b\" : 2 } ] } "},
		"escapes":           {`{"aé":"é/😀"}`, `{"\u0061\u00e9":"\u00E9\/\ud83d\ude00"}`},
		"null":              {`{"a":1}`, `{"a":1,"b":null,"operator":null}`},
		"null further down": {`{"a":{"b":1}}`, `{"a":{"c":null,"b":1}}`},
		"zero":              {`{"charge":0.0}`, `{"charge":0e5}`},
		"minus zero":        {`{"charge":0}`, `{"charge":-0.000}`},
		"numbers":           {`{"charge":100}`, `{"charge":1.00E+2}`},
		"huge numbers":      {`{"charge":10e999999999}`, `{"charge":1e1000000000}`},
		"annotations":       {`{"charge":1}`, `{"@odata.type":"#t","charge":1,"charge@odata.type":"#Decimal"}`},
		"nested annotation": {`{"a":[{"b":1}]}`, `{"a":[{"@odata.id":[{}],"b":1}]}`},
		"nonsense numbers":  {`[100]`, `[1e2]`},
		"not an object":     {`"a"`, ` "\u0061" `},
	}
	for name, pair := range tests {
		if a, b := convert(pair[0]), convert(pair[1]); a.Fingerprint != b.Fingerprint || a.ID != b.ID {
			t.Errorf("%s: %s and %s differ", name, pair[0], pair[1])
		}
	}
}

// TestFingerprintSeesContent holds rows of which no two may have the same fingerprint.
func TestFingerprintSeesContent(t *testing.T) {
	rows := []string{
		`{}`, `[]`, `null`, `""`, `"{}"`, `true`, `false`, `0`, `"x"`,
		`{"a":{}}`, `{"a":[]}`, `{"a":[null]}`, `{"a":[null,null]}`, `{"a":""}`, `{"a":true}`, `{"a":false}`, `{"a":"true"}`, `{"a":"t"}`,
		`{"a":0}`, `{"a":"0"}`, `{"a":"0.0"}`, `{"a":1}`, `{"a":-1}`, `{"a":10}`, `{"a":0.1}`, `{"a":"1"}`, `{"a":"#1e0"}`,
		`{"a":1e999999999}`, `{"a":1e999999998}`, `{"a":1e-99999999999999999999}`, `{"a":1e99999999999999999999}`,
		`{"a":[1,2]}`, `{"a":[2,1]}`, `{"a":[[1],2]}`, `{"a":[[1,2]]}`, `{"a":[1,1]}`, `{"a":["1",2]}`,
		`{"a":1,"b":2}`, `{"a":2,"b":1}`, `{"ab":1}`, `{"A":1}`, `{"a":{"b":1}}`, `{"b":{"a":1}}`, `{"a":{"b":{"c":1}}}`,
		`{"a":{"b":1,"c":2}}`, `{"a":{"b":1},"c":2}`, `{"a":[{"b":1},{"c":2}]}`, `{"a":[{"b":1,"c":2}]}`,
		`{"startDateTime":"2026-11-01T10:00:00.0000001Z"}`, `{"startDateTime":"2026-11-01T10:00:00.0000002Z"}`,
		`{"startDateTime":"2026-11-01T10:00:00Z"}`, `{"startDateTime":"2026-11-01T10:00:00.0Z"}`,
		`{"operator":"a"}`, `{"operator":"A"}`, `{"operator":" a"}`, `{"Operator":"a"}`, `{"operator":"a\u0000"}`,
		`{"operator":"e\u0301"}`, `{"operator":"\u00e9"}`, `{"operator":"\ufffd"}`, `{"operator":"\ud800"}`, `{"operator":"\ud801"}`,
		"{\"operator\":\"\xff\"}", "{\"operator\":\"\xfe\"}", `{"odata.type":"a"}`, `{"@type":"a"}`,
		`{"administrativeUnitInfos":[{"id":"a"},{"id":"b"}]}`, `{"administrativeUnitInfos":[{"id":"b"},{"id":"a"}]}`,
		`{"operator":"a","operator":"b"}`, `{"operator":"b","operator":"b"}`,
	}
	seen := make(map[uint64]string)
	for _, raw := range rows {
		f := convert(raw).Fingerprint
		if was, ok := seen[f]; ok {
			t.Errorf("%s has the fingerprint of %s", raw, was)
		}
		seen[f] = raw
	}
}

// TestFingerprintGolden freezes algorithm 1: ledgers in state topics hold its numbers. They were checked against a second
// implementation, written from the package comment alone.
func TestFingerprintGolden(t *testing.T) {
	tests := []struct {
		raw  string
		want uint64
	}{
		{`{}`, 0x7f2892c8dd59bb66},
		{`null`, 0x017397ff2676b47e},
		{`{"a":null}`, 0x7f2892c8dd59bb66},
		{`{"id":"r1","charge":-12.50,"new":{"t":[true,false,null,"é",[]],"o":{}}}`, 0x16c56df9123f7c9d},
		{`{"operator":"\ud800"}`, 0xfc19137e7135cfe4},
		{`"row"`, 0x21d327b0c7986273},
		{string(example(t)), 0x50aa3955e02aef4e},
	}
	for _, tt := range tests {
		if got := convert(tt.raw).Fingerprint; got != tt.want {
			t.Errorf("%.60s: got %#016x, want %#016x", tt.raw, got, tt.want)
		}
	}
}

// TestHostileNumbersAreCheap fails by the test's own deadline if a number is ever written out.
func TestHostileNumbersAreCheap(t *testing.T) {
	for _, literal := range []string{`1e999999999999`, `1e-999999999999`, `-1.5e999999999999`} {
		for _, name := range []string{"charge", "duration", "operator", "new"} {
			convert(with(`,"` + name + `":` + literal))
		}
	}
}
