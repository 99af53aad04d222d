package schema

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"
	"unicode/utf8"
)

var (
	errTruncated = errors.New("the value ends too early")
	errVarint    = errors.New("number is not in its shortest form, or beyond 64 bits")
	errInt       = errors.New("number is beyond 32 bits")
	errUnion     = errors.New("union has no such branch")
	errLength    = errors.New("length is negative or beyond the end of the value")
	errBlock     = errors.New("block is not as long as it says")
	errDecimal   = errors.New("decimal is not 1 to 8 bytes long")
	errDuplicate = errors.New("the same key twice")
	errTrailing  = errors.New("bytes after the value, perhaps of a newer schema")
)

// DecodePstnCall reads one Avro value without framing, and nothing beside it.
//
// It is strict: whatever [AppendPstnCall] would refuse is an error here too, and so are truncated or trailing bytes, numbers
// that are longer than they need be, lengths and counts that b cannot hold, and a map key that comes twice. The error names
// the field, never its value. The result shares no memory with b and is of its order of size. Extra is nil where it is empty.
func DecodePstnCall(b []byte) (*PstnCall, error) {
	d := decoder{rest: b}
	c := &PstnCall{
		TenantID:                d.identity("tenantId"),
		RowID:                   d.identity("rowId"),
		Revision:                d.revision("revision"),
		ObservedAt:              d.time("observedAt"),
		ID:                      optional(&d, "id", (*decoder).string),
		CallID:                  optional(&d, "callId", (*decoder).string),
		UserID:                  optional(&d, "userId", (*decoder).string),
		UserPrincipalName:       optional(&d, "userPrincipalName", (*decoder).string),
		UserDisplayName:         optional(&d, "userDisplayName", (*decoder).string),
		StartDateTime:           optional(&d, "startDateTime", (*decoder).time),
		EndDateTime:             optional(&d, "endDateTime", (*decoder).time),
		Duration:                optional(&d, "duration", (*decoder).int),
		CallDurationSource:      optional(&d, "callDurationSource", (*decoder).string),
		CallType:                optional(&d, "callType", (*decoder).string),
		CallerNumber:            optional(&d, "callerNumber", (*decoder).string),
		CalleeNumber:            optional(&d, "calleeNumber", (*decoder).string),
		Charge:                  optional(&d, "charge", (*decoder).money),
		ConnectionCharge:        optional(&d, "connectionCharge", (*decoder).money),
		Currency:                optional(&d, "currency", (*decoder).string),
		DestinationContext:      optional(&d, "destinationContext", (*decoder).string),
		DestinationName:         optional(&d, "destinationName", (*decoder).string),
		ConferenceID:            optional(&d, "conferenceId", (*decoder).string),
		LicenseCapability:       optional(&d, "licenseCapability", (*decoder).string),
		InventoryType:           optional(&d, "inventoryType", (*decoder).string),
		Operator:                optional(&d, "operator", (*decoder).string),
		TenantCountryCode:       optional(&d, "tenantCountryCode", (*decoder).string),
		UsageCountryCode:        optional(&d, "usageCountryCode", (*decoder).string),
		OtherPartyCountryCode:   optional(&d, "otherPartyCountryCode", (*decoder).string),
		AdministrativeUnitInfos: d.units("administrativeUnitInfos"),
		ClientPublicIPV4Address: optional(&d, "clientPublicIpV4Address", (*decoder).string),
		ClientPublicIPV6Address: optional(&d, "clientPublicIpV6Address", (*decoder).string),
		ClientLocalIPV4Address:  optional(&d, "clientLocalIpV4Address", (*decoder).string),
		ClientLocalIPV6Address:  optional(&d, "clientLocalIpV6Address", (*decoder).string),
		Extra:                   d.stringMap("extra"),
	}
	if d.err == nil && len(d.rest) > 0 {
		d.err = errTrailing
	}
	if d.err != nil {
		return nil, fmt.Errorf("decode PstnCall: %w", d.err)
	}
	return c, nil
}

// decoder reads Avro values from the front of rest. err is the first error; after it every read gives a zero value.
type decoder struct {
	rest []byte
	err  error
}

func (d *decoder) fail(field string, err error) {
	if d.err == nil {
		d.err = fmt.Errorf("%s: %w", field, err)
	}
}

