package schema

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Headers of an event: CloudEvents 1.0 in its binary mode for Kafka, and the producer's own.
const (
	HeaderSpecVersion = "ce_specversion"   // 1.0
	HeaderID          = "ce_id"            // <row id>/<revision>
	HeaderType        = "ce_type"          // pstncalls.PstnCall.v1
	HeaderSource      = "ce_source"        // <graph root>/<version>/<tenant>/getPstnCalls
	HeaderTime        = "ce_time"          // publish time: RFC 3339, UTC, milliseconds
	HeaderSubject     = "ce_subject"       // the record's key
	HeaderDataSchema  = "ce_dataschema"    // URI of the schema; only where there is a registry
	HeaderContentType = "content-type"     // application/avro
	HeaderFingerprint = "pstn-fingerprint" // fingerprint of the row: 16 lower-case hex digits
	HeaderOwner       = "pstn-owner"       // start of the owner window: 2026-11-01
	HeaderCommit      = "pstn-commit"      // <shard>/<commit number>
)

// Headers of a reject, on the dead-letter topic.
const (
	HeaderReason    = "reason"
	HeaderProperty  = "property"
	HeaderTenant    = "tenant"
	HeaderWindow    = "window"
	HeaderRowID     = "row-id"
	HeaderRequestID = "request-id"
	HeaderTruncated = "truncated" // full length of the row's JSON, in bytes, where it was cut
)

const (
	specVersion    = "1.0"
	eventType      = "pstncalls.PstnCall.v1"
	contentType    = "application/avro"
	sourceFunction = "getPstnCalls"
	headerTime     = "2006-01-02T15:04:05.000Z"
)

// Header is one header of a Kafka record.
type Header struct {
	Key   string
	Value []byte
}

// Headers is what the headers of an event say.
type Headers struct {
	RowID    string
	Revision int32
	TenantID string
	// Source is the root of the Graph that the row was read from, with its version and without a slash at the end:
	// https://graph.microsoft.com/beta. The header ce_source is Source, TenantID and the function, joined by slashes.
	Source string
	// Time is when the event was published; it travels in UTC, cut to the millisecond.
	Time time.Time
	// Subject is the record's key.
	Subject string
	// DataSchema is the URI of the schema in its registry, empty where there is none.
	DataSchema string
	// Fingerprint is the row's, not the schema's.
	Fingerprint uint64
	// Owner is the first day of the owner window: 2026-11-01.
	Owner string
	// Shard and Commit say which commit of which shard published the event. Commits count from 1.
	Shard  int32
	Commit int64
}

// Append appends the headers of an event to dst, in the order of the constants above; ce_dataschema is left out where
// DataSchema is empty.
func (h Headers) Append(dst []Header) []Header {
	const most, others = 11, 150 // headers, and bytes of the values whose length is bounded
	dst = slices.Grow(dst, most)
	// All values are in one buffer: each would be an allocation otherwise, for every event.
	b := make([]byte, 0, len(h.RowID)+len(h.Source)+len(h.TenantID)+len(h.Subject)+len(h.DataSchema)+len(h.Owner)+others)
	from := 0
	end := func(key string) {
		dst = append(dst, Header{Key: key, Value: b[from:len(b):len(b)]})
		from = len(b)
	}
	b = append(b, specVersion...)
	end(HeaderSpecVersion)
	b = append(append(b, h.RowID...), '/')
	b = strconv.AppendInt(b, int64(h.Revision), 10)
	end(HeaderID)
	b = append(b, eventType...)
	end(HeaderType)
	b = append(append(b, h.Source...), '/')
	b = append(append(b, h.TenantID...), '/')
	b = append(b, sourceFunction...)
	end(HeaderSource)
	b = h.Time.UTC().AppendFormat(b, headerTime)
	end(HeaderTime)
	b = append(b, h.Subject...)
	end(HeaderSubject)
	if h.DataSchema != "" {
		b = append(b, h.DataSchema...)
		end(HeaderDataSchema)
	}
	b = append(b, contentType...)
	end(HeaderContentType)
	b = hex.AppendEncode(b, binary.BigEndian.AppendUint64(nil, h.Fingerprint))
	end(HeaderFingerprint)
	b = append(b, h.Owner...)
	end(HeaderOwner)
	b = append(strconv.AppendInt(b, int64(h.Shard), 10), '/')
	b = strconv.AppendInt(b, h.Commit, 10)
	end(HeaderCommit)
	return dst
}

