package main

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
)

// readsAlike reports whether two Avro schemas read the same bytes as the same values: names, types, their order and logical types
// count. Documentation, defaults and aliases do not: Apicurio 3 gives a schema that differs in nothing else the id of the first one,
// and readers of our events take none of them from the schema that an event names.
func readsAlike(a, b string) bool {
	x, err := reading(a)
	if err != nil {
		return false
	}
	y, err := reading(b)
	return err == nil && reflect.DeepEqual(x, y)
}

// recordName returns the full name of the record that an Avro schema defines, or what it is instead.
func recordName(avsc string) string {
	v, err := reading(avsc)
	if err != nil {
		return "no Avro schema"
	}
	if m, ok := v.(map[string]any); ok && m["type"] == "record" {
		return fmt.Sprint(m["name"])
	}
	return "an Avro schema of no record"
}

// reading returns what decides how bytes are read, with full names, in a form to compare.
func reading(avsc string) (any, error) {
	var v any
	if err := json.Unmarshal([]byte(avsc), &v); err != nil {
		return nil, err
	}
	return readingOf(v, "")
}

var avroPrimitives = []string{"null", "boolean", "int", "long", "float", "double", "bytes", "string"}

func readingOf(v any, namespace string) (any, error) {
	switch v := v.(type) {
	case string:
		if slices.Contains(avroPrimitives, v) {
			return v, nil
		}
		return qualified(v, namespace), nil
	case []any:
		return eachReading(v, namespace)
	case map[string]any:
		return readingOfObject(v, namespace)
	}
	return nil, fmt.Errorf("a type is %T", v)
}

func eachReading(vs []any, namespace string) (any, error) {
	out := make([]any, len(vs))
	for i, v := range vs {
		var err error
		if out[i], err = readingOf(v, namespace); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func readingOfObject(v map[string]any, namespace string) (any, error) {
	out := map[string]any{"type": v["type"]}
	for _, k := range []string{"logicalType", "precision", "scale", "symbols", "size"} {
		if x, ok := v[k]; ok {
			out[k] = x
		}
	}
	if name, ok := v["name"].(string); ok {
		if ns, ok := v["namespace"].(string); ok {
			namespace = ns
		}
		name = qualified(name, namespace)
		namespace = namespaceOf(name)
		out["name"] = name
	}
	var err error
	switch v["type"] {
	case "record":
		fields, ok := v["fields"].([]any)
		if !ok {
			return nil, fmt.Errorf("record %v has no fields", out["name"])
		}
		read := make([]any, len(fields))
		for i, f := range fields {
			f, ok := f.(map[string]any)
			if !ok {
				return nil, fmt.Errorf("field %d of %v is no object", i, out["name"])
			}
			t, err := readingOf(f["type"], namespace)
			if err != nil {
				return nil, fmt.Errorf("field %v: %w", f["name"], err)
			}
			read[i] = []any{f["name"], t}
		}
		out["fields"] = read
	case "array":
		out["items"], err = readingOf(v["items"], namespace)
	case "map":
		out["values"], err = readingOf(v["values"], namespace)
	case "enum", "fixed":
	default: // a type in an object of its own: {"type": "string"}
		if out["type"], err = readingOf(v["type"], namespace); len(out) == 1 {
			return out["type"], err
		}
	}
	return out, err
}

func qualified(name, namespace string) string {
	if namespace == "" || namespaceOf(name) != "" {
		return name
	}
	return namespace + "." + name
}

func namespaceOf(fullName string) string {
	for i := len(fullName) - 1; i >= 0; i-- {
		if fullName[i] == '.' {
			return fullName[:i]
		}
	}
	return ""
}
