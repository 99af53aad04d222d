package verdict

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
	"time"
)

// sum stands for the content of a row or of an event.
type sum [16]byte

// kind is the type of a documented property.
type kind uint8

const (
	unknown kind = iota
	text
	instant
	money
	seconds
	units
)

func kindOf(name string) kind {
	switch name {
	case "id", "callId", "userId", "userPrincipalName", "userDisplayName", "callDurationSource", "callType", "callerNumber",
		"calleeNumber", "currency", "destinationContext", "destinationName", "conferenceId", "licenseCapability", "inventoryType",
		"operator", "tenantCountryCode", "usageCountryCode", "otherPartyCountryCode", "clientPublicIpV4Address",
		"clientPublicIpV6Address", "clientLocalIpV4Address", "clientLocalIpV6Address":
		return text
	case "startDateTime", "endDateTime":
		return instant
	case "charge", "connectionCharge":
		return money
	case "duration":
		return seconds
	case "administrativeUnitInfos":
		return units
	}
	return unknown
}

// betaOnly reports whether v1.0 does not have the property.
func betaOnly(name string) bool {
	return name == "otherPartyCountryCode" || name == "administrativeUnitInfos" || strings.HasPrefix(name, "clientPublicIp") ||
		strings.HasPrefix(name, "clientLocalIp")
}

// content is what a row says: canonical text by property, without nulls.
type content map[string]string

func (c content) sum() sum {
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(c)) {
		fmt.Fprintf(h, "%d:%s=%d:%s\n", len(name), name, len(c[name]), c[name])
	}
	return sum(h.Sum(nil)[:16])
}

// ofRow returns the content of a row. An error means that no event can hold the row: it has to be a reject.
func ofRow(doc []byte, v1 bool) (content, error) {
	var row map[string]json.RawMessage
	if err := json.Unmarshal(doc, &row); err != nil {
		return nil, err
	}
	c := content{}
	for name, value := range row {
		if isNull(value) || strings.HasPrefix(name, "@odata.") || v1 && betaOnly(name) {
			continue
		}
		s, err := canonical(kindOf(name), value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if s != "" {
			c[name] = s
		}
	}
	if c["startDateTime"] == "" {
		return nil, errors.New("startDateTime: none")
	}
	return c, nil
}

// ofEvent returns the content of an event's value, and what it says about itself.
func ofEvent(doc []byte) (content, self, error) {
	var fields map[string]json.RawMessage
	var me self
	if err := json.Unmarshal(doc, &fields); err != nil {
		return nil, me, err
	}
	if err := json.Unmarshal(doc, &me); err != nil {
		return nil, me, err
	}
	c := content{}
	for name, value := range fields {
		k := kindOf(name)
		if k == unknown && !slices.Contains([]string{"tenantId", "rowId", "revision", "observedAt", "extra"}, name) {
			return nil, me, fmt.Errorf("%s: no field of the event", name)
		}
		if k == unknown || isNull(value) {
			continue
		}
		s, err := canonical(k, value)
		if err != nil {
			return nil, me, fmt.Errorf("%s: %w", name, err)
		}
		if s == "" {
			return nil, me, fmt.Errorf("%s: should be null", name)
		}
		if exact := len(`"2006-01-02T15:04:05.000Z"`); k == instant && len(value) > exact || k == money && strings.Contains(s, "=") {
			return nil, me, fmt.Errorf("%s: finer than the field", name)
		}
		c[name] = s
	}
	for name, raw := range me.Extra {
		value := json.RawMessage(raw)
		if isNull(value) {
			continue
		}
		k := kindOf(name)
		if k != unknown && k != money {
			return nil, me, fmt.Errorf("extra: %s has a field of its own", name)
		}
		s, err := canonical(k, value)
		if err != nil {
			return nil, me, fmt.Errorf("extra: %s: %w", name, err)
		}
		// An amount with more decimals than the field has: the field holds the rounded one, extra the literal.
		if k == money {
			rounded, _, _ := strings.Cut(s, " = ")
			if c[name] != rounded || rounded == s {
				return nil, me, fmt.Errorf("extra: %s is not what the field rounds", name)
			}
		}
		c[name] = s
	}
	return c, me, nil
}

// self is what an event's value says beside the row.
type self struct {
	TenantID *string           `json:"tenantId"`
	RowID    *string           `json:"rowId"`
	Revision *int32            `json:"revision"`
	ID       *string           `json:"id"`
	Extra    map[string]string `json:"extra"`
}

func isNull(b []byte) bool { return string(bytes.TrimSpace(b)) == "null" }

// canonical returns the same text for equal values, and "" for one that stands for null.
func canonical(k kind, value json.RawMessage) (string, error) {
	switch k {
	case text:
		var s string
		err := json.Unmarshal(value, &s)
		return "t" + s, err
	case instant:
		var s string
		if err := json.Unmarshal(value, &s); err != nil {
			return "", err
		}
		t, err := time.Parse(time.RFC3339, s)
		if err != nil {
			return "", errors.New("no RFC 3339 time")
		}
		if t = t.UTC(); t.Year() <= 1 {
			return "", nil
		}
		return t.Truncate(time.Millisecond).Format("2006-01-02T15:04:05.000"), nil
	case money:
		return amount(value)
	case seconds:
		var n int32
		err := json.Unmarshal(value, &n)
		return fmt.Sprint(n), err
	case units:
		var list []struct {
			ID *string `json:"id"`
		}
		if err := json.Unmarshal(value, &list); err != nil {
			return "", err
		}
		b, err := json.Marshal(list)
		return string(b), err
	}
	d := json.NewDecoder(bytes.NewReader(value))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return "", err
	}
	if d.More() {
		return "", errors.New("more than one value")
	}
	b, err := json.Marshal(plain(v))
	return string(b), err
}

