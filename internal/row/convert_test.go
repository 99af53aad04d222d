package row_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pstncalls/internal/row"
	"pstncalls/schema"
)

func TestExampleOfMicrosoft(t *testing.T) {
	start := time.Date(2019, 11, 1, 0, 0, 8, 258e6, time.UTC)
	want := row.Row{
		ID: "9c4984c7-6c3c-427d-a30c-bd0b2eacee90", HasID: true,
		Key:         "1835317186_112562680@61.221.3.176",
		Fingerprint: 0x50aa3955e02aef4e,
		Start:       start,
		Call: &schema.PstnCall{
			ID:                    new("9c4984c7-6c3c-427d-a30c-bd0b2eacee90"),
			CallID:                new("1835317186_112562680@61.221.3.176"),
			UserID:                new("db03c14b-06eb-4189-939b-7cbf3a20ba27"),
			UserPrincipalName:     new("richard.malk@contoso.com"),
			UserDisplayName:       new("Richard Malk"),
			StartDateTime:         new(start),
			EndDateTime:           new(time.Date(2019, 11, 1, 0, 3, 47, 258e6, time.UTC)),
			Duration:              new(int32(219)),
			CallDurationSource:    new("microsoft"),
			CallType:              new("user_in"),
			CallerNumber:          new("+0123456789"),
			CalleeNumber:          new("+1234567890"),
			Charge:                new(schema.Money(0)),
			ConnectionCharge:      new(schema.Money(0)),
			Currency:              new("USD"),
			DestinationName:       new("United States"),
			LicenseCapability:     new("MCOPSTNU"),
			InventoryType:         new("Subscriber"),
			Operator:              new("Microsoft"),
			TenantCountryCode:     new("US"),
			UsageCountryCode:      new("US"),
			OtherPartyCountryCode: new("US"),
			AdministrativeUnitInfos: []schema.AdministrativeUnitInfo{
				{ID: new("639b616c-f164-4a6f-a933-24936b8eb210")}, {ID: new("cc6ea167-4e92-4c2d-9391-85791e978006")},
			},
			ClientPublicIPV4Address: new("99.76.33.16"),
			ClientPublicIPV6Address: new("1234:fd2:5621:1:89::4500"),
			ClientLocalIPV4Address:  new("192.168.1.165"),
			ClientLocalIPV6Address:  new("2600:1700:1dca:8110::40"),
		},
	}
	raw := example(t)
	c := row.NewConverter(nil)
	got := c.Convert(raw)

	// What comes back must survive both the caller's bytes and the next row.
	clear(raw)
	c.Convert([]byte(strings.Repeat(" ", len(raw)) + `{"id":"zzzzzzzzzzzzzzzz","callId":"zzzzzzzzzzzzzzzzzzzzzzzz","duration":7}`))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// with returns a small row that converts, with these members behind its own.
func with(members string) string {
	return `{"id":"r1","startDateTime":"2026-11-01T10:00:00Z"` + members + `}`
}

func TestEventValues(t *testing.T) {
	call := func(change func(*schema.PstnCall)) schema.PstnCall {
		c := schema.PstnCall{ID: new("r1"), StartDateTime: new(time.Date(2026, 11, 1, 10, 0, 0, 0, time.UTC))}
		change(&c)
		return c
	}
	tests := map[string]struct {
		members string
		want    func(*schema.PstnCall)
	}{
		"nothing more":          {``, func(*schema.PstnCall) {}},
		"nulls":                 {`,"callId":null,"charge":null,"duration":null,"endDateTime":null,"administrativeUnitInfos":null,"new":null`, func(*schema.PstnCall) {}},
		"empty strings":         {`,"callId":"","operator":""`, func(c *schema.PstnCall) { c.CallID, c.Operator = new(""), new("") }},
		"escapes":               {`,"op\u0065rator":"\u00e9\ud83d\ude00\"\\\u0000"`, func(c *schema.PstnCall) { c.Operator = new("é😀\"\\\x00") }},
		"year 1 is no end":      {`,"endDateTime":"0001-01-01T00:00:00Z"`, func(*schema.PstnCall) {}},
		"duration spelt odd":    {`,"duration":-2.190e2`, func(c *schema.PstnCall) { c.Duration = new(int32(-219)) }},
		"duration 0":            {`,"duration":0.0`, func(c *schema.PstnCall) { c.Duration = new(int32(0)) }},
		"duration least":        {`,"duration":-2147483648`, func(c *schema.PstnCall) { c.Duration = new(int32(-2147483648)) }},
		"money as number":       {`,"charge":1.25`, func(c *schema.PstnCall) { c.Charge = new(schema.Money(1_250_000)) }},
		"money as string":       {`,"connectionCharge":"0.500"`, func(c *schema.PstnCall) { c.ConnectionCharge = new(schema.Money(500_000)) }},
		"six decimals and zero": {`,"charge":0.1234560000`, func(c *schema.PstnCall) { c.Charge = new(schema.Money(123_456)) }},
		"money rounded": {`,"charge":0.0000025,"connectionCharge":"0.0000035"`, func(c *schema.PstnCall) {
			c.Charge, c.ConnectionCharge = new(schema.Money(2)), new(schema.Money(4))
			c.Extra = map[string]string{"charge": `0.0000025`, "connectionCharge": `"0.0000035"`}
		}},
		"unknown properties": {`,"Operator":"x","n":1.0,"o":{ "b" : [1, null], "a@odata.type" : "#t" }`, func(c *schema.PstnCall) {
			c.Extra = map[string]string{"Operator": `"x"`, "n": `1.0`, "o": `{"b":[1,null],"a@odata.type":"#t"}`}
		}},
		"OData's annotations": {`,"@odata.type":"#t","charge@odata.type":"#Decimal"`, func(*schema.PstnCall) {}},
		"no units":            {`,"administrativeUnitInfos":[]`, func(c *schema.PstnCall) { c.AdministrativeUnitInfos = []schema.AdministrativeUnitInfo{} }},
		"a unit without id": {`,"administrativeUnitInfos":[{},{"id":null,"@odata.type":"#u"}]`, func(c *schema.PstnCall) {
			c.AdministrativeUnitInfos = []schema.AdministrativeUnitInfo{{}, {}}
		}},
		"a unit that is null": {`,"administrativeUnitInfos":[null]`, func(c *schema.PstnCall) {
			c.AdministrativeUnitInfos = []schema.AdministrativeUnitInfo{{}}
			c.Extra = map[string]string{"administrativeUnitInfos": `[null]`}
		}},
		"a unit with a name": {`,"administrativeUnitInfos":[{"id":"a"},{"id":"b", "name":"n"}]`, func(c *schema.PstnCall) {
			c.AdministrativeUnitInfos = []schema.AdministrativeUnitInfo{{ID: new("a")}, {ID: new("b")}}
			c.Extra = map[string]string{"administrativeUnitInfos": `[{"id":"a"},{"id":"b","name":"n"}]`}
		}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := convert(with(tt.members))
			if got.Reject != nil || got.JSON != nil {
				t.Fatalf("reject %+v", got.Reject)
			}
			if diff := cmp.Diff(call(tt.want), *got.Call); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestKey(t *testing.T) {
	for members, want := range map[string]string{``: "", `,"callId":null`: "", `,"callId":""`: "", `,"callId":"c\u0031"`: "c1"} {
		if got := convert(with(members)).Key; got != want {
			t.Errorf("%s: key %q, want %q", members, got, want)
		}
	}
}

func TestRejects(t *testing.T) {
	long := strings.Repeat("i", 257)
	deep := strings.Repeat("[", 20000) + strings.Repeat("]", 20000)
	tests := map[string]struct {
		raw            string
		property, part string // the reject's property, and a part of its reason
		id             string // "" stands for any id of a row without one
	}{
		"number for a string":  {with(`,"operator":1`), "operator", "not a string", "r1"},
		"object for a string":  {with(`,"callId":{"a":1}`), "callId", "not a string", "r1"},
		"string for seconds":   {with(`,"duration":"12"`), "duration", "whole number", "r1"},
		"part of a second":     {with(`,"duration":1.5`), "duration", "whole number", "r1"},
		"too many seconds":     {with(`,"duration":2147483648`), "duration", "whole number", "r1"},
		"far too many seconds": {with(`,"duration":1e999999999`), "duration", "whole number", "r1"},
		"bad end":              {with(`,"endDateTime":"2026-11-01"`), "endDateTime", "date-time", "r1"},
		"number for a time":    {with(`,"endDateTime":20261101`), "endDateTime", "date-time", "r1"},
		"no start":             {`{"id":"r1"}`, "startDateTime", "no start", "r1"},
		"null start":           {`{"id":"r1","startDateTime":null}`, "startDateTime", "no start", "r1"},
		"start in year 1":      {`{"id":"r1","startDateTime":"0001-01-01T00:00:00Z"}`, "startDateTime", "no start", "r1"},
		"bad start":            {`{"id":"r1","startDateTime":"yesterday"}`, "startDateTime", "date-time", "r1"},
		"money too large":      {with(`,"charge":1000000000000`), "charge", "decimal(18,6)", "r1"},
		"money far too large":  {with(`,"charge":1e999999999`), "charge", "decimal(18,6)", "r1"},
		"money no number":      {with(`,"connectionCharge":"free"`), "connectionCharge", "number", "r1"},
		"money true":           {with(`,"charge":true`), "charge", "not an amount", "r1"},
		"units no array":       {with(`,"administrativeUnitInfos":{"id":"a"}`), "administrativeUnitInfos", "array", "r1"},
		"unit no object":       {with(`,"administrativeUnitInfos":["a"]`), "administrativeUnitInfos", "array", "r1"},
		"unit's id no string":  {with(`,"administrativeUnitInfos":[{"id":1}]`), "administrativeUnitInfos", "array", "r1"},
		"two, in any order":    {with(`,"operator":1,"callId":2`), "callId", "not a string", "r1"},
		"id no string":         {`{"id":7,"startDateTime":"2026-11-01T10:00:00Z"}`, "id", "not a string", ""},
		"id too long":          {`{"id":"` + long + `","startDateTime":"2026-11-01T10:00:00Z"}`, "id", "256", ""},
		"id like ours":         {`{"id":"~a","startDateTime":"2026-11-01T10:00:00Z"}`, "id", "begins with ~", ""},
		"doubled":              {with(`,"operator":"a","operator":"a"`), "operator", "twice", "r1"},
		"doubled by an escape": {with(`,"operator":"a","op\u0065rator":null`), "operator", "twice", "r1"},
		"doubled further down": {with(`,"administrativeUnitInfos":[{"id":"a","id":"a"}]`), "administrativeUnitInfos", "twice", "r1"},
		"doubled unknown":      {with(`,"Richard":1,"Richard":2`), "", "twice", "r1"},
		"doubled id":           {with(`,"id":"r2"`), "id", "twice", ""},
		"doubled before wrong": {with(`,"callId":1,"operator":"a","operator":"a"`), "operator", "twice", "r1"},
		"lone surrogate":       {with(`,"operator":"\ud800"`), "operator", "broken text", "r1"},
		"surrogate further on": {with(`,"new":{"a":["\udc00x"]}`), "", "broken text", "r1"},
		"invalid UTF-8":        {with(",\"operator\":\"a\xffb\""), "operator", "broken text", "r1"},
		"invalid UTF-8 name":   {with(",\"opera\xfftor\":1"), "", "broken text", "r1"},
		"invalid UTF-8 id":     {"{\"id\":\"\xff\",\"startDateTime\":\"2026-11-01T10:00:00Z\"}", "id", "broken text", ""},
		"null":                 {`null`, "", "not an object", ""},
		"a string":             {`"row"`, "", "not an object", ""},
		"an array":             {`[{}]`, "", "not an object", ""},
		"too deep":             {with(`,"new":` + deep), "", "nested too deep", ""},
		"no JSON":              {`{"id":"r1"`, "", "not valid JSON", ""},
		"two values":           {`{} {}`, "", "not valid JSON", ""},
		"nothing":              {``, "", "not valid JSON", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := convert(tt.raw)
			if got.Reject == nil {
				t.Fatal("an event")
			}
			if got.Reject.Property != tt.property || !strings.Contains(got.Reject.Reason, tt.part) {
				t.Errorf("reject %+v, want %s: %s", *got.Reject, tt.property, tt.part)
			}
			if got.Call != nil {
				t.Errorf("half an event: %+v", got.Call)
			}
			if string(got.JSON) != tt.raw {
				t.Errorf("JSON %.100q", got.JSON)
			}
			if tt.id != "" && (got.ID != tt.id || !got.HasID) || tt.id == "" && (!isContentID(got.ID) || got.HasID) {
				t.Errorf("id %q, HasID %t", got.ID, got.HasID)
			}
			if again := convert(tt.raw); again.ID != got.ID || again.Fingerprint != got.Fingerprint {
				t.Error("not the same a second time")
			}
			if other := convert(with(`,"operator":"other"`)); other.Fingerprint == got.Fingerprint {
				t.Error("the fingerprint is that of another row")
			}
		})
	}
}

func TestRejectsTellTheirStart(t *testing.T) {
	for raw, want := range map[string]time.Time{
		with(`,"duration":"x"`):                              time.Date(2026, 11, 1, 10, 0, 0, 0, time.UTC),
		with(`,"operator":1,"operator":1`):                   time.Date(2026, 11, 1, 10, 0, 0, 0, time.UTC),
		with(`,"startDateTime":"2026-11-02T00:00:00Z"`):      {},
		`{"id":"r1","startDateTime":"?","operator":"a"}`:     {},
		`{"id":"r1","startDateTime":"0001-01-01T00:00:00Z"}`: {},
	} {
		if got := convert(raw); got.Reject == nil || !got.Start.Equal(want) {
			t.Errorf("%s: start %v, reject %v", raw, got.Start, got.Reject)
		}
	}
}

func TestDoubledCallIDIsNoKey(t *testing.T) {
	if got := convert(with(`,"callId":"a","callId":"b"`)); got.Key != "" {
		t.Errorf("key %q", got.Key)
	}
}

func TestRejectsKeepACopy(t *testing.T) {
	for _, want := range []string{with(`,"operator":1`), `"row"`} {
		raw := []byte(want)
		got := row.NewConverter(nil).Convert(raw)
		if clear(raw); string(got.JSON) != want {
			t.Errorf("JSON %q, want %q", got.JSON, want)
		}
	}
}

func isContentID(id string) bool {
	return len(id) == 33 && id[0] == '~' && strings.Trim(id[1:], "0123456789abcdef") == ""
}

func TestRowsWithoutID(t *testing.T) {
	row := func(change string) string {
		stable := `"callId":"c","userId":"u","startDateTime":"2026-11-01T10:00:00Z","callType":"t","callerNumber":"1","calleeNumber":"2","conferenceId":"f"`
		name, _, _ := strings.Cut(change, ":")
		var kept []string
		for member := range strings.SplitSeq(stable, `,"`) {
			if member = `"` + strings.TrimPrefix(member, `"`); !strings.HasPrefix(member, name+":") {
				kept = append(kept, member)
			}
		}
		if change != "" {
			kept = append(kept, change)
		}
		return "{" + strings.Join(kept, ",") + "}"
	}
	base := convert(row(""))
	if base.Reject != nil || base.HasID || !isContentID(base.ID) || base.Call.ID != nil {
		t.Fatalf("base: %+v", base)
	}
	const golden = "~100aac62bc56e7362e912634564b029a"
	if base.ID != golden {
		t.Errorf("id %s, want %s: ids in ledgers would change", base.ID, golden)
	}
	for _, same := range []string{`"id":null`, `"operator":"other"`, `"duration":3`, `"callId":"\u0063"`, `"new":1`} {
		if got := convert(row(same)); got.ID != base.ID || got.HasID {
			t.Errorf("%s: another id", same)
		}
	}
	if got := convert(row(`"id":""`)); got.ID != base.ID || got.Call.ID == nil || *got.Call.ID != "" {
		t.Errorf(`"": id %s, in the event %v`, got.ID, got.Call.ID)
	}
	seen := map[string]string{base.ID: "base"}
	for _, name := range []string{"callId", "userId", "startDateTime", "callType", "callerNumber", "calleeNumber", "conferenceId"} {
		for _, value := range []string{`null`, `"2026-11-01T10:00:01Z"`} {
			change := fmt.Sprintf(`%q:%s`, name, value)
			got := convert(row(change)).ID
			if was, ok := seen[got]; ok {
				t.Errorf("%s has the id of %s", change, was)
			}
			seen[got] = change
		}
	}
	if got := convert(`{"userId":"c","callId":"u"}`).ID; got == convert(`{"userId":"u","callId":"c"}`).ID {
		t.Error("swapped values have the same id")
	}
}
