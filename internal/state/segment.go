package state

import (
	"encoding/binary"
	"errors"
	"fmt"

	"pstncalls/internal/window"
)

// A ledger record:
//
//	byte     format, 2
//	byte     algorithm of the fingerprints (row.FingerprintAlgorithm), 1
//	entries, up to the end:
//	  uvarint  bit 0: the id is text, not a GUID; bit 1: rejected; bit 2: vanished; bit 3: away; from bit 4: revision + 1 (0: never published)
//	  id       16 bytes of the GUID, or uvarint length and text
//	  8 bytes  fingerprint, big endian
//	  varint   where it is away: the day its call starts in now, as days after the owner window
//
// Format 1 had no bit for away: the revision began at bit 3.
const (
	segmentFormat    = 2
	segmentAlgorithm = 1
	segmentHeader    = 2

	maxSegmentBytes = 512 << 10
	// maxEntryBytes bounds one entry: ids are at most 256 bytes and some marks (package row).
	maxIDBytes    = 512
	maxEntryBytes = maxIDBytes + 8 + 3*binary.MaxVarintLen64
)

// What is merged are the last segments: as many as make a large one together, or mergeRun of the smallest class. The result is
// of a larger class, unless rows were in it several times, so an entry is written three times at most, and only those of tiny
// records as often as that. Until then their bytes are kept in memory: less than mediumBytes a window.
const (
	mergeRun    = 1024
	smallBytes  = 1536
	mediumBytes = 96 << 10
)

// segment is one ledger record of a window.
type segment struct {
	seq  uint64
	size int
	data []byte // nil for those that are large enough to be left alone
}

func (s *segment) class() int {
	switch {
	case s.size < smallBytes:
		return 0
	case s.size < mediumBytes:
		return 1
	}
	return 2
}

func newSegment(seq uint64, data []byte) segment {
	s := segment{seq: seq, size: len(data), data: data}
	if s.class() == 2 {
		s.data = nil
	}
	return s
}

// appendEntry appends an entry; text is its id where that is not a GUID, home where its call starts if it is away.
func appendEntry(b []byte, e *entry, text string, home window.Day) []byte {
	head := uint64(int64(e.revision)+1) << 4
	if e.flags&flagText != 0 {
		head |= 1
	}
	if e.flags&flagRejected != 0 {
		head |= 2
	}
	if e.flags&flagVanished != 0 {
		head |= 4
	}
	if e.flags&flagAway != 0 {
		head |= 8
	}
	b = binary.AppendUvarint(b, head)
	if e.flags&flagText != 0 {
		b = appendID(b, text)
	} else {
		b = append(b, e.key[:]...)
	}
	b = binary.BigEndian.AppendUint64(b, e.fingerprint)
	if e.flags&flagAway != 0 {
		b = binary.AppendVarint(b, int64(home-e.day()))
	}
	return b
}

var errSegment = errors.New("the ledger record is damaged")

// decodeSegment calls fn for each entry of a ledger record, with the text of ids that are not GUIDs, and its home.
func decodeSegment(data []byte, owner window.Day, fn func(e entry, text string, home window.Day)) error {
	if len(data) < segmentHeader || data[0] == 0 {
		return errSegment
	}
	if data[0] > segmentFormat {
		return fmt.Errorf("the ledger record has format %d: %w", data[0], ErrNewer)
	}
	if data[1] != segmentAlgorithm {
		return fmt.Errorf("the ledger record's fingerprints are of algorithm %d: %w", data[1], ErrNewer)
	}
	for b := data[segmentHeader:]; len(b) > 0; {
		head, n := uvarint(b)
		if n <= 0 || head>>60 != 0 {
			return errSegment
		}
		b = b[n:]
		if data[0] == 1 {
			head = head&^7<<1 | head&7
		}
		if head>>4 > 1<<31 {
			return errSegment
		}
		away := head&8 != 0
		e := entry{revision: int32(int64(head>>4) - 1), owner: uint16(owner)}
		if head&2 != 0 {
			e.flags |= flagRejected
		}
		if head&4 != 0 {
			e.flags |= flagVanished
		}
		text := ""
		if head&1 != 0 {
			l, n := uvarint(b)
			if n <= 0 || l > maxIDBytes || l > uint64(len(b)-n) {
				return errSegment
			}
			text = string(b[n : n+int(l)])
			b = b[n+int(l):]
			var guid bool
			if e.key, guid = keyOf(text); guid {
				return errSegment
			}
			e.flags |= flagText
		} else {
			if len(b) < 16 {
				return errSegment
			}
			copy(e.key[:], b)
			b = b[16:]
		}
		if len(b) < 8 {
			return errSegment
		}
		e.fingerprint = binary.BigEndian.Uint64(b)
		b = b[8:]
		home := owner
		if away {
			days, n := binary.Varint(b)
			if n <= 0 || n > 1 && b[n-1] == 0 || days == 0 || days > 1<<24 || days < -1<<24 {
				return errSegment
			}
			e.flags |= flagAway
			home += window.Day(days)
			b = b[n:]
		}
		fn(e, text, home)
	}
	return nil
}

// uvarint is binary.Uvarint for the one spelling that appendEntry writes: n is 0 for any other.
func uvarint(b []byte) (v uint64, n int) {
	v, n = binary.Uvarint(b)
	if n > 1 && b[n-1] == 0 {
		return 0, 0
	}
	return v, n
}

// startSegment returns the header of a ledger record.
func startSegment() []byte { return []byte{segmentFormat, segmentAlgorithm} }

// mergeable returns how many of the last segments should be merged, or 0.
func mergeable(segs []segment) int {
	run, size, small := 0, 0, 0
	for i := len(segs) - 1; i >= 0 && segs[i].class() < 2; i-- {
		run++
		size += segs[i].size - segmentHeader
		if small == run-1 && segs[i].class() == 0 {
			small++
		}
	}
	switch {
	case size+segmentHeader >= mediumBytes:
		return run
	case small >= mergeRun:
		return small
	}
	return 0
}

// merge folds neighbouring segments into as few as hold them; the later entry of a row wins. The results take the last seqs of
// the run; the seqs that are free afterwards are returned too.
func merge(run []segment, owner window.Day) (merged []segment, data [][]byte, freed []uint64, err error) {
	type place struct {
		e    entry
		text string
		home window.Day
	}
	var order []rowKey
	rows := map[rowKey]place{}
	for _, s := range run {
		err := decodeSegment(s.data, owner, func(e entry, text string, home window.Day) {
			if _, ok := rows[e.key]; !ok {
				order = append(order, e.key)
			}
			rows[e.key] = place{e, text, home}
		})
		if err != nil {
			return nil, nil, nil, err
		}
	}
	cur := startSegment()
	for _, k := range order {
		p := rows[k]
		if len(cur)+maxEntryBytes > maxSegmentBytes {
			data = append(data, cur)
			cur = startSegment()
		}
		cur = appendEntry(cur, &p.e, p.text, p.home)
	}
	data = append(data, cur)
	free := len(run) - len(data)
	for i, s := range run {
		if i < free {
			freed = append(freed, s.seq)
			continue
		}
		merged = append(merged, newSegment(s.seq, data[i-free]))
	}
	return merged, data, freed, nil
}
