package schema_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pstncalls/schema"
)

const tenant = "5d3f2b1c-0000-4000-8000-000000000001"

func ptr[T any](v T) *T { return &v }

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func instant(s string) time.Time { return must(time.Parse(time.RFC3339Nano, s)) }

// example is the row that Microsoft's page on getPstnCalls (beta) shows.
func example() *schema.PstnCall {
	return &schema.PstnCall{
		TenantID:                tenant,
		RowID:                   "9c4984c7-6c3c-427d-a30c-bd0b2eacee90",
		Revision:                0,
		ObservedAt:              instant("2026-11-22T10:00:00.5Z"),
		ID:                      ptr("9c4984c7-6c3c-427d-a30c-bd0b2eacee90"),
		CallID:                  ptr("1835317186_112562680@61.221.3.176"),
		UserID:                  ptr("db03c14b-06eb-4189-939b-7cbf3a20ba27"),
		UserPrincipalName:       ptr("richard.malk@contoso.com"),
		UserDisplayName:         ptr("Richard Malk"),
		StartDateTime:           ptr(instant("2019-11-01T00:00:08.2589935Z")),
		EndDateTime:             ptr(instant("2019-11-01T00:03:47.2589935Z")),
		Duration:                ptr(int32(219)),
		CallDurationSource:      ptr("microsoft"),
		CallType:                ptr("user_in"),
		CallerNumber:            ptr("+0123456789"),
		CalleeNumber:            ptr("+1234567890"),
		Charge:                  ptr(schema.Money(0)),
		ConnectionCharge:        ptr(schema.Money(0)),
		Currency:                ptr("USD"),
		DestinationContext:      nil,
		DestinationName:         ptr("United States"),
		ConferenceID:            nil,
		LicenseCapability:       ptr("MCOPSTNU"),
		InventoryType:           ptr("Subscriber"),
		Operator:                ptr("Microsoft"),
		TenantCountryCode:       ptr("US"),
		UsageCountryCode:        ptr("US"),
		OtherPartyCountryCode:   ptr("US"),
		AdministrativeUnitInfos: []schema.AdministrativeUnitInfo{{ID: ptr("639b616c-f164-4a6f-a933-24936b8eb210")}, {ID: ptr("cc6ea167-4e92-4c2d-9391-85791e978006")}},
		ClientPublicIPV4Address: ptr("99.76.33.16"),
		ClientPublicIPV6Address: ptr("1234:fd2:5621:1:89::4500"),
		ClientLocalIPV4Address:  ptr("192.168.1.165"),
		ClientLocalIPV6Address:  ptr("2600:1700:1dca:8110::40"),
	}
}

// bare has nothing but what every event has.
func bare() *schema.PstnCall {
	return &schema.PstnCall{TenantID: "t", RowID: "r", ObservedAt: time.UnixMilli(0).UTC()}
}

// full has a value of its own in every field, so that two that change places are noticed.
func full() *schema.PstnCall {
	c := &schema.PstnCall{Revision: 7, ObservedAt: time.UnixMilli(1_700_000_000_123).UTC()}
	v := reflect.ValueOf(c).Elem()
	for i := range v.NumField() {
		switch f := v.Field(i).Addr().Interface().(type) {
		case *string:
			*f = "~" + v.Type().Field(i).Name
		case **string:
			*f = ptr(fmt.Sprintf("%d é 電話 📞 \x00 %s", i, strings.Repeat("long ", i)))
		case **time.Time:
			*f = ptr(time.UnixMilli(int64(1_500_000_000_000 + i)).UTC())
		case **int32:
			*f = ptr(int32(-100 - i))
		case **schema.Money:
			*f = ptr(schema.Money(-2_060_000 - i))
		}
	}
	c.AdministrativeUnitInfos = []schema.AdministrativeUnitInfo{{ID: ptr("é")}, {}, {ID: ptr("")}}
	c.Extra = map[string]string{"nächste": `{"a":[1,null]}`}
	return c
}

// encode is AppendPstnCall of a call that must be encodable.
func encode(t testing.TB, c *schema.PstnCall) []byte {
	t.Helper()
	b, err := schema.AppendPstnCall(nil, c)
	if err != nil {
		t.Fatalf("AppendPstnCall: %v", err)
	}
	return b
}

