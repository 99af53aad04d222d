package row

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// redactor applies privacy rules to JSON. It is for one goroutine at a time.
type redactor struct {
	rules *Privacy
	mac   hash.Hash
	dec   reader
	name  []byte
	text  []byte
}

func newRedactor(p *Privacy) *redactor {
	return &redactor{rules: p, mac: hmac.New(sha256.New, p.hashKey)}
}

// appendValue appends v with the rules applied to the members of every object in it, without white space. A dropped member
// stays as null. The options say how v was read; an error means that it cannot have been.
func (r *redactor) appendValue(dst []byte, v jsontext.Value, opts []jsontext.Options) ([]byte, error) {
	r.dec.open(v, opts)
	return r.appendNext(dst)
}

func (r *redactor) appendNext(dst []byte) ([]byte, error) {
	kind := r.dec.PeekKind()
	if kind != '{' && kind != '[' {
		v, err := r.dec.ReadValue()
		return append(dst, v...), err
	}
	if _, err := r.dec.ReadToken(); err != nil {
		return nil, err
	}
	dst = append(dst, byte(kind))
	end := kind + 2 // ']' and '}' are two after their openings
	for first := true; r.dec.PeekKind() != end; first = false {
		if !first {
			dst = append(dst, ',')
		}
		var err error
		if kind == '{' {
			dst, err = r.appendMember(dst)
		} else {
			dst, err = r.appendNext(dst)
		}
		if err != nil {
			return nil, err
		}
	}
	_, err := r.dec.ReadToken()
	return append(dst, byte(end)), err
}

func (r *redactor) appendMember(dst []byte) ([]byte, error) {
	name, err := r.dec.ReadValue()
	if err != nil {
		return nil, err
	}
	dst = append(append(dst, name...), ':')
	r.name, _ = appendText(r.name[:0], name)
	rule := r.rules.action(r.name)
	if rule == ruleNone {
		return r.appendNext(dst)
	}
	v, err := r.dec.ReadValue()
	if err != nil {
		return nil, err
	}
	dst, _ = r.appendRuled(dst, rule, v)
	return dst, nil
}

// appendRuled appends what the rule leaves of v. ok is false if the rule could not be followed, because v is neither a string
// nor null, and null was put in its place.
func (r *redactor) appendRuled(dst []byte, rule action, v jsontext.Value) (_ []byte, ok bool) {
	if rule == ruleDrop || v.Kind() != '"' {
		return append(dst, "null"...), rule == ruleDrop || v.Kind() == 'n'
	}
	// What is not valid Unicode becomes U+FFFD; the row is a reject for it anyway.
	r.text, _ = jsontext.AppendUnquote(r.text[:0], v)
	if rule == ruleMask {
		r.text = maskText(r.text)
	} else {
		r.text = r.hashText(r.text)
	}
	dst, _ = jsontext.AppendQuote(dst, r.text) // fails on invalid UTF-8 only, and there is none left
	return dst, true
}

// maskText returns the first four characters of b and ***, in place; *** alone if there are no more than four.
func maskText(b []byte) []byte {
	end := 0
	for range 4 {
		_, n := utf8.DecodeRune(b[end:])
		end += n
	}
	if end == len(b) {
		end = 0
	}
	return append(b[:end], "***"...)
}

// hashText returns 32 hex digits for b, in place. Nothing stays nothing: all rows without a call id would share one key.
func (r *redactor) hashText(b []byte) []byte {
	if len(b) == 0 {
		return b
	}
	r.mac.Reset()
	r.mac.Write(b)
	var sum [sha256.Size]byte
	return hex.AppendEncode(b[:0], r.mac.Sum(sum[:0])[:16])
}
