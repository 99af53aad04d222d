package schema_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hamba/avro/v2"
	twmb "github.com/twmb/avro"

	"pstncalls/schema"
)

func TestCanonicalForm(t *testing.T) {
	tests := []struct{ name, avsc, want string }{
		{"primitive", `{"type": "string"}`, `"string"`},
		{"logical types are stripped", `["null", {"type": "bytes", "logicalType": "decimal", "precision": 18, "scale": 6},
			{"logicalType": "timestamp-millis", "type": "long"}]`, `["null","bytes","long"]`},
		{"record", `{"namespace": "a.b", "doc": "d", "aliases": ["X"], "fields": [
				{"default": 1, "name": "n", "type": "int", "doc": "d"},
				{"name": "r", "type": {"name": "Inner", "type": "record", "fields": []}},
				{"name": "again", "type": ["null", "Inner"]},
				{"name": "m", "type": {"values": "string", "type": "map"}},
				{"name": "l", "type": {"items": ["null", "long"], "type": "array"}}
			], "type": "record", "name": "Outer"}`,
			`{"name":"a.b.Outer","type":"record","fields":[{"name":"n","type":"int"},` +
				`{"name":"r","type":{"name":"a.b.Inner","type":"record","fields":[]}},{"name":"again","type":["null","a.b.Inner"]},` +
				`{"name":"m","type":{"type":"map","values":"string"}},{"name":"l","type":{"type":"array","items":["null","long"]}}]}`},
		{"PstnCall", schema.PstnCallSchema(), string(twmb.MustParse(schema.PstnCallSchema()).Canonical())},
	}
	for _, tt := range tests {
		got, err := schema.CanonicalForm(tt.avsc)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
		} else if diff := cmp.Diff(tt.want, string(got)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
	for _, bad := range []string{`{`, `{"type": "enum", "name": "E", "symbols": ["A"]}`, `{"type": "array", "items": {"type": "fixed", "name": "F", "size": 1}}`} {
		if got, err := schema.CanonicalForm(bad); err == nil {
			t.Errorf("no error for %s: %s", bad, got)
		}
	}
}

// avroField is a field of a record, as its .avsc has it.
type avroField struct {
	Name    string          `json:"name"`
	Type    any             `json:"type"`
	Default json.RawMessage `json:"default"`
	Doc     string          `json:"doc"`
}

// fieldsOf returns the fields of the record that an .avsc defines.
func fieldsOf(t *testing.T, avsc string) []avroField {
	t.Helper()
	var record struct{ Fields []avroField }
	if err := json.Unmarshal([]byte(avsc), &record); err != nil {
		t.Fatal(err)
	}
	return record.Fields
}

func TestFields(t *testing.T) {
	fields := fieldsOf(t, schema.PstnCallSchema())
	call := reflect.TypeFor[schema.PstnCall]()
	if len(fields) != call.NumField() {
		t.Fatalf("%d fields, PstnCall has %d", len(fields), call.NumField())
	}
	var fixed []string
	for i, f := range fields {
		if want := call.Field(i).Tag.Get("json"); f.Name != want {
			t.Errorf("field %d is %s, PstnCall's is %s", i, f.Name, want)
		}
		if f.Doc == "" {
			t.Errorf("%s has no doc", f.Name)
		}
		union, _ := f.Type.([]any)
		if len(union) == 2 && union[0] == "null" && string(f.Default) == "null" {
			continue
		}
		fixed = append(fixed, f.Name)
	}
	if diff := cmp.Diff([]string{"tenantId", "rowId", "revision", "observedAt", "extra"}, fixed); diff != "" {
		t.Errorf("fields that are never null (-want +got):\n%s", diff)
	}
}

// TestCompatible holds the schema against every version there was: versions/v1.avsc, v2.avsc and so on, the last of which is the
// schema itself. A change of the schema begins with a new file there.
func TestCompatible(t *testing.T) {
	files, err := filepath.Glob("testdata/versions/*.avsc")
	if err != nil || len(files) == 0 {
		t.Fatalf("no versions: %v", err)
	}
	for n := range files {
		file := fmt.Sprintf("testdata/versions/v%d.avsc", n+1)
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := compatible(t, string(b), schema.PstnCallSchema()); err != nil {
			t.Errorf("%s: %v", file, err)
		}
		if n == len(files)-1 && string(b) != schema.PstnCallSchema() {
			t.Errorf("pstn_call.avsc is not %s: keep that as it is and add a version", file)
		}
	}
}

// compatible returns how the schema is not one that may follow old.
func compatible(t *testing.T, old, new string) error {
	t.Helper()
	parse := func(avsc string) avro.Schema {
		s, err := avro.ParseWithCache(avsc, "", &avro.SchemaCache{})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	if err := avro.NewSchemaCompatibility().Compatible(parse(new), parse(old)); err != nil {
		return fmt.Errorf("the new schema does not read the old one: %w", err)
	}
	if err := avro.NewSchemaCompatibility().Compatible(parse(old), parse(new)); err != nil {
		return fmt.Errorf("the old schema does not read the new one: %w", err)
	}
	// hamba passes over logical types, and over a change of order, which DecodePstnCall is not prepared for.
	before, after := fieldsOf(t, old), fieldsOf(t, new)
	if len(after) < len(before) {
		return fmt.Errorf("%d fields, there were %d", len(after), len(before))
	}
	for i, f := range before {
		if after[i].Name != f.Name {
			return fmt.Errorf("field %d is %s, it was %s", i, after[i].Name, f.Name)
		}
		if diff := cmp.Diff(withoutDocs(f.Type), withoutDocs(after[i].Type)); diff != "" {
			return fmt.Errorf("type of %s (-old +new):\n%s", f.Name, diff)
		}
	}
	return nil
}

// withoutDocs returns a copy of a type of an .avsc without its doc strings.
func withoutDocs(v any) any {
	switch v := v.(type) {
	case []any:
		w := slices.Clone(v)
		for i := range w {
			w[i] = withoutDocs(w[i])
		}
		return w
	case map[string]any:
		w := maps.Clone(v)
		delete(w, "doc")
		for k := range w {
			w[k] = withoutDocs(w[k])
		}
		return w
	}
	return v
}

func TestCompatibleNotices(t *testing.T) {
	const (
		decimal  = `{"name": "a", "type": ["null", {"type": "bytes", "logicalType": "decimal", "precision": 18, "scale": 6}], "default": null}`
		millis   = `{"name": "b", "type": {"type": "long", "logicalType": "timestamp-millis"}}`
		optional = `{"name": "c", "type": ["null", "string"], "default": null}`
	)
	record := func(fields ...string) string {
		avsc := `{"type": "record", "name": "R", "fields": [`
		for i, f := range fields {
			if i > 0 {
				avsc += ","
			}
			avsc += f
		}
		return avsc + `]}`
	}
	tests := []struct {
		name string
		new  string
		ok   bool
	}{
		{"nothing", record(decimal, millis), true},
		{"a doc", record(decimal, `{"name": "b", "doc": "d", "type": {"type": "long", "doc": "d", "logicalType": "timestamp-millis"}}`), true},
		{"field added with a default", record(decimal, millis, optional), true},
		{"field added without a default", record(decimal, millis, `{"name": "c", "type": "string"}`), false},
		{"field added in front", record(optional, decimal, millis), false},
		{"field with a default removed", record(millis), false},
		{"field without a default removed", record(decimal), false},
		{"order", record(millis, decimal), false},
		{"scale", record(`{"name": "a", "type": ["null", {"type": "bytes", "logicalType": "decimal", "precision": 18, "scale": 4}], "default": null}`, millis), false},
		{"precision", record(`{"name": "a", "type": ["null", {"type": "bytes", "logicalType": "decimal", "precision": 20, "scale": 6}], "default": null}`, millis), false},
		{"logical type", record(decimal, `{"name": "b", "type": {"type": "long", "logicalType": "timestamp-micros"}}`), false},
		{"logical type removed", record(decimal, `{"name": "b", "type": "long"}`), false},
		{"type", record(decimal, `{"name": "b", "type": "double"}`), false},
		{"null forbidden", record(`{"name": "a", "type": {"type": "bytes", "logicalType": "decimal", "precision": 18, "scale": 6}}`, millis), false},
	}
	for _, tt := range tests {
		if err := compatible(t, record(decimal, millis), tt.new); (err == nil) != tt.ok {
			t.Errorf("%s: error %v, want compatible: %v", tt.name, err, tt.ok)
		}
	}
}
