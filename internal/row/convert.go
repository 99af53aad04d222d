package row

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"slices"

	"github.com/cespare/xxhash/v2"
	"github.com/go-json-experiment/json/jsontext"
)

// Converter turns rows into events and rejects. It keeps buffers from one row to the next, so it is for one goroutine at a
// time; the memory it keeps is that of the largest row it has seen.
type Converter struct {
	redactor *redactor // nil without rules

	positions map[string]int // by name, as JSON
	names     [propCount]name
	// Graph writes the names in one order, so a name is first compared with the one that came here in the row before.
	follows [propCount + 1]uint8 // by position: that of the name after it; the last is what a row begins with
	others  []uint64             // hashes of a quickly read row's other names

	dec     reader
	hasher  hasher
	enc     []byte // the current member: its length-prefixed name, then enc of its value
	ruled   []byte // the current value after the privacy rules
	members memberSums
	draft   draft
}

// memberSums is what identity and fingerprint need of the members read so far.
type memberSums struct {
	total uint64
	each  [propCount]uint64
	seen  [propCount]bool
	twice [propCount]bool
}

// name is that of a property, in the two forms that a walk needs.
type name struct {
	literal string // as JSON
	enc     []byte // as appendName has it
}

// reading is how a row is read.
type reading struct {
	row, values []jsontext.Options // the decoders', of the row and of what is in its values
	quick       bool               // whether a name comes twice is seen here and not by the decoder
}

// A quick reading fails wherever a strict one does, and then that one says why. It may fail where that one does not.
var (
	quick   = reading{row: []jsontext.Options{jsontext.AllowDuplicateNames(true)}, quick: true}
	strict  = reading{}
	lenient = reading{row: lenientOptions, values: lenientOptions}

	lenientOptions = []jsontext.Options{jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)}
)

// NewConverter returns a Converter that applies the rules of p, which may be nil.
func NewConverter(p *Privacy) *Converter {
	c := &Converter{positions: positions()}
	for literal, at := range c.positions {
		c.names[at] = name{literal: literal, enc: appendName(nil, jsontext.Value(literal))}
	}
	if p != nil {
		c.redactor = newRedactor(p)
	}
	return c
}

var (
	// errNotObject is why a row that is no object is not walked.
	errNotObject = errors.New("the row is not an object")
	// errOdd is why a quick reading gives a row up.
	errOdd = errors.New("row: not for a quick reading")
)

// Convert converts one element of Graph's value array. It never fails: a row that cannot become an event, even text that is no
// JSON, comes back with Reject set.
func (c *Converter) Convert(raw []byte) Row {
	if c.walk(raw, quick) == nil {
		return c.finish(raw, strict)
	}
	return c.convertStrictly(raw)
}

func (c *Converter) convertStrictly(raw []byte) Row {
	err := c.walk(raw, strict)
	if err == nil {
		return c.finish(raw, strict)
	}
	// A reject still needs an id, a fingerprint and its JSON without what the rules remove, so it is walked once more, taking
	// doubled names and broken text as they come.
	why := c.rejectOf(err)
	if err := c.walk(raw, lenient); err != nil {
		return c.withhold(raw, why)
	}
	c.draft.rejectWhole(why)
	return c.finish(raw, lenient)
}

// Refuse converts a row that cannot become an event for a reason that only the caller knows, such as its size: what Convert
// would return, as a reject.
func (c *Converter) Refuse(raw []byte, why Reject) Row {
	if err := c.walk(raw, lenient); err != nil {
		return c.withhold(raw, why)
	}
	c.draft.rejectWhole(why)
	return c.finish(raw, lenient)
}

// rejectOf words an error of the decoder, whose own message may quote the row. It names no property but the schema's: any
// other name may hold what a value should.
func (c *Converter) rejectOf(err error) Reject {
	var property string
	var syntax *jsontext.SyntacticError
	if errors.As(err, &syntax) {
		for name := range syntax.JSONPointer.Tokens() {
			if at, known := c.positions[`"`+name+`"`]; known {
				property = properties[at].name
			}
			break
		}
	}
	switch {
	case errors.Is(err, errNotObject):
		return Reject{Reason: errNotObject.Error()}
	case errors.Is(err, jsontext.ErrDuplicateName):
		return Reject{Reason: "a name occurs twice in one object", Property: property}
	default:
		return Reject{Reason: "not valid JSON: broken text, or nested too deep", Property: property}
	}
}

// walk reads the members of the row, once, into c.members and c.draft.
func (c *Converter) walk(raw []byte, how reading) error {
	c.members, c.others = memberSums{}, c.others[:0]
	c.draft.reset()
	c.dec.open(raw, how.row)
	if kind := c.dec.PeekKind(); kind != '{' && kind != jsontext.KindInvalid {
		return errNotObject
	}
	if _, err := c.dec.ReadToken(); err != nil {
		return err
	}
	for last := propCount; c.dec.PeekKind() != '}'; {
		at, err := c.member(last, how)
		if err != nil {
			return err
		}
		if at != unknown {
			last = at
		}
	}
	if _, err := c.dec.ReadToken(); err != nil {
		return err
	}
	if _, err := c.dec.ReadToken(); err != io.EOF {
		return errors.New("text after the row")
	}
	return nil
}