// optional reads the union of null and T.
func optional[T any](d *decoder, field string, get func(*decoder, string) T) *T {
	if !d.present(field) {
		return nil
	}
	v := get(d, field)
	return &v
}

// present reads which branch of [null, T] follows.
func (d *decoder) present(field string) bool {
	switch d.long(field) {
	case 0:
		return false
	case 1:
		return true
	}
	d.fail(field, errUnion)
	return false
}

func (d *decoder) long(field string) int64 {
	if d.err != nil {
		return 0
	}
	v, n := binary.Varint(d.rest)
	switch {
	case n == 0:
		d.fail(field, errTruncated)
		return 0
	case n < 0 || n > 1 && d.rest[n-1] == 0: // a last byte of zero adds nothing
		d.fail(field, errVarint)
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

func (d *decoder) int(field string) int32 {
	v := d.long(field)
	if v != int64(int32(v)) {
		d.fail(field, errInt)
		return 0
	}
	return int32(v)
}

// bytes reads what a string, bytes or a sized block holds; the result is a part of rest.
func (d *decoder) bytes(field string) []byte {
	n := d.long(field)
	if d.err != nil {
		return nil
	}
	if n < 0 || n > int64(len(d.rest)) {
		d.fail(field, errLength)
		return nil
	}
	b := d.rest[:n]
	d.rest = d.rest[n:]
	return b
}

func (d *decoder) string(field string) string {
	b := d.bytes(field)
	if !utf8.Valid(b) {
		d.fail(field, errUTF8)
		return ""
	}
	return string(b)
}

func (d *decoder) identity(field string) string {
	s := d.string(field)
	if s == "" {
		d.fail(field, errEmpty)
	}
	return s
}

func (d *decoder) revision(field string) int32 {
	v := d.int(field)
	if v < 0 {
		d.fail(field, errNegative)
	}
	return v
}

func (d *decoder) time(field string) time.Time {
	ms := d.long(field)
	if ms < minTime.UnixMilli() || ms >= endTime.UnixMilli() {
		d.fail(field, errTime)
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// money reads a decimal that is extended by sign bytes too: some encoders write one more than they need.
func (d *decoder) money(field string) Money {
	b := d.bytes(field)
	if d.err != nil {
		return 0
	}
	if len(b) == 0 || len(b) > 8 {
		d.fail(field, errDecimal)
		return 0
	}
	v := int64(int8(b[0]))
	for _, x := range b[1:] {
		v = v<<8 | int64(x)
	}
	if m := Money(v); m.valid() {
		return m
	}
	d.fail(field, ErrMoneyRange)
	return 0
}

func (d *decoder) units(field string) []AdministrativeUnitInfo {
	if !d.present(field) {
		return nil
	}
	units := []AdministrativeUnitInfo{}
	d.blocks(field, func() {
		units = append(units, AdministrativeUnitInfo{ID: optional(d, "administrativeUnitInfos.id", (*decoder).string)})
	})
	return units
}

func (d *decoder) stringMap(field string) map[string]string {
	var m map[string]string
	d.blocks(field, func() {
		k, v := d.string(field), d.string(field)
		if _, ok := m[k]; ok {
			d.fail(field, errDuplicate)
		}
		if m == nil {
			m = make(map[string]string)
		}
		m[k] = v
	})
	return m
}

// blocks reads an array or a map, block by block: item reads one of its items, each of which takes a byte or more. So a count
// beyond the bytes that are left is a lie, and nothing is allocated before the item that needs it has been read.
func (d *decoder) blocks(field string, item func()) {
	for d.err == nil {
		count := d.long(field)
		if count == 0 {
			return
		}
		after := -1 // bytes left after the block; a negative count says how many it has
		if count < 0 {
			if count == math.MinInt64 {
				d.fail(field, errLength)
				return
			}
			count = -count
			size := d.long(field)
			if size < 0 || size > int64(len(d.rest)) {
				d.fail(field, errLength)
				return
			}
			after = len(d.rest) - int(size)
		}
		if count > int64(len(d.rest)) {
			d.fail(field, errLength)
			return
		}
		for ; count > 0 && d.err == nil; count-- {
			item()
		}
		if after >= 0 && len(d.rest) != after {
			d.fail(field, errBlock)
		}
	}
}
