package row

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// FuzzQuick checks that a row that was read quickly is the one that the strict reading makes, whatever rows came before.
func FuzzQuick(f *testing.F) {
	for _, raw := range []string{
		`{"id":"a","callId":"b","startDateTime":"2026-11-01T08:00:00Z","charge":0.1234567,"operator":"o"}`,
		`{"startDateTime":"2026-11-01T08:00:00Z","op\u0065rator":"o","id":"a"}`,
		`{"id":"a","id":"b","startDateTime":"2026-11-01T08:00:00Z"}`, `{"id":"a","\u0069d":"b"}`, `{"new":1,"new":1}`, `{"@odata.type":1,"@odata.type":1}`,
		`{"@odata.type":{"a":1,"a":1}}`, `{"new":null,"new":null}`, `{"operator":{"a":1,"a":1}}`, `{"callerNumber":{"a":1,"a":1}}`, `{"userId":[{"a":1,"a":1}]}`,
		`{"administrativeUnitInfos":[{"id":"a","id":"a"}]}`, `{"administrativeUnitInfos":[{"id":"a"},null]}`, `{"administrativeUnitInfos":{"Operator":{"a":1,"a":2}}}`,
		`{"id":"a"`, `{"id":"a"}x`, `{"id":"\ud800"}`, "{\"a\xff\":\"\xff\"}", `{"id" "a"}`, `[]`, `7`, ``,
		`{"a":1,"b":2,"c":3,"d":4,"e":5,"f":6,"g":7,"h":8,"i":9,"j":10,"k":11,"l":12,"m":13,"n":14,"o":15,"p":16,"q":17,"r":18,"startDateTime":"2026-11-01T08:00:00Z"}`,
	} {
		f.Add([]byte(raw))
	}
	rules, err := ParsePrivacy("operator=drop,callerNumber=mask,administrativeUnitInfos=drop", nil)
	if err != nil {
		f.Fatal(err)
	}
	plain, private := NewConverter(nil), NewConverter(rules)
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, c := range []*Converter{plain, private} {
			if diff := cmp.Diff(c.convertStrictly(raw), c.Convert(raw)); diff != "" {
				t.Fatalf("strictly (-) and quickly (+) read:\n%s", diff)
			}
		}
	})
}
