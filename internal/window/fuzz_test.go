package window

import (
	"encoding/json"
	"testing"
	"time"
)

// FuzzParse: a day is read in its one spelling alone, as the standard library reads it, and a range of two goes through JSON.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"2026-11-01", "2024-02-29", "2023-02-29", "0000-01-01", "0001-01-01", "9999-12-31", "10000-01-01", "2026-11-1", "2026-11-01T00:00:00Z", "-001-01-01", " 2026-11-01", ""} {
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, from, to string) {
		a, err := Parse(from)
		if _, want := time.Parse(time.DateOnly, from); (err == nil) != (want == nil) {
			t.Fatalf("%q: %v, the standard library says %v", from, err, want)
		}
		b, err2 := Parse(to)
		if err != nil || err2 != nil {
			return
		}
		if a.String() != from || Of(a.Start()) != a || Of(a.End()) != a+1 {
			t.Fatalf("%q is read as %s, from %v to %v", from, a, a.Start(), a.End())
		}
		text, err := json.Marshal(Range{From: a, To: b})
		if err != nil {
			t.Fatal(err)
		}
		var r Range
		if err := json.Unmarshal(text, &r); err != nil || r.From != a || r.To != b || r.Days() != int(b-a) || r.Contains(a) != (a < b) {
			t.Fatalf("%s is read as %s: %v", text, r, err)
		}
	})
}
