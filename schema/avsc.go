package schema

import (
	_ "embed"
	"fmt"
	"strconv"
	"sync"

	"github.com/hamba/avro/v2"
	"github.com/hamba/avro/v2/pkg/crc64"
)

//go:embed pstn_call.avsc
var pstnCallAvsc string

// PstnCallSchema returns the Avro schema of PstnCall: the text of pstn_call.avsc, which is what is registered.
func PstnCallSchema() string { return pstnCallAvsc }

// PstnCallFingerprint returns the CRC-64-AVRO fingerprint of the schema's Parsing Canonical Form, as Java computes it.
func PstnCallFingerprint() uint64 { return pstnCallFingerprint() }

// The schema is part of the program: that it parses is for a test to say, not for a caller to handle.
var pstnCallFingerprint = sync.OnceValue(func() uint64 {
	canonical, err := canonicalForm(pstnCallAvsc)
	if err != nil {
		panic(fmt.Sprintf("schema: pstn_call.avsc: %v", err))
	}
	h := crc64.New()
	h.Write(canonical)
	return h.Sum64()
})

// canonicalForm returns the Parsing Canonical Form of an Avro schema, as the specification has it.
//
// The codec's own canonical form keeps logicalType, precision and scale, which the specification strips: readers in Java
// would not know a fingerprint made of that.
func canonicalForm(avsc string) ([]byte, error) {
	// A cache of its own: the codec's global one silently replaces a type that is defined twice.
	s, err := avro.ParseWithCache(avsc, "", &avro.SchemaCache{})
	if err != nil {
		return nil, fmt.Errorf("parse Avro schema: %w", err)
	}
	return appendCanonical(nil, s)
}

func appendCanonical(dst []byte, s avro.Schema) ([]byte, error) {
	var err error
	switch s := s.(type) {
	case *avro.NullSchema, *avro.PrimitiveSchema:
		return appendQuoted(dst, string(s.Type())), nil
	case *avro.RefSchema:
		return appendQuoted(dst, s.Schema().FullName()), nil
	case *avro.RecordSchema:
		dst = append(dst, `{"name":`...)
		dst = appendQuoted(dst, s.FullName())
		dst = append(dst, `,"type":"record","fields":[`...)
		for i, f := range s.Fields() {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(dst, `{"name":`...)
			dst = appendQuoted(dst, f.Name())
			dst = append(dst, `,"type":`...)
			if dst, err = appendCanonical(dst, f.Type()); err != nil {
				return nil, err
			}
			dst = append(dst, '}')
		}
		return append(dst, `]}`...), nil
	case *avro.ArraySchema:
		dst = append(dst, `{"type":"array","items":`...)
		if dst, err = appendCanonical(dst, s.Items()); err != nil {
			return nil, err
		}
		return append(dst, '}'), nil
	case *avro.MapSchema:
		dst = append(dst, `{"type":"map","values":`...)
		if dst, err = appendCanonical(dst, s.Values()); err != nil {
			return nil, err
		}
		return append(dst, '}'), nil
	case *avro.UnionSchema:
		dst = append(dst, '[')
		for i, t := range s.Types() {
			if i > 0 {
				dst = append(dst, ',')
			}
			if dst, err = appendCanonical(dst, t); err != nil {
				return nil, err
			}
		}
		return append(dst, ']'), nil
	}
	// No enum and no fixed: evolving them breaks readers, so no schema here has them.
	return nil, fmt.Errorf("canonical form: type %s is not supported", s.Type())
}

// appendQuoted writes an Avro name, which holds nothing that JSON would escape.
func appendQuoted(dst []byte, name string) []byte { return strconv.AppendQuote(dst, name) }
