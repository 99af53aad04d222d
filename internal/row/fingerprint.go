package row

import (
	"bytes"
	"encoding/binary"
	"strconv"

	"github.com/cespare/xxhash/v2"
	"github.com/go-json-experiment/json/jsontext"
)

// FingerprintAlgorithm is the version of the fingerprint that the package comment describes.
const FingerprintAlgorithm = 1

// hasher computes enc, as the package comment defines it. The zero value is ready; it is for one goroutine at a time.
type hasher struct {
	dec     reader
	scratch []byte
}

// appendEnc appends enc(v) to dst. The options say how v was read; an error means that it cannot have been.
func (h *hasher) appendEnc(dst []byte, v jsontext.Value, opts []jsontext.Options) ([]byte, error) {
	switch v.Kind() {
	case '{', '[':
		h.scratch = h.scratch[:0]
		h.dec.open(v, opts)
		return h.appendContainer(dst)
	default:
		return appendScalar(dst, v), nil
	}
}

// appendContainer appends enc of the object or array that the decoder is about to read.
func (h *hasher) appendContainer(dst []byte) ([]byte, error) {
	open, err := h.dec.ReadToken()
	if err != nil {
		return nil, err
	}
	var digest uint64
	if open.Kind() == '{' {
		digest, err = h.sumMembers()
	} else {
		digest, err = h.hashElements()
	}
	if err != nil {
		return nil, err
	}
	dst = append(dst, byte(open.Kind()))
	return binary.LittleEndian.AppendUint64(dst, digest), nil
}

func (h *hasher) sumMembers() (sum uint64, err error) {
	// The scratch buffer is a stack: a nested value's encoding goes behind that of its parent's name.
	base := len(h.scratch)
	for h.dec.PeekKind() != '}' {
		name, err := h.dec.ReadValue()
		if err != nil {
			return 0, err
		}
		h.scratch = appendName(h.scratch[:base], name)
		if isAnnotation(h.scratch[base+nameOffset:]) {
			if err := h.dec.SkipValue(); err != nil {
				return 0, err
			}
			continue
		}
		null := h.dec.PeekKind() == 'n'
		if err := h.pushNext(); err != nil {
			return 0, err
		}
		if !null {
			sum += xxhash.Sum64(h.scratch[base:])
		}
	}
	h.scratch = h.scratch[:base]
	_, err = h.dec.ReadToken()
	return sum, err
}

func (h *hasher) hashElements() (digest uint64, err error) {
	base := len(h.scratch)
	var d xxhash.Digest
	d.Reset()
	for h.dec.PeekKind() != ']' {
		if err := h.pushNext(); err != nil {
			return 0, err
		}
		var sum [8]byte
		binary.LittleEndian.PutUint64(sum[:], xxhash.Sum64(h.scratch[base:]))
		_, _ = d.Write(sum[:]) // never fails
		h.scratch = h.scratch[:base]
	}
	_, err = h.dec.ReadToken()
	return d.Sum64(), err
}

// pushNext appends enc of the next value to the scratch buffer.
func (h *hasher) pushNext() error {
	if k := h.dec.PeekKind(); k == '{' || k == '[' {
		enc, err := h.appendContainer(h.scratch)
		if err != nil {
			return err
		}
		h.scratch = enc
		return nil
	}
	v, err := h.dec.ReadValue()
	if err != nil {
		return err
	}
	h.scratch = appendScalar(h.scratch, v)
	return nil
}

// nameOffset is where the name begins in what appendName appends.
const nameOffset = 4

// appendName appends le32(length) and the name, given as a JSON string literal.
func appendName(dst []byte, literal jsontext.Value) []byte {
	base := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	dst, _ = appendText(dst, literal)
	binary.LittleEndian.PutUint32(dst[base:], uint32(len(dst)-base-nameOffset))
	return dst
}

// appendText appends the text of a JSON string literal, or the literal itself (and false) if it is not valid Unicode.
func appendText(dst []byte, literal jsontext.Value) ([]byte, bool) {
	base := len(dst)
	if out, err := jsontext.AppendUnquote(dst, literal); err == nil {
		return out, true
	}
	return append(dst[:base], literal...), false
}

// isAnnotation reports whether a name is OData's and not the row's: @odata.type, charge@odata.type.
func isAnnotation(name []byte) bool {
	return bytes.IndexByte(name, '@') >= 0 && bytes.Contains(name, []byte("@odata."))
}

// appendScalar appends enc of anything but an object or an array.
func appendScalar(dst []byte, v jsontext.Value) []byte {
	switch v.Kind() {
	case '"':
		base := len(dst)
		out, valid := appendText(append(dst, 's'), v)
		if !valid {
			out[base] = 'x'
		}
		return out
	case '0':
		return appendNumber(append(dst, '#'), v)
	default:
		return append(dst, byte(v.Kind())) // n, t, f
	}
}

// appendNumber appends the canonical form of a JSON number. Its cost grows with the literal, never with the number.
func appendNumber(dst []byte, literal []byte) []byte {
	sign := len(dst)
	if literal[0] == '-' {
		dst, literal = append(dst, '-'), literal[1:]
	}
	mantissa, exponent := literal, []byte(nil)
	if i := bytes.IndexAny(literal, "eE"); i >= 0 {
		mantissa, exponent = literal[:i], literal[i+1:]
	}
	whole, fraction, _ := bytes.Cut(mantissa, []byte("."))
	start := len(dst)
	if whole = bytes.TrimLeft(whole, "0"); len(whole) > 0 {
		dst = append(append(dst, whole...), fraction...)
	} else {
		dst = append(dst, bytes.TrimLeft(fraction, "0")...)
	}
	digits := bytes.TrimRight(dst[start:], "0")
	if len(digits) == 0 {
		return append(dst[:sign], '0') // also -0
	}
	shift := len(dst) - start - len(digits) - len(fraction)
	dst = append(dst[:start+len(digits)], 'e')
	return appendExponent(dst, exponent, int64(shift))
}

// appendExponent appends the decimal form of exponent + shift; exponent is a JSON number's: sign, digits, any length.
func appendExponent(dst, exponent []byte, shift int64) []byte {
	negative := false
	if len(exponent) > 0 && (exponent[0] == '-' || exponent[0] == '+') {
		negative, exponent = exponent[0] == '-', exponent[1:]
	}
	exponent = bytes.TrimLeft(exponent, "0")
	if len(exponent) <= 18 {
		var e int64
		for _, d := range exponent {
			e = e*10 + int64(d-'0')
		}
		if negative {
			e = -e
		}
		return strconv.AppendInt(dst, e+shift, 10)
	}
	// Beyond int64: add the shift to the digits. It is shorter than any literal, so the sign stays.
	if negative {
		dst, shift = append(dst, '-'), -shift
	}
	start := len(dst)
	dst = append(append(dst, '0'), exponent...)
	for i := len(dst) - 1; shift != 0; i-- {
		n := int64(dst[i]-'0') + shift
		d := (n%10 + 10) % 10
		dst[i] = byte('0' + d)
		shift = (n - d) / 10
	}
	trimmed := bytes.TrimLeft(dst[start:], "0")
	return append(dst[:start], trimmed...)
}
