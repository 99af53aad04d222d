package verdict

import (
	"bytes"
	"encoding/json"
	"slices"
	"testing"

	"pstncalls/internal/graphfake/calllog"
)

// FuzzContent: the content of a row does not depend on how it is spelt, and no text for an event stops the judge: it counts.
func FuzzContent(f *testing.F) {
	for _, s := range []string{`{"startDateTime":"2026-11-01T10:00:00.1234567Z","charge":"0.0000005","duration":219,"x":{"b":[1.0,null],"a":"y"}}`, `{"startDateTime":null}`,
		`{"tenantId":"contoso","rowId":"a","revision":0,"id":"a","startDateTime":"2026-11-01T10:00:00.123Z","charge":0.01,"extra":{"charge":"0.0000005","x":"{}"}}`,
		`{"charge":1e99999999999,"connectionCharge":"NaN"}`, `{"administrativeUnitInfos":[null,{"id":"a"}]}`, `{"id":1}`, `[]`, `null`, `{`, `{"startDateTime":"2026-11-01T10:00:00Z","x":1e999}`} {
		f.Add([]byte(s), "a", int32(0))
	}
	f.Fuzz(func(t *testing.T, doc []byte, id string, revision int32) {
		row, err := ofRow(doc, false)
		var indented bytes.Buffer
		if json.Indent(&indented, doc, " ", "\t") == nil {
			again, err2 := ofRow(indented.Bytes(), false)
			if (err == nil) != (err2 == nil) || err == nil && row.sum() != again.sum() {
				t.Fatalf("%s is %v (%v), indented %v (%v)", doc, row, err, again, err2)
			}
		}
		truth := calllog.TrueRow{Tenant: "contoso", ID: id, Versions: []calllog.TrueVersion{{JSON: doc}}}
		c := NewComparer(slices.Values([]calllog.TrueRow{truth}), Options{})
		for range 2 {
			c.Add(Event{TenantID: "contoso", RowID: id, Revision: revision, Value: doc})
		}
		c.AddReject(Reject{TenantID: "contoso", RowID: id})
		if v := c.Verdict(); v.OK() {
			t.Fatalf("the same twice, and a reject beside it, is in order: %s", v)
		}
	})
}
