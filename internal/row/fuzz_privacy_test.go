package row_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"pstncalls/internal/row"
)

// FuzzParsePrivacy: rules that are accepted mean the same in any order, and another key is another set where one of them hashes; a
// refusal says what would be right, one mistake a line, and never shows the key.
func FuzzParsePrivacy(f *testing.F) {
	for _, spec := range []string{"callerNumber=mask,userPrincipalName=hash,clientPublicIpV4Address=drop", " callerNumber = drop ", "callId=hash", "callId=mask", "id=hash", "charge=mask",
		"charge=drop,charge=drop", "calerNumbr=mask", "callerNumber", "=", ",", "callerNumber=MASK", "startDateTime=drop", "", "callerNumber=mask=drop", "callerNumber\n=drop"} {
		f.Add(spec, true)
		f.Add(spec, false)
	}
	key := []byte("hunter2-hunter2-hunter2")
	raw := example(f)
	f.Fuzz(func(t *testing.T, spec string, hasKey bool) {
		given := key
		if !hasKey {
			given = nil
		}
		p, err := row.ParsePrivacy(spec, given)
		if err != nil {
			if p != nil {
				t.Fatal("rules beside an error")
			}
			if !strings.Contains(spec, string(key)) && strings.Contains(err.Error(), string(key)) {
				t.Fatalf("the key shows in %v", err)
			}
			if !strings.HasPrefix(err.Error(), "privacy rules: ") {
				t.Fatalf("error %q", err)
			}
			return
		}
		if blank := strings.TrimSpace(spec) == ""; (p == nil) != blank || (p.ID() == "") != blank {
			t.Fatalf("%q: rules %v, id %q", spec, p, p.ID())
		}
		rules := strings.Split(spec, ",")
		slices.Reverse(rules)
		again, err := row.ParsePrivacy(strings.Join(rules, " , "), given)
		if err != nil || again.ID() != p.ID() {
			t.Fatalf("%q: id %s, in another order %s: %v", spec, p.ID(), again.ID(), err)
		}
		other, err := row.ParsePrivacy(spec, append(bytes.Clone(key), 'x'))
		if hashes := strings.Contains(spec, "hash"); err != nil || hashes == (other.ID() == p.ID()) {
			t.Fatalf("%q: id %s, under another key %s: %v", spec, p.ID(), other.ID(), err)
		}
		got := row.NewConverter(p).Convert(raw)
		checkRow(t, got)
		if got.Reject != nil {
			t.Fatalf("%q makes a reject of Microsoft's example: %+v", spec, got.Reject)
		}
	})
}
