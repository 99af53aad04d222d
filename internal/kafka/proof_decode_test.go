package kafka

import (
	"encoding/json"
	"testing"
)

// FuzzStateRecord: whatever a state record holds, it is read whole or refused, and never taken for a record of another format.
func FuzzStateRecord(f *testing.F) {
	for _, s := range []string{`{"v":1,"n":3,"at":"2026-11-01T00:00:00Z"}`, `{"v":1,"instance":"a","released":"2026-11-01T00:00:00Z"}`,
		`{"v":1,"group":"g","eventsEnd":{"0":7}}`, `{"v":2}`, `{"v":1,"n":"x"}`, `null`, `{}`, ``, `[`, `{"v":1e0}`, `{"V":2,"v":1}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		for _, into := range []any{new(Meta), new(Claim), new(Mark)} {
			err := decode("state", "key", value, into)
			if err != nil {
				if !IsRefused(err) {
					t.Fatalf("%T: %v is no refusal", into, err)
				}
				continue
			}
			var v struct{ V int }
			if json.Unmarshal(value, &v) != nil || v.V < 1 || v.V > formatVersion {
				t.Fatalf("%T: %q was accepted", into, value)
			}
			if err := decode("state", "key", encode(into), into); err != nil {
				t.Fatalf("%T: written again: %v", into, err)
			}
		}
	})
}
