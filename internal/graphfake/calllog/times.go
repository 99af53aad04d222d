package calllog

import (
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"pstncalls/internal/window"
)

// changeKind is what a correction changes.
type changeKind uint8

const (
	rated    changeKind = iota // the charge is known
	measured                   // the operator's duration replaces Microsoft's
	renamed                    // the display name
	moved                      // the start, into a neighbouring day
	mended                     // a row that no event could hold is put right
)

type change struct {
	kind changeKind
	at   int64
}

// defect is why no event can hold a row.
type defect uint8

const (
	sound defect = iota
	startNull
	startText
	chargeHuge
)

// times is what decides where and when a row is found. Instants are nanoseconds since 1970.
type times struct {
	start, seconds int64
	digits         int // of the fraction of a second
	from           int64
	changes        []change // by instant
	shift          int64    // of the start, once moved
	noID           bool
	defect         defect
}

// mix is splitmix64's step over two words.
func mix(a, b uint64) uint64 {
	z := a ^ b*0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

func hashRef(salt uint64, r ref) uint64 { return mix(mix(salt, uint64(uint32(r.day))), uint64(r.n)) }

// purposes keep a row's streams of random numbers apart.
const (
	forTimes = 1 + iota
	forStart
	forLegs
	forFacts
	forOrder
	forDay
)

func (l *Log) random(purpose uint64, r ref) *rand.Rand {
	return rand.New(rand.NewPCG(l.seed, hashRef(purpose, r)))
}

// share turns a hash into a number in [0, 1).
func share(h uint64) float64 { return float64(h>>11) / (1 << 53) }

// rowsIn returns how many rows start in d, before [From, To) is applied. A week adds up to 7 average days.
func (l *Log) rowsIn(d window.Day) int {
	if l.cfg.Flat {
		return l.cfg.RowsPerDay
	}
	h := hashRef(l.seed^forDay, ref{day: d})
	if share(mix(h, 1)) < l.cfg.SparseShare {
		return 0
	}
	weight := 1.25
	switch d.Start().Weekday() {
	case time.Saturday:
		weight = 0.4
	case time.Sunday:
		weight = 0.35
	}
	weight *= 0.95 + 0.1*share(mix(h, 2))
	return int(float64(l.cfg.RowsPerDay)*weight + share(mix(h, 3)))
}

// lead returns the first row of r's call, and how many rows before r that is: an eighth of the rows are a further leg (a transfer,
// a conference) of the call of the row before.
func (l *Log) lead(r ref) (ref, int64) {
	var legs int64
	for r.n > 0 && hashRef(l.seed^forLegs, r)%8 == 0 {
		r.n--
		legs++
	}
	return r, legs
}

// startOf returns the start of a row's first version.
func (l *Log) startOf(r ref) int64 {
	// Calls by hour of the day (UTC).
	hours := [24]int64{1, 1, 1, 1, 1, 2, 4, 10, 22, 30, 32, 30, 24, 28, 31, 30, 26, 16, 8, 5, 3, 2, 1, 1}
	lead, legs := l.lead(r)
	g := l.random(forStart, lead)
	u, hour := g.Int64N(310), 0
	for u >= hours[hour] {
		u -= hours[hour]
		hour++
	}
	at := int64(hour)*int64(time.Hour) + g.Int64N(int64(time.Hour)) + legs*(7+g.Int64N(60))*int64(time.Second)
	at = min(at, int64(24*time.Hour)-100) // a leg stays in its call's day
	unit := int64(100)
	for range 7 - l.digitsOf(r) {
		unit *= 10
	}
	return l.dayStart(r) + at/unit*unit
}

func (l *Log) dayStart(r ref) int64 { return r.day.Start().UnixNano() }

// digitsOf returns how many fractional digits the row's times have: seven, as in the documents, but not always.
func (l *Log) digitsOf(r ref) int {
	switch u := share(hashRef(l.seed^forTimes, r)); {
	case u < 0.85:
		return 7
	case u < 0.90:
		return 6
	case u < 0.95:
		return 3
	}
	return 0
}

func (l *Log) timesOf(r ref) times {
	g, c := l.random(forTimes, r), &l.cfg
	t := times{start: l.startOf(r), digits: l.digitsOf(r), seconds: int64(min(g.ExpFloat64()*180, 14000))}
	end := t.start + t.seconds*int64(time.Second)
	most := int64(c.MaxLateness)
	usual := int64(5*time.Minute) + int64(g.ExpFloat64()*float64(40*time.Minute))
	late := min(usual, most)
	if g.Float64() < c.LateShare {
		late = int64(g.Float64() * float64(most))
	}
	t.from = end + late
	if t.noID = g.Float64() < c.NoIDShare; t.noID {
		return t // without an identity a change would be another row
	}
	later := func() int64 { return t.from + 1 + int64(g.Float64()*float64(max(0, end+most-t.from-1))) }
	if g.Float64() < c.RejectShare {
		t.defect = startNull + defect(g.IntN(3))
		if g.Float64() < c.CorrectShare {
			t.changes = append(t.changes, change{mended, later()})
		}
		return t
	}
	if g.Float64() < c.CorrectShare {
		kind := g.IntN(3)
		t.changes = append(t.changes, change{changeKind(kind), later()})
		if g.IntN(4) == 0 {
			t.changes = append(t.changes, change{changeKind((kind + 1) % 3), later()})
		}
	}
	if g.Float64() < c.MoveShare {
		if at := later(); l.chooseShift(&t, r, at, g) {
			t.changes = append(t.changes, change{moved, at})
		}
	}
	slices.SortFunc(t.changes, func(a, b change) int { return cmp.Compare(a.at, b.at) })
	for i := 1; i < len(t.changes); i++ { // each version is visible for some time
		t.changes[i].at = max(t.changes[i].at, t.changes[i-1].at+1)
	}
	return t
}

// chooseShift finds a start for the row in a neighbouring day: within the log's range, and so that the call is over at at.
func (l *Log) chooseShift(t *times, r ref, at int64, g *rand.Rand) bool {
	inDay, gap := t.start-l.dayStart(r), (1+g.Int64N(3600))*int64(time.Second)
	shifts := []int64{-inDay/1e9*1e9 - gap, (int64(24*time.Hour)-inDay)/1e9*1e9 + gap}
	if g.IntN(2) == 0 {
		slices.Reverse(shifts)
	}
	for _, s := range shifts {
		start := t.start + s
		if start >= l.cfg.From.UnixNano() && start < l.cfg.To.UnixNano() && start+t.seconds*int64(time.Second) <= at {
			t.shift = s
			return true
		}
	}
	return false
}

// items returns the row's versions.
func (t *times) items(r ref) []Item {
	items := make([]Item, 0, 4)
	it := Item{ref: r, start: t.start, from: t.from, until: forever, first: t.from}
	for i, c := range t.changes {
		it.until = c.at
		items = append(items, it)
		it.version, it.from, it.until = int32(i+1), c.at, forever
		if c.kind == moved {
			it.start += t.shift
		}
	}
	return append(items, it)
}

// idOf returns the row's id: its day and number, enciphered.
func (l *Log) idOf(r ref) string {
	var b [16]byte
	binary.BigEndian.PutUint32(b[0:], uint32(r.day))
	binary.BigEndian.PutUint32(b[4:], r.n)
	l.ids.Encrypt(b[:], b[:])
	return guid(b)
}

// refOf is the inverse of idOf.
func (l *Log) refOf(id string) (ref, bool) {
	var b [16]byte
	plain := strings.ReplaceAll(id, "-", "")
	if len(plain) != 32 {
		return ref{}, false
	}
	if _, err := hex.Decode(b[:], []byte(plain)); err != nil {
		return ref{}, false
	}
	l.ids.Decrypt(b[:], b[:])
	r := ref{window.Day(int32(binary.BigEndian.Uint32(b[0:]))), binary.BigEndian.Uint32(b[4:])}
	return r, binary.BigEndian.Uint64(b[8:]) == 0
}

func guid(b [16]byte) string {
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}
