package schema

import (
	"errors"
	"fmt"
	"math/big"
	"strconv"
	"strings"
)

const (
	moneyScale = 6
	moneyUnit  = 1_000_000                 // Money of 1
	moneyEnd   = 1_000_000_000_000_000_000 // 10^18: the first with more than 18 digits
)

var (
	// ErrMoneySyntax is the error of a literal that is no decimal number.
	ErrMoneySyntax = errors.New("not a decimal number")
	// ErrMoneyRange is the error of an amount that is 10^12 or more, whatever its sign, after rounding to six decimals.
	ErrMoneyRange = errors.New("amount is beyond decimal(18,6)")

	errInexact = errors.New("amount has more than six decimals")
)

// ParseMoney reads an amount from a JSON number's literal, or from the decimal string that OData may send in its place: a sign,
// digits, a fraction, an exponent, all but the digits optional. It never goes through a float.
//
// What lies beyond the sixth decimal is rounded half to even; exact is false if that was not all zeros. An error is
// [ErrMoneySyntax] or [ErrMoneyRange]; it does not quote the literal. The time taken is linear in the literal's length, whatever
// its exponent.
func ParseMoney(literal string) (m Money, exact bool, err error) {
	n, ok := splitNumber(literal)
	if !ok {
		return 0, false, ErrMoneySyntax
	}

	// Of all digits, those at [0, point) are the amount in millionths; the others are rounded away. point may be negative.
	// No sum here overflows: the exponent is bounded, and the rest is the length of a string.
	point := int64(len(n.integer)) + n.exponent + moneyScale

	var amount uint64
	firstDropped := byte('0') // the digit at point
	restDropped := false      // whether any digit behind it is not zero
	pos := int64(0)
	for _, digits := range [...]string{n.integer, n.fraction} {
		for i := 0; i < len(digits); i, pos = i+1, pos+1 {
			switch c := digits[i]; {
			case pos > point:
				restDropped = restDropped || c != '0'
			case pos == point:
				firstDropped = c
			default:
				if amount = amount*10 + uint64(c-'0'); amount >= moneyEnd {
					return 0, false, ErrMoneyRange
				}
			}
		}
	}
	for ; pos < point && amount != 0; pos++ {
		if amount *= 10; amount >= moneyEnd {
			return 0, false, ErrMoneyRange
		}
	}

	if firstDropped > '5' || firstDropped == '5' && (restDropped || amount%2 == 1) {
		if amount++; amount == moneyEnd {
			return 0, false, ErrMoneyRange
		}
	}
	m = Money(amount)
	if n.negative {
		m = -m
	}
	return m, firstDropped == '0' && !restDropped, nil
}

// number is a decimal literal in its parts: integer and fraction hold digits only, integer at least one.
type number struct {
	negative          bool
	integer, fraction string
	exponent          int64
}

// maxExponent is more than the digits of any literal can make up for, and far from overflow.
const maxExponent = 1 << 50

// splitNumber reads OData's decimalValue, of which a JSON number is a special case; ok is false if s is none.
func splitNumber(s string) (n number, ok bool) {
	n.negative, s = cutSign(s)
	if n.integer, s = cutDigits(s); n.integer == "" {
		return number{}, false
	}
	if strings.HasPrefix(s, ".") {
		if n.fraction, s = cutDigits(s[1:]); n.fraction == "" {
			return number{}, false
		}
	}
	if strings.HasPrefix(s, "e") || strings.HasPrefix(s, "E") {
		negative, rest := cutSign(s[1:])
		digits, rest := cutDigits(rest)
		if digits == "" {
			return number{}, false
		}
		for i := 0; i < len(digits) && n.exponent < maxExponent; i++ {
			n.exponent = n.exponent*10 + int64(digits[i]-'0')
		}
		if negative {
			n.exponent = -n.exponent
		}
		s = rest
	}
	return n, s == ""
}

func cutSign(s string) (negative bool, rest string) {
	if s != "" && (s[0] == '-' || s[0] == '+') {
		return s[0] == '-', s[1:]
	}
	return false, s
}

func cutDigits(s string) (digits, rest string) {
	i := 0
	for i < len(s) && '0' <= s[i] && s[i] <= '9' {
		i++
	}
	return s[:i], s[i:]
}

// valid reports whether m is a decimal(18,6).
func (m Money) valid() bool { return -moneyEnd < m && m < moneyEnd }

// String returns the shortest decimal that is exactly m: "0", "2.06", "-0.000001".
func (m Money) String() string {
	sign, abs := "", uint64(m)
	if m < 0 {
		sign, abs = "-", -abs
	}
	s := sign + strconv.FormatUint(abs/moneyUnit, 10)
	if fraction := abs % moneyUnit; fraction != 0 {
		s += strings.TrimRight(fmt.Sprintf(".%0*d", moneyScale, fraction), "0")
	}
	return s
}

// MarshalJSON returns m as a JSON number: what String returns.
func (m Money) MarshalJSON() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalJSON reads a JSON number that is a decimal(18,6); one that would have to be rounded is an error.
func (m *Money) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return nil // as encoding/json asks of every Unmarshaler
	}
	v, exact, err := ParseMoney(string(b))
	if err != nil {
		return err
	}
	if !exact {
		return errInexact
	}
	*m = v
	return nil
}

// Rat returns m as a new rational number.
func (m Money) Rat() *big.Rat { return big.NewRat(int64(m), moneyUnit) }