// member reads one name and its value, and returns where the name is among the properties. last is where the known one before it is.
func (c *Converter) member(last int, how reading) (at int, err error) {
	literal, err := c.dec.ReadValue()
	if err != nil {
		return unknown, err
	}
	at = c.name(literal, last)
	known := at != unknown
	if how.quick && c.perhapsTwice(at) {
		return unknown, errOdd
	}
	value, err := c.dec.ReadValue()
	if err != nil {
		return unknown, err
	}
	if !known && isAnnotation(c.enc[nameOffset:]) {
		return unknown, how.pass(value)
	}
	value, withheld, err := c.redact(at, value, how)
	if err != nil {
		return unknown, err
	}
	if known {
		c.members.twice[at] = c.members.seen[at]
		c.members.seen[at] = true
		if withheld {
			c.draft.reject(at, reasonNotString)
		}
	}
	if value.Kind() == 'n' {
		return at, nil
	}
	start := len(c.enc)
	if c.enc, err = c.hasher.appendEnc(c.enc, value, how.values); err != nil {
		return unknown, err
	}
	sum := xxhash.Sum64(c.enc)
	c.members.total += sum
	if !known {
		c.draft.addExtra(string(c.enc[nameOffset:start]), value)
		return at, nil
	}
	c.members.each[at] += sum
	c.draft.set(at, value, c.enc[start:])
	return at, nil
}

// name makes c.enc the name of a member, and returns where it is among the properties.
func (c *Converter) name(literal jsontext.Value, last int) (at int) {
	at = int(c.follows[last])
	if known := string(literal) == c.names[at].literal; !known {
		if at, known = c.positions[string(literal)]; !known { // perhaps with escapes
			c.enc = appendName(c.enc[:0], literal)
			if at, known = c.positions[`"`+string(c.enc[nameOffset:])+`"`]; !known {
				return unknown
			}
		}
		c.follows[last] = uint8(at)
	}
	c.enc = append(c.enc[:0], c.names[at].enc...)
	return at
}

// perhapsTwice reports whether the name in c.enc may have come before in this row, and notes it.
func (c *Converter) perhapsTwice(at int) bool {
	if at != unknown {
		return c.members.seen[at]
	}
	const most = 16 // more are left to the strict reading
	sum := xxhash.Sum64(c.enc)
	if len(c.others) == most || slices.Contains(c.others, sum) {
		return true
	}
	c.others = append(c.others, sum)
	return false
}

// pass passes over a value: whoever reads it strictly would see names in it that come twice.
func (how reading) pass(value jsontext.Value) error {
	if kind := value.Kind(); how.quick && (kind == '{' || kind == '[') && !value.IsValid() {
		return errOdd
	}
	return nil
}

// redact returns what the privacy rules leave of a member's value, until the next call. withheld is true where a rule could
// not be followed and null was put in the value's place.
func (c *Converter) redact(at int, value jsontext.Value, how reading) (_ jsontext.Value, withheld bool, err error) {
	if c.redactor == nil {
		return value, false, nil
	}
	var rule action
	if at == unknown {
		rule = c.redactor.rules.action(c.enc[nameOffset:])
	} else {
		rule = c.redactor.rules.actions[at]
	}
	switch kind := value.Kind(); {
	case rule != ruleNone:
		ok := false
		c.ruled, ok = c.redactor.appendRuled(c.ruled[:0], rule, value)
		return c.ruled, !ok, how.pass(value)
	case kind == '{' || kind == '[':
		c.ruled, err = c.redactor.appendValue(c.ruled[:0], value, how.values)
		return c.ruled, false, err
	}
	return value, false, nil
}

// finish makes the Row of an object that has been walked.
func (c *Converter) finish(raw []byte, how reading) Row {
	c.draft.complete()
	row := Row{
		ID:          c.draft.id,
		HasID:       c.draft.id != "",
		Fingerprint: fingerprintOf(c.members.total),
	}
	if c.members.twice[propID] || !row.HasID {
		row.ID, row.HasID = c.members.identity(), false
	}
	if call := c.draft.call; call.CallID != nil && !c.members.twice[propCallID] {
		row.Key = *call.CallID
	}
	if call := c.draft.call; call.StartDateTime != nil && !c.members.twice[propStartDateTime] {
		row.Start = *call.StartDateTime
	}
	if !c.draft.rejected {
		row.Call = c.draft.call
		return row
	}
	reject := c.draft.why
	row.Reject = &reject
	if c.redactor == nil {
		row.JSON = bytes.Clone(raw)
		return row
	}
	clean, err := c.redactor.appendValue(nil, raw, how.row)
	if err != nil { // unreachable: the walk has read the same text
		clean = []byte("null")
	}
	row.JSON = clean
	return row
}

// withhold makes the Row of what could not be walked: no object, or no JSON.
func (c *Converter) withhold(raw []byte, why Reject) Row {
	if c.redactor != nil {
		// A rule can find no name here, so the whole row is null, for id and fingerprint too.
		raw = []byte("null")
	}
	value := jsontext.Value(bytes.TrimSpace(raw))
	enc := []byte(value)
	if value.IsValid(lenientOptions...) {
		enc, _ = c.hasher.appendEnc(nil, value, lenientOptions) // cannot fail on what is valid
	}
	return Row{
		ID:          contentID("value", enc),
		Fingerprint: xxhash.Sum64(enc),
		Reject:      &why,
		JSON:        bytes.Clone(raw),
	}
}

// fingerprintOf returns XXH64(enc(row)) for the sum of the row's member hashes.
func fingerprintOf(sum uint64) uint64 {
	return xxhash.Sum64(binary.LittleEndian.AppendUint64([]byte{'{'}, sum))
}

// identity returns the id of a row without one.
func (m *memberSums) identity() string {
	var stable []byte
	for at := range properties {
		if properties[at].stable {
			stable = binary.LittleEndian.AppendUint64(stable, m.each[at])
		}
	}
	return contentID("row", stable)
}

func contentID(domain string, content []byte) string {
	h := sha256.Sum256(append([]byte(domain), content...))
	return "~" + hex.EncodeToString(h[:16])
}