// ParseHeaders reads the headers of an event, in any order, and passes over those that are not an event's. One that is missing,
// comes twice or is not as [Headers.Append] writes it is an error that names it, without its value.
func ParseHeaders(headers []Header) (Headers, error) {
	p := headerParser{values: make(map[string]string, len(headers))}
	for _, h := range headers {
		switch h.Key {
		case HeaderSpecVersion, HeaderID, HeaderType, HeaderSource, HeaderTime, HeaderSubject, HeaderDataSchema,
			HeaderContentType, HeaderFingerprint, HeaderOwner, HeaderCommit:
			if _, ok := p.values[h.Key]; ok {
				return Headers{}, fmt.Errorf("header %s: %w", h.Key, errTwice)
			}
			p.values[h.Key] = string(h.Value)
		}
	}
	h := p.headers()
	if p.err != nil {
		return Headers{}, p.err
	}
	return h, nil
}

var (
	errMissing   = errors.New("missing")
	errTwice     = errors.New("comes twice")
	errMalformed = errors.New("malformed")
)

// headerParser takes the values of headers apart; err is the first error.
type headerParser struct {
	values map[string]string
	err    error
}

func (p *headerParser) headers() Headers {
	var h Headers
	p.constant(HeaderSpecVersion, specVersion)
	p.constant(HeaderType, eventType)
	p.constant(HeaderContentType, contentType)

	rowID, revision := p.cutLast(HeaderID) // a row's id may hold a slash
	h.RowID = rowID
	h.Revision = int32(p.number(HeaderID, revision, 32))

	source, function := p.cutLast(HeaderSource)
	p.check(HeaderSource, function == sourceFunction)
	i := strings.LastIndexByte(source, '/')
	p.check(HeaderSource, i > 0 && i < len(source)-1)
	h.Source, h.TenantID = source[:max(i, 0)], source[i+1:]

	var err error
	at := p.required(HeaderTime)
	h.Time, err = time.Parse(headerTime, at)
	p.check(HeaderTime, err == nil && h.Time.Format(headerTime) == at)

	h.Subject = p.required(HeaderSubject)
	h.DataSchema = p.values[HeaderDataSchema]

	fingerprint := p.required(HeaderFingerprint)
	h.Fingerprint, err = strconv.ParseUint(fingerprint, 16, 64)
	p.check(HeaderFingerprint, err == nil && fmt.Sprintf("%016x", h.Fingerprint) == fingerprint)

	h.Owner = p.required(HeaderOwner)
	_, err = time.Parse(time.DateOnly, h.Owner)
	p.check(HeaderOwner, err == nil)

	shard, commit := p.cutLast(HeaderCommit)
	h.Shard = int32(p.number(HeaderCommit, shard, 32))
	h.Commit = p.number(HeaderCommit, commit, 64)
	p.check(HeaderCommit, h.Commit > 0)
	return h
}

// required returns the value of a header that may be neither missing nor empty.
func (p *headerParser) required(key string) string {
	v := p.values[key]
	if v == "" && p.err == nil {
		p.err = fmt.Errorf("header %s: %w", key, errMissing)
	}
	return v
}

func (p *headerParser) check(key string, ok bool) {
	if !ok && p.err == nil {
		p.err = fmt.Errorf("header %s: %w", key, errMalformed)
	}
}

func (p *headerParser) constant(key, want string) { p.check(key, p.required(key) == want) }

// cutLast splits a header at its last slash; neither part may be empty.
func (p *headerParser) cutLast(key string) (before, after string) {
	v := p.required(key)
	i := strings.LastIndexByte(v, '/')
	p.check(key, i > 0 && i < len(v)-1)
	return v[:max(i, 0)], v[i+1:]
}

// number reads a number that is not negative and is written in the one way that Append has.
func (p *headerParser) number(key, s string, bits int) int64 {
	v, err := strconv.ParseInt(s, 10, bits)
	p.check(key, err == nil && v >= 0 && strconv.FormatInt(v, 10) == s)
	return v
}

// CommitOf reads the header pstn-commit alone: which commit of which shard published the event. ok is false where it is
// missing or malformed.
func CommitOf(headers []Header) (shard int32, commit int64, ok bool) {
	for _, h := range headers {
		if h.Key != HeaderCommit {
			continue
		}
		s, n, found := strings.Cut(string(h.Value), "/")
		i, err1 := strconv.ParseInt(s, 10, 32)
		j, err2 := strconv.ParseInt(n, 10, 64)
		return int32(i), j, found && err1 == nil && err2 == nil
	}
	return 0, 0, false
}
