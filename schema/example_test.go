package schema_test

import (
	"fmt"
	"time"

	"pstncalls/schema"
)

// A record's value is decoded whichever its framing is, and the rows are kept as they are now.
func Example() {
	var values [][]byte // of the records of the topic, read with isolation.level=read_committed
	for revision, charge := range []schema.Money{0, 2_060_000} {
		payload, err := schema.AppendPstnCall(nil, &schema.PstnCall{
			TenantID: "contoso", RowID: "9c4984c7", Revision: int32(revision), ObservedAt: time.Now(), Charge: &charge,
		})
		if err != nil {
			fmt.Println(err)
			return
		}
		values = append(values, schema.AppendConfluent(nil, 1, payload))
	}

	type identity struct{ tenant, row string }
	rows := map[identity]*schema.PstnCall{}
	for _, value := range values {
		call, err := schema.Decode(value)
		if err != nil {
			fmt.Println(err)
			return
		}
		id := identity{call.TenantID, call.RowID}
		if old, ok := rows[id]; !ok || call.Revision > old.Revision {
			rows[id] = call
		}
	}
	for id, call := range rows {
		fmt.Println(id.row, call.Revision, call.Charge)
	}
	// Output: 9c4984c7 1 2.06
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
