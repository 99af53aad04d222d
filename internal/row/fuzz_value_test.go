package row

import (
	"encoding/json"
	"math/big"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// FuzzParseTime compares with the standard library, which is not as strict about the form.
func FuzzParseTime(f *testing.F) {
	for _, s := range []string{"2019-11-01T00:00:08.2589935Z", "2019-10-31T23:30:00.25-00:45", "1969-12-31T23:59:59.9999Z", "2024-02-29T12:00:00Z", "2019-02-29T00:00:00Z",
		"0001-01-01T00:00:00+14:00", "0000-01-01T00:00:00Z", "9999-12-31T23:59:59-00:01", "2019-11-01T00:00:08+24:00", "2019-11-01T24:00:00Z", "2019-11-01", "2019-11-01T00:00:08,5Z", "2024-02-29T2:00:00Z", "2019-11-01T00:00:08.+01:00", ""} {
		f.Add([]byte(s))
	}
	form := regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$`)
	f.Fuzz(func(t *testing.T, b []byte) {
		got, ok := parseTime(b)
		want, err := time.Parse(time.RFC3339, string(b))
		legal := err == nil && form.Match(b) && want.Year() > 0 && want.UTC().Year() <= 9999
		if ok != legal {
			t.Fatalf("%q: read %t, the standard library: %v, %v", b, ok, want, err)
		}
		if !ok {
			return
		}
		if none := want.Year() == 1 || want.UTC().Year() <= 1; none != got.IsZero() || !none && (!got.Equal(want.Truncate(time.Millisecond)) || got.Location() != time.UTC) {
			t.Fatalf("%q: got %v, want %v", b, got, want)
		}
	})
}

// FuzzAppendNumber compares with math/big: two literals have one canonical form if, and only if, they are the same number.
func FuzzAppendNumber(f *testing.F) {
	for _, s := range []string{"0", "-0.0e9", "100.0100", "-12.50", "1E+02", "1e-3", "123456789012345678901234567890.123", "2147483648", "-2147483648", "219.0", "2.19e2"} {
		f.Add(s, "1e2")
		f.Add(s, s+"0")
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		var numbers [2]*big.Rat
		var forms [2]string
		for i, s := range []string{a, b} {
			if s != strings.TrimSpace(s) || !json.Valid([]byte(s)) || !strings.Contains("-0123456789", s[:1]) {
				return
			}
			if _, e, ok := strings.Cut(strings.ToLower(s), "e"); ok && len(strings.TrimLeft(e, "+-0")) > 3 {
				return // math/big would take its time
			}
			r, ok := new(big.Rat).SetString(s)
			if !ok {
				t.Fatalf("math/big does not read %q", s)
			}
			form := appendNumber(nil, []byte(s))
			if back, ok := new(big.Rat).SetString(string(form)); !ok || back.Cmp(r) != 0 || len(form) > len(s)+20 {
				t.Fatalf("%q has the form %q", s, form)
			}
			n, ok := parseInt32(form)
			if want := r.IsInt() && r.Num().IsInt64() && r.Num().Int64() == int64(int32(r.Num().Int64())); ok != want || ok && strconv.Itoa(int(n)) != r.RatString() {
				t.Fatalf("%q: as an integer %d, %t", s, n, ok)
			}
			numbers[i], forms[i] = r, string(form)
		}
		if (numbers[0].Cmp(numbers[1]) == 0) != (forms[0] == forms[1]) {
			t.Fatalf("%q has the form %q, %q the form %q", a, forms[0], b, forms[1])
		}
	})
}
