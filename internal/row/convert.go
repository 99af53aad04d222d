package row

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"

	"github.com/cespare/xxhash/v2"
	"github.com/go-json-experiment/json/jsontext"
)

// Converter turns rows into events and rejects. It keeps buffers from one row to the next, so it is for one goroutine at a
// time; the memory it keeps is that of the largest row it has seen.
type Converter struct {
	positions map[string]int
	lenient   []jsontext.Options
	redactor  *redactor // nil without rules

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

// NewConverter returns a Converter that applies the rules of p, which may be nil.
func NewConverter(p *Privacy) *Converter {
	c := &Converter{
		positions: positions(),
		lenient:   []jsontext.Options{jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)},
	}
	if p != nil {
		c.redactor = newRedactor(p)
	}
	return c
}

// errNotObject is why a row that is no object is not walked.
var errNotObject = errors.New("the row is not an object")

// Convert converts one element of Graph's value array. It never fails: a row that cannot become an event, even text that is no
// JSON, comes back with Reject set.
func (c *Converter) Convert(raw []byte) Row {
	err := c.walk(raw, nil)
	if err == nil {
		return c.finish(raw, nil)
	}
	// A reject still needs an id, a fingerprint and its JSON without what the rules remove, so it is walked once more, taking
	// doubled names and broken text as they come.
	why := c.rejectOf(err)
	if err := c.walk(raw, c.lenient); err != nil {
		return c.withhold(raw, why)
	}
	c.draft.rejectWhole(why)
	return c.finish(raw, c.lenient)
}

// Refuse converts a row that cannot become an event for a reason that only the caller knows, such as its size: what Convert
// would return, as a reject.
func (c *Converter) Refuse(raw []byte, why Reject) Row {
	if err := c.walk(raw, c.lenient); err != nil {
		return c.withhold(raw, why)
	}
	c.draft.rejectWhole(why)
	return c.finish(raw, c.lenient)
}

// rejectOf words an error of the decoder, whose own message may quote the row. It names no property but the schema's: any
// other name may hold what a value should.
func (c *Converter) rejectOf(err error) Reject {
	var property string
	var syntax *jsontext.SyntacticError
	if errors.As(err, &syntax) {
		for name := range syntax.JSONPointer.Tokens() {
			if at, known := c.positions[name]; known {
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

// walk reads the members of the row, once, into c.members and c.draft. The options are the decoder's.
func (c *Converter) walk(raw []byte, opts []jsontext.Options) error {
	c.members = memberSums{}
	c.draft.reset()
	c.dec.open(raw, opts)
	if kind := c.dec.PeekKind(); kind != '{' && kind != jsontext.KindInvalid {
		return errNotObject
	}
	if _, err := c.dec.ReadToken(); err != nil {
		return err
	}
	for c.dec.PeekKind() != '}' {
		if err := c.member(opts); err != nil {
			return err
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

// member reads one name and its value.
func (c *Converter) member(opts []jsontext.Options) error {
	literal, err := c.dec.ReadValue()
	if err != nil {
		return err
	}
	c.enc = appendName(c.enc[:0], literal)
	name := c.enc[nameOffset:]
	value, err := c.dec.ReadValue()
	if err != nil || isAnnotation(name) {
		return err
	}
	at, known := c.positions[string(name)]
	if !known {
		at = unknown
	}
	value, withheld, err := c.redact(at, name, value, opts)
	if err != nil {
		return err
	}
	if known {
		c.members.twice[at] = c.members.seen[at]
		c.members.seen[at] = true
		if withheld {
			c.draft.reject(at, reasonNotString)
		}
	}
	if value.Kind() == 'n' {
		return nil
	}
	start := len(c.enc)
	if c.enc, err = c.hasher.appendEnc(c.enc, value, opts); err != nil {
		return err
	}
	sum := xxhash.Sum64(c.enc)
	c.members.total += sum
	if !known {
		c.draft.addExtra(string(c.enc[nameOffset:start]), value)
		return nil
	}
	c.members.each[at] += sum
	c.draft.set(at, value, c.enc[start:])
	return nil
}

// redact returns what the privacy rules leave of a member's value, until the next call. withheld is true where a rule could
// not be followed and null was put in the value's place.
func (c *Converter) redact(at int, name []byte, value jsontext.Value, opts []jsontext.Options) (_ jsontext.Value, withheld bool, err error) {
	if c.redactor == nil {
		return value, false, nil
	}
	var rule action
	if at == unknown {
		rule = c.redactor.rules.action(name)
	} else {
		rule = c.redactor.rules.actions[at]
	}
	switch kind := value.Kind(); {
	case rule != ruleNone:
		ok := false
		c.ruled, ok = c.redactor.appendRuled(c.ruled[:0], rule, value)
		return c.ruled, !ok, nil
	case kind == '{' || kind == '[':
		c.ruled, err = c.redactor.appendValue(c.ruled[:0], value, opts)
		return c.ruled, false, err
	}
	return value, false, nil
}

// finish makes the Row of an object that has been walked with these options.
func (c *Converter) finish(raw []byte, opts []jsontext.Options) Row {
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
	clean, err := c.redactor.appendValue(nil, raw, opts)
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
	if value.IsValid(c.lenient...) {
		enc, _ = c.hasher.appendEnc(nil, value, c.lenient) // cannot fail on what is valid
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
