package schema

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
	"unicode/utf8"
)

var (
	errEmpty    = errors.New("empty")
	errNegative = errors.New("negative")
	errUTF8     = errors.New("not valid UTF-8")
	errTime     = errors.New("outside the years 1 to 9999")
)

// The times that can be encoded are those in [minTime, endTime).
var (
	minTime = time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC)
	endTime = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)
)

// AppendPstnCall appends the Avro value of c, without framing, to dst. Equal calls give equal bytes.
//
// It is an error, and dst comes back as it was, if the tenant's or the row's id is empty, the revision is negative, a string is
// not valid UTF-8, an amount is beyond decimal(18,6) or a time is outside the years 1 to 9999. The error names the field, never
// its value.
func AppendPstnCall(dst []byte, c *PstnCall) ([]byte, error) {
	e := encoder{buf: dst}
	e.head(c)
	e.body(c)
	return e.end(dst)
}

// AppendPstnCallHead appends the first part of what [AppendPstnCall] does: TenantID, RowID, Revision and ObservedAt.
func AppendPstnCallHead(dst []byte, c *PstnCall) ([]byte, error) {
	e := encoder{buf: dst}
	e.head(c)
	return e.end(dst)
}

// AppendPstnCallBody appends the rest, which can be known before the head is.
func AppendPstnCallBody(dst []byte, c *PstnCall) ([]byte, error) {
	e := encoder{buf: dst}
	e.body(c)
	return e.end(dst)
}

// end returns what was appended to dst, or dst and why it is not to be used.
func (e *encoder) end(dst []byte) ([]byte, error) {
	if e.err != nil {
		return dst, fmt.Errorf("encode PstnCall: %w", e.err)
	}
	return e.buf, nil
}

func (e *encoder) head(c *PstnCall) {
	e.identity("tenantId", c.TenantID)
	e.identity("rowId", c.RowID)
	e.revision("revision", c.Revision)
	e.time("observedAt", c.ObservedAt)
}

func (e *encoder) body(c *PstnCall) {
	putOptional(e, "id", c.ID, (*encoder).string)
	putOptional(e, "callId", c.CallID, (*encoder).string)
	putOptional(e, "userId", c.UserID, (*encoder).string)
	putOptional(e, "userPrincipalName", c.UserPrincipalName, (*encoder).string)
	putOptional(e, "userDisplayName", c.UserDisplayName, (*encoder).string)
	putOptional(e, "startDateTime", c.StartDateTime, (*encoder).time)
	putOptional(e, "endDateTime", c.EndDateTime, (*encoder).time)
	putOptional(e, "duration", c.Duration, (*encoder).int)
	putOptional(e, "callDurationSource", c.CallDurationSource, (*encoder).string)
	putOptional(e, "callType", c.CallType, (*encoder).string)
	putOptional(e, "callerNumber", c.CallerNumber, (*encoder).string)
	putOptional(e, "calleeNumber", c.CalleeNumber, (*encoder).string)
	putOptional(e, "charge", c.Charge, (*encoder).money)
	putOptional(e, "connectionCharge", c.ConnectionCharge, (*encoder).money)
	putOptional(e, "currency", c.Currency, (*encoder).string)
	putOptional(e, "destinationContext", c.DestinationContext, (*encoder).string)
	putOptional(e, "destinationName", c.DestinationName, (*encoder).string)
	putOptional(e, "conferenceId", c.ConferenceID, (*encoder).string)
	putOptional(e, "licenseCapability", c.LicenseCapability, (*encoder).string)
	putOptional(e, "inventoryType", c.InventoryType, (*encoder).string)
	putOptional(e, "operator", c.Operator, (*encoder).string)
	putOptional(e, "tenantCountryCode", c.TenantCountryCode, (*encoder).string)
	putOptional(e, "usageCountryCode", c.UsageCountryCode, (*encoder).string)
	putOptional(e, "otherPartyCountryCode", c.OtherPartyCountryCode, (*encoder).string)
	e.units("administrativeUnitInfos", c.AdministrativeUnitInfos)
	putOptional(e, "clientPublicIpV4Address", c.ClientPublicIPV4Address, (*encoder).string)
	putOptional(e, "clientPublicIpV6Address", c.ClientPublicIPV6Address, (*encoder).string)
	putOptional(e, "clientLocalIpV4Address", c.ClientLocalIPV4Address, (*encoder).string)
	putOptional(e, "clientLocalIpV6Address", c.ClientLocalIPV6Address, (*encoder).string)
	e.stringMap("extra", c.Extra)
}

// encoder appends Avro values to buf; err is the first field that could not be encoded.
type encoder struct {
	buf []byte
	err error
}

func (e *encoder) fail(field string, err error) {
	if e.err == nil {
		e.err = fmt.Errorf("%s: %w", field, err)
	}
}

// putOptional appends the union of null and v's type.
func putOptional[T any](e *encoder, field string, v *T, put func(*encoder, string, T)) {
	if v == nil {
		e.long(0)
		return
	}
	e.long(1)
	put(e, field, *v)
}

// long appends Avro's int or long: a zigzag varint, which is also what encoding/binary calls a varint.
func (e *encoder) long(v int64) { e.buf = binary.AppendVarint(e.buf, v) }

func (e *encoder) int(_ string, v int32) { e.long(int64(v)) }

func (e *encoder) string(field string, v string) {
	if !utf8.ValidString(v) {
		e.fail(field, errUTF8)
	}
	e.long(int64(len(v)))
	e.buf = append(e.buf, v...)
}

func (e *encoder) identity(field string, v string) {
	if v == "" {
		e.fail(field, errEmpty)
	}
	e.string(field, v)
}

func (e *encoder) revision(field string, v int32) {
	if v < 0 {
		e.fail(field, errNegative)
	}
	e.int(field, v)
}

func (e *encoder) time(field string, t time.Time) {
	if t.Before(minTime) || !t.Before(endTime) {
		e.fail(field, errTime)
	}
	e.long(t.UnixMilli())
}

func (e *encoder) money(field string, m Money) {
	if !m.valid() {
		e.fail(field, ErrMoneyRange)
	}
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(m))
	// Two's complement: a leading byte goes as long as the next one still carries the sign.
	n := 0
	for n < 7 && (b[n] == 0x00 && b[n+1] < 0x80 || b[n] == 0xff && b[n+1] >= 0x80) {
		n++
	}
	e.long(int64(8 - n))
	e.buf = append(e.buf, b[n:]...)
}

func (e *encoder) units(field string, units []AdministrativeUnitInfo) {
	if units == nil {
		e.long(0)
		return
	}
	e.long(1)
	if len(units) > 0 {
		e.long(int64(len(units)))
		for i := range units {
			putOptional(e, "administrativeUnitInfos.id", units[i].ID, (*encoder).string)
		}
	}
	e.long(0)
}

func (e *encoder) stringMap(field string, m map[string]string) {
	if len(m) > 0 {
		e.long(int64(len(m)))
		for _, k := range slices.Sorted(maps.Keys(m)) {
			e.string(field, k)
			e.string(field, m[k])
		}
	}
	e.long(0)
}
