package row

import (
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pstncalls/schema"
)

// TestPropertiesMatchSchema compares the table with the fields of schema.PstnCall: names, order and types.
func TestPropertiesMatchSchema(t *testing.T) {
	ours := map[string]bool{"tenantId": true, "rowId": true, "revision": true, "observedAt": true, "extra": true}
	kinds := map[string]kind{
		"*string": text, "*time.Time": dateTime, "*int32": seconds, "*schema.Money": money, "[]schema.AdministrativeUnitInfo": units,
	}
	type column struct {
		Name string
		Kind kind
	}
	var got, want []column
	for f := range reflect.TypeFor[schema.PstnCall]().Fields() {
		if name := f.Tag.Get("json"); !ours[name] {
			k, ok := kinds[f.Type.String()]
			if !ok {
				t.Errorf("%s has a type that rows do not know: %s", name, f.Type)
			}
			want = append(want, column{name, k})
		}
	}
	for _, p := range properties {
		got = append(got, column{p.name, p.kind})
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}

	var call schema.PstnCall
	for _, p := range properties {
		if (p.field != nil) != (p.kind == text) {
			t.Errorf("%s: has a field: %t", p.name, p.field != nil)
		}
		if p.field != nil {
			*p.field(&call) = &p.name
		}
	}
	v := reflect.ValueOf(call)
	for f := range v.Type().Fields() {
		if s, ok := v.FieldByIndex(f.Index).Interface().(*string); ok && (s == nil || *s != f.Tag.Get("json")) {
			t.Errorf("%s is filled from another property", f.Name)
		}
	}

	at := positions()
	for name, want := range map[string]int{
		"id": propID, "callId": propCallID, "startDateTime": propStartDateTime, "endDateTime": propEndDateTime,
		"charge": propCharge, "administrativeUnitInfos": propUnits,
	} {
		if name = `"` + name + `"`; at[name] != want {
			t.Errorf("%s is at %d, not at %d", name, at[name], want)
		}
	}
}

func TestParseTime(t *testing.T) {
	tests := []struct{ in, want string }{
		{"2019-11-01T00:00:08Z", "2019-11-01T00:00:08Z"},
		{"2019-11-01T00:00:08.2589935Z", "2019-11-01T00:00:08.258Z"},
		{"2019-11-01T00:00:08.9999999999999999Z", "2019-11-01T00:00:08.999Z"},
		{"2019-11-01T00:00:08.5Z", "2019-11-01T00:00:08.5Z"},
		{"2019-11-01T00:30:00+01:00", "2019-10-31T23:30:00Z"},
		{"2019-10-31T23:30:00.25-00:45", "2019-11-01T00:15:00.25Z"},
		{"1969-12-31T23:59:59.9999Z", "1969-12-31T23:59:59.999Z"},
		{"2024-02-29T12:00:00Z", "2024-02-29T12:00:00Z"},
		{"9999-12-31T23:59:59.999Z", "9999-12-31T23:59:59.999Z"},
		{"0002-01-01T00:00:00Z", "0002-01-01T00:00:00Z"},
		{"0001-01-01T00:00:00Z", "none"},
		{"0001-01-01T00:00:00+14:00", "none"},
		{"0001-12-31T23:59:59-10:00", "none"},
		{"0002-01-01T00:00:00+10:00", "none"},
		{"0000-01-01T00:00:00Z", "bad"},
		{"9999-12-31T23:59:59-00:01", "bad"},
		{"2019-11-01T00:00:08", "bad"},
		{"2019-11-01", "bad"},
		{"2019-11-01 00:00:08Z", "bad"},
		{"2019-11-01T00:00:08.Z", "bad"},
		{"2019-11-01T00:00:08,5Z", "bad"},
		{"2019-11-01T00:00:08ZZ", "bad"},
		{"2019-11-01T00:00:08+0100", "bad"},
		{"2019-11-01T00:00:08+24:00", "bad"},
		{"2019-11-01T00:00:08+01:60", "bad"},
		{"2019-11-01T00:00:08+1a:00", "bad"},
		{"2019-02-29T00:00:00Z", "bad"},
		{"2019-13-01T00:00:00Z", "bad"},
		{"2019-00-01T00:00:00Z", "bad"},
		{"2019-11-00T00:00:00Z", "bad"},
		{"2019-11-31T00:00:00Z", "bad"},
		{"2019-11-01T24:00:00Z", "bad"},
		{"2019-11-01T00:60:00Z", "bad"},
		{"2019-11-01T00:00:60Z", "bad"},
		{"-019-11-01T00:00:00Z", "bad"},
		{"12019-11-01T00:00:00Z", "bad"},
		{"", "bad"},
	}
	for _, tt := range tests {
		got := "bad"
		if at, ok := parseTime([]byte(tt.in)); ok && at.IsZero() {
			got = "none"
		} else if ok {
			got = at.Format("2006-01-02T15:04:05.999999999Z07:00")
		}
		if got != tt.want {
			t.Errorf("%q: got %s, want %s", tt.in, got, tt.want)
		}
	}
}

func TestAppendNumber(t *testing.T) {
	tests := []struct{ want, in string }{
		{"0", "0"}, {"0", "-0"}, {"0", "0.000"}, {"0", "0e5"}, {"0", "-0.0E-99999999999999999999"},
		{"1e0", "1"}, {"1e0", "1.0"}, {"1e0", "10e-1"}, {"1e0", "0.01E+2"}, {"1e2", "100"}, {"1e2", "1e2"}, {"1e2", "1E+02"},
		{"-125e-1", "-12.5"}, {"-125e-1", "-12.50"}, {"5e-3", "0.005"}, {"10001e-2", "100.0100"},
		{"123456789012345678901234567890123e-3", "123456789012345678901234567890.123"},
		{"1e999999999", "1e999999999"}, {"1e1000000000", "10e999999999"},
		{"1e1000000000000000000", "10e999999999999999999"},
		{"1e1000000000000000000", "1e1000000000000000000"},
		{"1e999999999999999999", "0.1e1000000000000000000"},
		{"1e-1000000000000000000", "0.1e-999999999999999999"},
		{"1e-999999999999999999", "10e-1000000000000000000"},
		{"1e9999999999999999999", "1e9999999999999999999"},
		{"1e100000000000000000000", "10e99999999999999999999"},
		{"1e100000000000000000000", "10e0099999999999999999999"},
	}
	for _, tt := range tests {
		if got := string(appendNumber(nil, []byte(tt.in))); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.in, got, tt.want)
		}
	}
}
