package schema_test

import (
	"encoding/json"
	"errors"
	"math/big"
	"regexp"
	"strings"
	"testing"

	"pstncalls/schema"
)

func TestParseMoney(t *testing.T) {
	const exact, rounded = true, false
	tests := []struct {
		literal string
		want    schema.Money
		exact   bool
	}{
		{"0", 0, exact},
		{"-0", 0, exact},
		{"0.00", 0, exact},
		{"2.06", 2_060_000, exact},
		{"-2.06", -2_060_000, exact},
		{"0.000001", 1, exact},
		{"2.0600000000", 2_060_000, exact},
		{"007.50", 7_500_000, exact},
		{"+1", 1_000_000, exact},
		{"1e-6", 1, exact},
		{"1E+2", 100_000_000, exact},
		{"12.5e1", 125_000_000, exact},
		{"125000e-8", 1_250, exact},
		{"0.0000001e1", 1, exact},
		{"1e00000000000000000000002", 100_000_000, exact},
		{"999999999999.999999", 999_999_999_999_999_999, exact},
		{"-999999999999.999999", -999_999_999_999_999_999, exact},
		{"9.99999999999999999e11", 999_999_999_999_999_999, exact},
		{"0e999999999", 0, exact},
		{"0.000e99999999999999999999", 0, exact},

		{"0.0000005", 0, rounded}, // a tie goes to the even neighbour
		{"0.0000015", 2, rounded},
		{"0.0000025", 2, rounded},
		{"-0.0000015", -2, rounded},
		{"-0.0000005", 0, rounded},
		{"0.00000050000000001", 1, rounded},
		{"0.0000014999999", 1, rounded},
		{"0.0000016", 2, rounded},
		{"1e-7", 0, rounded},
		{"5e-7", 0, rounded},
		{"6e-7", 1, rounded},
		{"9e-8", 0, rounded}, // the digit behind the last is 0, not 9
		{"99e-8", 1, rounded},
		{"1e-400", 0, rounded},
		{"1e-99999999999999999999", 0, rounded},
		{"1e-18446744073709551616", 0, rounded}, // 2^64
		{"999999999999.9999994", 999_999_999_999_999_999, rounded},

		{"1" + strings.Repeat("0", 1<<20) + "e-1048576", 1_000_000, exact},
		{"0." + strings.Repeat("0", 1<<20) + "1e1048577", 1_000_000, exact},
		{"0." + strings.Repeat("3", 1<<20), 333_333, rounded},
		{strings.Repeat("0", 1<<20) + "1", 1_000_000, exact},
	}
	for _, tt := range tests {
		got, isExact, err := schema.ParseMoney(tt.literal)
		if err != nil || got != tt.want || isExact != tt.exact {
			t.Errorf("ParseMoney(%.40s) = %d, %v, %v; want %d, %v", tt.literal, got, isExact, err, tt.want, tt.exact)
		}
	}
}

func TestParseMoneyErrors(t *testing.T) {
	tests := map[error][]string{
		schema.ErrMoneySyntax: {"", "-", "+", ".5", "5.", "1.e2", "1e", "1e+", "e5", "--1", "+-1", "1 ", " 1", "1,5", "1_000", "0x10", "NaN", "INF",
			"-INF", "Infinity", "null", `"1"`, "1e5.0", "1.2.3", "١", "1\x00", strings.Repeat("9", 1<<20) + "x"},
		schema.ErrMoneyRange: {"1000000000000", "-1000000000000", "1e12", "1e400", "-1e400", "1e999999999", "1e99999999999999999999", "1e18446744073709551616",
			"999999999999.9999995", "-999999999999.9999996", "0.1e13", strings.Repeat("9", 1<<20), "18446744073709551616", "18446744073709.551616"},
	}
	for want, literals := range tests {
		for _, literal := range literals {
			got, exact, err := schema.ParseMoney(literal)
			if !errors.Is(err, want) || got != 0 || exact {
				t.Errorf("ParseMoney(%.40q) = %d, %v, %v; want %v", literal, got, exact, err, want)
			}
		}
	}
}

func TestMoneyString(t *testing.T) {
	tests := map[schema.Money]string{
		0: "0", 1: "0.000001", -1: "-0.000001", 2_060_000: "2.06", -2_060_000: "-2.06", 1_000_000: "1", 10_000_000: "10",
		100_000: "0.1", 999_999_999_999_999_999: "999999999999.999999", -999_999_999_999_999_999: "-999999999999.999999",
		-1 << 63: "-9223372036854.775808",
	}
	for m, want := range tests {
		if got := m.String(); got != want {
			t.Errorf("Money(%d).String() = %s, want %s", int64(m), got, want)
		}
	}
}

