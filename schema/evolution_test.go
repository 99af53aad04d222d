package schema_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hamba/avro/v2"
	twmb "github.com/twmb/avro"

	"pstncalls/schema"
)

// The worked example of the package comment: Microsoft adds the property mediaRegion. This release has it in extra, as raw JSON; the
// next one has a field for it. .ci/readers/evolve.py does the same on a real topic with a real registry.
const (
	addedField = `{"name": "mediaRegion", "type": ["null", "string"], "default": null, "doc": "Region of the media relay."}`
	addedValue = `EMEA "west" ü`
	addedJSON  = `"EMEA \"west\" ü"`
)

// nextSchema returns the schema of the next release: one field more, at the end.
func nextSchema(t *testing.T) string {
	t.Helper()
	return withField(t, addedField)
}

func withField(t *testing.T, field string) string {
	t.Helper()
	const end = "\n  ]\n}\n"
	head, ok := strings.CutSuffix(schema.PstnCallSchema(), end)
	if !ok {
		t.Fatal("pstn_call.avsc ends in another way")
	}
	return head + ",\n    " + field + end
}

// A resolving reader decodes b, written with one schema, into what another one says.
type resolvingReader func(writer, reader string, b []byte) (map[string]any, error)

func resolvingReaders() map[string]resolvingReader {
	return map[string]resolvingReader{
		"hamba": func(writer, reader string, b []byte) (map[string]any, error) {
			w, err := avro.ParseWithCache(writer, "", &avro.SchemaCache{})
			if err != nil {
				return nil, err
			}
			r, err := avro.ParseWithCache(reader, "", &avro.SchemaCache{})
			if err != nil {
				return nil, err
			}
			resolved, err := avro.NewSchemaCompatibility().Resolve(r, w)
			if err != nil {
				return nil, err
			}
			var event map[string]any
			if err := avro.Unmarshal(resolved, b, &event); err != nil {
				return nil, err
			}
			// Into a map, hamba also puts the fields that only the writer has; a reader's struct has none for them.
			fields := r.(*avro.RecordSchema).Fields()
			maps.DeleteFunc(event, func(name string, _ any) bool {
				return !slices.ContainsFunc(fields, func(f *avro.Field) bool { return f.Name() == name })
			})
			return event, nil
		},
		"twmb": func(writer, reader string, b []byte) (map[string]any, error) {
			w, err := twmb.Parse(writer)
			if err != nil {
				return nil, err
			}
			r, err := twmb.Parse(reader)
			if err != nil {
				return nil, err
			}
			resolved, err := twmb.Resolve(w, r)
			if err != nil {
				return nil, err
			}
			var event any
			rest, err := resolved.Decode(b, &event)
			if err == nil && len(rest) > 0 {
				err = fmt.Errorf("%d bytes left", len(rest))
			}
			if err != nil {
				return nil, err
			}
			return event.(map[string]any), nil
		},
	}
}

// oldEvent is an event of this release for a row that has the property; newEvent one of the next release.
func oldEvent(t *testing.T) []byte {
	t.Helper()
	c := full()
	c.Extra = map[string]string{"mediaRegion": addedJSON, "other": "1.10"}
	return encode(t, c)
}