func TestExampleRow(t *testing.T) {
	c := example()
	b := encode(t, c)

	// By hand, from the Avro specification. 0 is null, 2 the other branch; a length is doubled; all strings are under 64 bytes.
	str := func(s string) string { return string([]byte{byte(2 * len(s))}) + s }
	opt := func(s string) string { return "\x02" + str(s) }
	want := strings.Join([]string{
		str(tenant), str(c.RowID), "\x00", "\xe8\x9b\x96\xab\xc0\x68", // 1795341600500
		opt("9c4984c7-6c3c-427d-a30c-bd0b2eacee90"),
		opt("1835317186_112562680@61.221.3.176"),
		opt("db03c14b-06eb-4189-939b-7cbf3a20ba27"),
		opt("richard.malk@contoso.com"), opt("Richard Malk"),
		"\x02\x84\xf1\x98\xc4\xc4\x5b", "\x02\xf4\xce\xb3\xc4\xc4\x5b", // 1572566408258, 1572566627258
		"\x02\xb6\x03", opt("microsoft"), opt("user_in"), opt("+0123456789"), opt("+1234567890"),
		"\x02\x02\x00", "\x02\x02\x00", opt("USD"),
		"\x00", opt("United States"), "\x00", opt("MCOPSTNU"), opt("Subscriber"), opt("Microsoft"),
		opt("US"), opt("US"), opt("US"),
		"\x02\x04", opt("639b616c-f164-4a6f-a933-24936b8eb210"), opt("cc6ea167-4e92-4c2d-9391-85791e978006"), "\x00",
		opt("99.76.33.16"), opt("1234:fd2:5621:1:89::4500"), opt("192.168.1.165"), opt("2600:1700:1dca:8110::40"),
		"\x00",
	}, "")
	if diff := cmp.Diff(want, string(b)); diff != "" {
		t.Errorf("encoded (-want +got):\n%s", diff)
	}

	got, err := schema.DecodePstnCall(b)
	if err != nil {
		t.Fatal(err)
	}
	c.StartDateTime = ptr(instant("2019-11-01T00:00:08.258Z"))
	c.EndDateTime = ptr(instant("2019-11-01T00:03:47.258Z"))
	if diff := cmp.Diff(c, got); diff != "" {
		t.Errorf("decoded (-want +got):\n%s", diff)
	}
}

func TestRoundTrip(t *testing.T) {
	with := func(change func(c *schema.PstnCall)) *schema.PstnCall {
		c := bare()
		change(c)
		return c
	}
	tests := map[string]*schema.PstnCall{
		"every property null": bare(),
		"every property set":  full(),
		"empty string":        with(func(c *schema.PstnCall) { c.UserID = ptr("") }),
		"empty units":         with(func(c *schema.PstnCall) { c.AdministrativeUnitInfos = []schema.AdministrativeUnitInfo{} }),
		"many units":          with(func(c *schema.PstnCall) { c.AdministrativeUnitInfos = make([]schema.AdministrativeUnitInfo, 1000) }),
		"first millisecond":   with(func(c *schema.PstnCall) { c.ObservedAt = time.Time{} }),
		"last millisecond":    with(func(c *schema.PstnCall) { c.ObservedAt = instant("9999-12-31T23:59:59.999Z") }),
		"before 1970":         with(func(c *schema.PstnCall) { c.EndDateTime = ptr(instant("1969-12-31T23:59:59.999Z")) }),
		"largest revision":    with(func(c *schema.PstnCall) { c.Revision = 1<<31 - 1 }),
		"smallest duration":   with(func(c *schema.PstnCall) { c.Duration = ptr(int32(-1 << 31)) }),
		"extra":               with(func(c *schema.PstnCall) { c.Extra = map[string]string{"": "", "a": "1", "b": "null"} }),
	}
	for _, m := range []schema.Money{0, 1, -1, 127, 128, -128, -129, 255, 256, 32767, 32768, -32768, -32769, 1<<55 - 1, 1 << 55, -1 << 55,
		-1<<55 - 1, 999_999_999_999_999_999, -999_999_999_999_999_999} {
		tests["charge "+m.String()] = with(func(c *schema.PstnCall) { c.Charge = &m })
	}
	for name, want := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := schema.DecodePstnCall(encode(t, want))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestKey(t *testing.T) {
	for _, tt := range []struct {
		callID *string
		want   string
	}{{ptr("call"), "call"}, {ptr(""), "row"}, {nil, "row"}} {
		c := schema.PstnCall{RowID: "row", CallID: tt.callID}
		if got := c.Key(); got != tt.want {
			t.Errorf("Key() = %q, want %q", got, tt.want)
		}
	}
}