func TestMoneyJSON(t *testing.T) {
	type row struct {
		Charge *schema.Money `json:"charge"`
		Fee    schema.Money  `json:"fee"`
	}
	b, err := json.Marshal(row{ptr(schema.Money(-2_060_000)), 1})
	if want := `{"charge":-2.06,"fee":0.000001}`; err != nil || string(b) != want {
		t.Errorf("Marshal: %s, %v; want %s", b, err, want)
	}
	var got row
	if err := json.Unmarshal(b, &got); err != nil || *got.Charge != -2_060_000 || got.Fee != 1 {
		t.Errorf("Unmarshal: %v %v, %v", got.Charge, got.Fee, err)
	}
	got = row{Fee: 3}
	if err := json.Unmarshal([]byte(`{"charge":null,"fee":null}`), &got); err != nil || got.Charge != nil || got.Fee != 3 {
		t.Errorf("Unmarshal of nulls: %v %v, %v", got.Charge, got.Fee, err)
	}
	for _, bad := range []string{`"2.06"`, `true`, `{}`, `0.0000001`, `1e12`} {
		got = row{Fee: 3}
		if err := json.Unmarshal([]byte(`{"fee":`+bad+`}`), &got); err == nil || got.Fee != 3 {
			t.Errorf("Unmarshal of %s: %v, error %v", bad, got.Fee, err)
		}
	}
}

func TestMoneyRat(t *testing.T) {
	if got := schema.Money(-2_060_000).Rat(); got.Cmp(big.NewRat(-206, 100)) != 0 {
		t.Errorf("Rat() = %v", got)
	}
}

// FuzzParseMoney compares with math/big, where that is able to answer.
func FuzzParseMoney(f *testing.F) {
	for _, s := range []string{"0", "-0", "2.06", "1e-7", "1E+2", "0.0000005", "0.0000015", "-0.0000025", "999999999999.9999995", "1e12", "1e400",
		"1e999999999", "00.10", "+5", ".5", "5.", "1e", "NaN"} {
		f.Add(s)
	}
	syntax := regexp.MustCompile(`^[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?$`)
	largeExponent := regexp.MustCompile(`[eE][+-]?0*[0-9]{4,}$`) // math/big would take its time
	scale, limit := big.NewRat(1_000_000, 1), new(big.Rat).SetInt64(1e18)
	f.Fuzz(func(t *testing.T, s string) {
		got, exact, err := schema.ParseMoney(s)
		if ok := syntax.MatchString(s); ok == errors.Is(err, schema.ErrMoneySyntax) {
			t.Fatalf("ParseMoney(%q): error %v, but it is a number: %v", s, err, ok)
		} else if !ok || largeExponent.MatchString(s) {
			return
		}
		millionths, ok := new(big.Rat).SetString(s)
		if !ok {
			t.Fatalf("math/big does not read %q", s)
		}
		millionths.Mul(millionths, scale)
		want := roundHalfEven(millionths)
		if abs := new(big.Rat).Abs(want); abs.Cmp(limit) >= 0 {
			if !errors.Is(err, schema.ErrMoneyRange) {
				t.Fatalf("ParseMoney(%q) = %v, %v; want ErrMoneyRange", s, got, err)
			}
			return
		}
		if wantExact := millionths.IsInt(); err != nil || exact != wantExact || new(big.Rat).SetInt64(int64(got)).Cmp(want) != 0 {
			t.Fatalf("ParseMoney(%q) = %d, %v, %v; want %v, %v", s, int64(got), exact, err, want, wantExact)
		}
		if again, exact, err := schema.ParseMoney(got.String()); again != got || !exact || err != nil {
			t.Fatalf("String() = %s, which is read as %d, %v, %v", got, int64(again), exact, err)
		}
	})
}

// roundHalfEven returns the whole number next to r, the even one of two.
func roundHalfEven(r *big.Rat) *big.Rat {
	floor := new(big.Int).Div(r.Num(), r.Denom()) // Euclidean: down, as the denominator is positive
	rest := new(big.Rat).Sub(r, new(big.Rat).SetInt(floor))
	if c := rest.Cmp(big.NewRat(1, 2)); c > 0 || c == 0 && floor.Bit(0) == 1 {
		floor.Add(floor, big.NewInt(1))
	}
	return new(big.Rat).SetInt(floor)
}
