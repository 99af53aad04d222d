package schema_test

import (
	"encoding/json"
	"fmt"
	"time"

	"pstncalls/schema"
)

// A record is what any client gives of a record of the topic. Read them with isolation.level=read_committed.
type record struct {
	key     string
	headers []schema.Header
	value   []byte
}

// The rows are kept as they are now: of each the highest revision. Headers say which row and revision a record holds, so that a
// value need not be decoded to be passed over.
func Example() {
	type identity struct{ tenant, row string }
	rows := map[identity]*schema.PstnCall{}
	for _, r := range published() {
		h, err := schema.ParseHeaders(r.headers)
		if err != nil {
			fmt.Println(err)
			return
		}
		id := identity{h.TenantID, h.RowID}
		if old, ok := rows[id]; ok && h.Revision <= old.Revision {
			continue
		}
		if rows[id], err = schema.Decode(r.value); err != nil {
			fmt.Println(err)
			return
		}
	}
	for id, call := range rows {
		fmt.Println(id.tenant, id.row, "revision", call.Revision, "costs", call.Charge)
	}
	// Output: contoso 9c4984c7 revision 1 costs 2.06
}

// published returns the two revisions of a row, and once more the first, as a reader sees them that begins again.
func published() (records []record) {
	at := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for revision, charge := range []schema.Money{0, 2_060_000} {
		call := &schema.PstnCall{TenantID: "contoso", RowID: "9c4984c7", Revision: int32(revision), ObservedAt: at, Charge: &charge}
		payload, err := schema.AppendPstnCall(nil, call)
		if err != nil {
			panic(err)
		}
		headers := schema.Headers{
			RowID: call.RowID, Revision: call.Revision, TenantID: call.TenantID, Source: "https://graph.microsoft.com/beta", Time: at,
			Subject: call.Key(), Owner: "2026-11-22", Commit: int64(revision) + 1,
		}
		records = append(records, record{call.Key(), headers.Append(nil), schema.AppendConfluent(nil, 1, payload)})
	}
	return append(records, records[0])
}

// Microsoft adds a property. Until a release of this package has a field for it, it is in Extra, as raw JSON; the events that were
// published before that release keep it there. A reader that wants both looks at the field first.
func Example_newProperty() {
	type nextCall struct { // as PstnCall will be
		schema.PstnCall
		MediaRegion *string
	}
	mediaRegion := func(c *nextCall) (region string, err error) {
		if c.MediaRegion != nil {
			return *c.MediaRegion, nil
		}
		if raw, ok := c.Extra["mediaRegion"]; ok {
			err = json.Unmarshal([]byte(raw), &region)
		}
		return region, err
	}

	region := "EMEA"
	for _, call := range []*nextCall{
		{PstnCall: schema.PstnCall{RowID: "earlier"}},
		{PstnCall: schema.PstnCall{RowID: "before the release", Extra: map[string]string{"mediaRegion": `"EMEA"`}}},
		{PstnCall: schema.PstnCall{RowID: "after it"}, MediaRegion: &region},
	} {
		region, err := mediaRegion(call)
		fmt.Printf("%s: %q %v\n", call.RowID, region, err)
	}
	// Output:
	// earlier: "" <nil>
	// before the release: "EMEA" <nil>
	// after it: "EMEA" <nil>
}

func ExampleParseMoney() {
	for _, literal := range []string{"2.0600", "1e-6", "0.0000015"} {
		fmt.Println(schema.ParseMoney(literal))
	}
	// Output:
	// 2.06 true <nil>
	// 0.000001 true <nil>
	// 0.000002 false <nil>
}