func newEvent(t *testing.T, region any) []byte {
	t.Helper()
	c := full()
	c.Extra = map[string]string{"other": "1.10"}
	event := generic(c).(map[string]any)
	event["mediaRegion"] = region
	b, err := twmb.MustParse(nextSchema(t)).Encode(event)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// mediaRegion is what a reader does to see the property in old events and in new ones.
func mediaRegion(t *testing.T, event map[string]any) any {
	t.Helper()
	if v := event["mediaRegion"]; v != nil {
		return v
	}
	raw, ok := event["extra"].(map[string]any)["mediaRegion"]
	if !ok {
		return nil
	}
	var v any
	if err := json.Unmarshal([]byte(raw.(string)), &v); err != nil {
		t.Errorf("extra: %v", err)
	}
	return v
}

func TestNextSchemaMayFollow(t *testing.T) {
	old, next := schema.PstnCallSchema(), nextSchema(t)
	if err := compatible(t, old, next); err != nil {
		t.Errorf("hamba: %v", err)
	}
	for _, order := range [][2]string{{old, next}, {next, old}} {
		if err := twmb.CheckCompatibility(twmb.MustParse(order[0]), twmb.MustParse(order[1])); err != nil {
			t.Errorf("twmb: %v", err)
		}
	}
	required := withField(t, `{"name": "mediaRegion", "type": "string"}`)
	if compatible(t, old, required) == nil || twmb.CheckCompatibility(twmb.MustParse(old), twmb.MustParse(required)) == nil {
		t.Error("a field without a default may follow too: the test proves nothing")
	}
}

// Every reader reads every event: it loses nothing but what its own schema has no field for.
func TestNextSchemaIsRead(t *testing.T) {
	old, next := schema.PstnCallSchema(), nextSchema(t)
	for name, read := range resolvingReaders() {
		t.Run(name, func(t *testing.T) {
			event := func(writer, reader string, b []byte) map[string]any {
				got, err := read(writer, reader, b)
				if err != nil {
					t.Fatal(err)
				}
				return got
			}
			// What the reader makes of an event in the event's own schema is what it must make of it in any.
			before, after := event(old, old, oldEvent(t)), event(next, next, newEvent(t, addedValue))
			if len(before) != len(fieldsOf(t, old)) || len(after) != len(before)+1 {
				t.Fatalf("%d and %d fields", len(before), len(after))
			}
			unset, without := maps.Clone(before), maps.Clone(after)
			unset["mediaRegion"] = nil
			delete(without, "mediaRegion")
			tests := []struct {
				name           string
				writer, reader string
				b              []byte
				want           map[string]any
				region         any
			}{
				{"old event, old schema", old, old, oldEvent(t), before, addedValue},
				{"old event, new schema", old, next, oldEvent(t), unset, addedValue},
				{"new event, old schema", next, old, newEvent(t, addedValue), without, nil}, // neither field nor extra
				{"new event, new schema", next, next, newEvent(t, addedValue), after, addedValue},
				{"new event without it, new schema", next, next, newEvent(t, nil), with(after, "mediaRegion", nil), nil},
			}
			rats := cmp.Comparer(func(a, b *big.Rat) bool { return a.Cmp(b) == 0 })
			for _, tt := range tests {
				got := event(tt.writer, tt.reader, tt.b)
				if diff := cmp.Diff(tt.want, got, rats); diff != "" {
					t.Errorf("%s (-want +got):\n%s", tt.name, diff)
				}
				if got := mediaRegion(t, got); got != tt.region {
					t.Errorf("%s: mediaRegion is %v, want %v", tt.name, got, tt.region)
				}
			}
		})
	}
}

func with(event map[string]any, field string, value any) map[string]any {
	event = maps.Clone(event)
	event[field] = value
	return event
}

// This release's own decoder knows no later version. It says so, and never takes a newer event for one of its own.
func TestNewerEventIsRefused(t *testing.T) {
	for _, region := range []any{nil, addedValue} {
		b := newEvent(t, region)
		if c, err := schema.DecodePstnCall(b); err == nil || !strings.Contains(err.Error(), "newer schema") {
			t.Errorf("mediaRegion %v: %v, %v", region, c, err)
		}
		if c, err := schema.Decode(schema.AppendConfluent(nil, 2, b)); err == nil || !strings.Contains(err.Error(), "newer schema") {
			t.Errorf("mediaRegion %v, Confluent's framing: %v, %v", region, c, err)
		}
		fingerprint := twmb.MustParse(nextSchema(t)).Fingerprint(twmb.NewRabin())
		slices.Reverse(fingerprint) // little-endian on the wire
		single := slices.Concat([]byte("\xc3\x01"), fingerprint, b)
		if c, err := schema.Decode(single); err == nil || !strings.Contains(err.Error(), "unknown") {
			t.Errorf("mediaRegion %v, single object: %v, %v", region, c, err)
		}
	}
}
