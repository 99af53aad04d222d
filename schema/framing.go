package schema

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// The two framings, by their first bytes. Neither can be mistaken for an unframed value: that begins with the length of the
// tenant's id, which is neither zero nor negative.
const (
	confluentMagic = 0x00
	confluentSize  = 1 + 4 // magic, schema id

	singleObjectMagic = "\xc3\x01"
	singleObjectSize  = len(singleObjectMagic) + 8 // magic, fingerprint
)

var (
	errFraming      = errors.New("neither Confluent's framing nor Avro's single-object encoding")
	errConfluent    = errors.New("not in Confluent's framing")
	errSingleObject = errors.New("not in Avro's single-object encoding")
)

// AppendSingleObject appends payload, an Avro value of [PstnCallSchema], to dst in Avro's single-object encoding: C3 01, the
// schema's fingerprint (little-endian), the value.
func AppendSingleObject(dst, payload []byte) []byte {
	dst = append(dst, singleObjectMagic...)
	dst = binary.LittleEndian.AppendUint64(dst, PstnCallFingerprint())
	return append(dst, payload...)
}

// SplitSingleObject returns the Avro value that b frames, as a part of b. A fingerprint of another schema is an error.
func SplitSingleObject(b []byte) (payload []byte, err error) {
	if len(b) < singleObjectSize || string(b[:len(singleObjectMagic)]) != singleObjectMagic {
		return nil, errSingleObject
	}
	got, want := binary.LittleEndian.Uint64(b[len(singleObjectMagic):]), PstnCallFingerprint()
	if got != want {
		return nil, fmt.Errorf("schema with fingerprint %016x is unknown: PstnCall's is %016x", got, want)
	}
	return b[singleObjectSize:], nil
}

// AppendConfluent appends payload, an Avro value, to dst in Confluent's framing: 00, the id that the schema registry gave the
// value's schema (big-endian), the value.
func AppendConfluent(dst []byte, id uint32, payload []byte) []byte {
	dst = append(dst, confluentMagic)
	dst = binary.BigEndian.AppendUint32(dst, id)
	return append(dst, payload...)
}

// SplitConfluent returns the schema's id in its registry and the Avro value that b frames, as a part of b.
func SplitConfluent(b []byte) (id uint32, payload []byte, err error) {
	if len(b) < confluentSize || b[0] != confluentMagic {
		return 0, nil, errConfluent
	}
	return binary.BigEndian.Uint32(b[1:]), b[confluentSize:], nil
}

// Unframe returns the Avro value of an event, as a part of value, whichever the framing is. Confluent's id says nothing without
// the registry, so that the value is taken for a PstnCall.
func Unframe(value []byte) (payload []byte, err error) {
	switch {
	case len(value) > 0 && value[0] == confluentMagic:
		_, payload, err = SplitConfluent(value)
	case len(value) > 0 && value[0] == singleObjectMagic[0]:
		payload, err = SplitSingleObject(value)
	default:
		err = errFraming
	}
	return payload, err
}

// Decode reads an event's value, as it is on the topic: [Unframe], then [DecodePstnCall].
func Decode(value []byte) (*PstnCall, error) {
	payload, err := Unframe(value)
	if err != nil {
		return nil, fmt.Errorf("decode PstnCall: %w", err)
	}
	return DecodePstnCall(payload)
}
