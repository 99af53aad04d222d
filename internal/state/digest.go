package state

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/bits"
)

// Digest is the sum modulo 2^128 of the hashes of a window's events, all revisions. Addition makes it independent of their
// order, and cheap to carry on; a lost, doubled, changed or swapped event changes it.
type Digest struct{ hi, lo uint64 }

// HashEvent returns what one event adds to its window's digest: the first 128 bits of SHA-256 over length and text of the row
// id, then revision (4 bytes), fingerprint (8 bytes), both big endian, and the Avro value without framing.
func HashEvent(rowID string, revision int32, fingerprint uint64, avro []byte) Digest {
	b := appendID(make([]byte, 0, 1024), rowID) // most events fit: no allocation
	b = binary.BigEndian.AppendUint32(b, uint32(revision))
	b = binary.BigEndian.AppendUint64(b, fingerprint)
	sum := sha256.Sum256(append(b, avro...))
	return Digest{binary.BigEndian.Uint64(sum[:8]), binary.BigEndian.Uint64(sum[8:16])}
}

// Add returns the sum of two digests.
func (d Digest) Add(o Digest) Digest {
	lo, carry := bits.Add64(d.lo, o.lo, 0)
	hi, _ := bits.Add64(d.hi, o.hi, carry)
	return Digest{hi, lo}
}

// String returns the digest as 32 hex digits.
func (d Digest) String() string { return fmt.Sprintf("%016x%016x", d.hi, d.lo) }

// MarshalText implements encoding.TextMarshaler.
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Digest) UnmarshalText(b []byte) error {
	var raw [16]byte
	if len(b) != 32 {
		return fmt.Errorf("digest: want 32 hex digits, got %d characters", len(b))
	}
	if _, err := hex.Decode(raw[:], b); err != nil {
		return fmt.Errorf("digest: %w", err)
	}
	d.hi, d.lo = binary.BigEndian.Uint64(raw[:8]), binary.BigEndian.Uint64(raw[8:])
	return nil
}