// amount returns a sum of money as a fraction: 219/10; with " = " and the exact one where it has more than six decimals.
func amount(value json.RawMessage) (string, error) {
	r, err := rational(strings.Trim(string(bytes.TrimSpace(value)), `"`))
	if err != nil {
		return "", err
	}
	million := big.NewRat(1_000_000, 1)
	scaled := new(big.Rat).Mul(r, million)
	units := halfEven(scaled)
	if units.CmpAbs(new(big.Int).Exp(big.NewInt(10), big.NewInt(18), nil)) >= 0 {
		return "", errors.New("beyond decimal(18,6)")
	}
	rounded := new(big.Rat).SetFrac(units, million.Num()).RatString()
	if scaled.IsInt() {
		return rounded, nil
	}
	return rounded + " = " + r.RatString(), nil
}

func halfEven(r *big.Rat) *big.Int {
	q, m := new(big.Int).DivMod(r.Num(), r.Denom(), new(big.Int)) // q is the floor
	switch c := m.Lsh(m, 1).Cmp(r.Denom()); {
	case c > 0, c == 0 && q.Bit(0) == 1:
		q.Add(q, big.NewInt(1))
	}
	return q
}

// rational reads a JSON number; an exponent of hostile size is refused, not computed.
func rational(s string) (*big.Rat, error) {
	var n json.Number
	if err := json.Unmarshal([]byte(s), &n); err != nil || len(s) > 100 {
		return nil, errors.New("no number")
	}
	if i := strings.IndexAny(s, "eE"); i >= 0 && len(strings.TrimLeft(s[i+1:], "+-0")) > 2 {
		return nil, errors.New("exponent out of range")
	}
	r, ok := new(big.Rat).SetString(s)
	if !ok {
		return nil, errors.New("no number")
	}
	return r, nil
}

// plain replaces every number by its value, so that 1.0 and 1 are equal.
func plain(v any) any {
	switch v := v.(type) {
	case json.Number:
		r, err := rational(v.String())
		if err != nil {
			return v // an outlandish number equals itself only
		}
		return []any{"#", r.RatString()}
	case []any:
		for i := range v {
			v[i] = plain(v[i])
		}
	case map[string]any:
		for name := range v {
			v[name] = plain(v[name])
		}
	}
	return v
}
