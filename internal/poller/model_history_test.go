//go:build synctests

package poller_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"pstncalls/internal/graphfake"
)

// kind is what an operation does. Its name is also its name in the last line.
type kind string

const (
	opAdd     kind = "adds"
	opCorrect kind = "corrections"
	opMove    kind = "moves"
	opVanish  kind = "vanished"
	opReturn  kind = "returns"  // a vanished row comes back; changed where arg is above 0
	opSpoil   kind = "spoilt"   // an event's row becomes a reject
	opMend    kind = "mended"   // a reject becomes sound
	opShift   kind = "shifts"   // the set of a day's rows changes between two pages of a scan
	opStale   kind = "stales"   // a row moves or changes while a page that shows it is on its way
	opFault   kind = "faults"   // of Graph
	opBroker  kind = "broker"   // faults of Kafka
	opStop    kind = "stops"    // in order
	opKill    kind = "kills"    // at a point of the observer
	opFreeze  kind = "freezes"  // the shard's goroutine stands still at a point
	opSecond  kind = "overlaps" // a second owner
	opSetUp   kind = "setups"   // stop, and start with other privacy rules or API version
	opLook    kind = "looks"    // the state is counted in the middle of a life
	opClock   kind = "clocks"   // the program's clock is off for a while
	opScan    kind = "scans"    // somebody asks for days, settled ones too
)

// op is one operation of a history. Operations that name a row which is not there any more do nothing, so that any part of a
// history is a history.
type op struct {
	n    int           // number in the seed's history
	at   time.Duration // since the birth of the world: the first poller starts then
	kind kind

	row  ref           // correct, move, vanish, return, spoil, mend, shift
	rows int           // add: how many
	day  int           // add, move, shift: day of the start, from the day of birth
	hour time.Duration // add: of the first row's start, in its day
	arg  int           // correct, return: the version's number; spoil, add: how it is a reject; fault: which; kill: the n-th time
	what string        // add: form of the rows; fault, kill, setup: which
	dur  time.Duration // how long: faults, stops, down after a kill, freezes, overlaps, clock
	by   time.Duration // clock: how far off
	then string        // kill: the set-up of the next process; the same where it is empty
}

// ref names a row: the i-th of the operation n that added it.
type ref struct{ n, i int }

func (r ref) String() string { return fmt.Sprintf("r%d.%d", r.n, r.i) }

func (o op) String() string {
	s := fmt.Sprintf("%4d  %s  %-11s", o.n, clockwise(o.at), o.kind)
	switch o.kind {
	case opAdd:
		s += fmt.Sprintf(" %d rows r%d.* of day %+d from %v %s", o.rows, o.n, o.day, o.hour.Round(time.Second), o.what)
	case opCorrect, opReturn:
		s += fmt.Sprintf(" %s v%d", o.row, o.arg)
	case opMove:
		s += fmt.Sprintf(" %s to day %+d", o.row, o.day)
	case opVanish, opSpoil, opMend:
		s += " " + o.row.String()
	case opShift:
		s += fmt.Sprintf(" %s %s when page 2 of day %+d is asked for", o.what, o.row, o.day)
	case opStale:
		s += fmt.Sprintf(" %s to day %+d while a page of day %+d is on its way", o.row, o.day, o.arg)
	case opFault, opBroker:
		s += fmt.Sprintf(" %s ×%d for %v", o.what, o.arg, o.dur.Round(time.Second))
	case opKill:
		s += fmt.Sprintf(" at %q, time %d, down for %v", o.what, o.arg, o.dur.Round(time.Second))
		if o.then != "" {
			s += ", then as " + o.then
		}
	case opFreeze:
		s += fmt.Sprintf(" at %q, time %d, for %v", o.what, o.arg, o.dur.Round(time.Second))
	case opStop, opSecond:
		s += fmt.Sprintf(" for %v", o.dur.Round(time.Second))
	case opSetUp:
		s += " " + o.what
	case opScan:
		s += fmt.Sprintf(" days %+d to %+d", o.day, o.arg)
	case opClock:
		s += fmt.Sprintf(" off by %v for %v", o.by, o.dur.Round(time.Second))
	}
	return strings.TrimRight(s, " ")
}

// clockwise prints a duration since birth as days and time.
func clockwise(d time.Duration) string {
	day := 24 * time.Hour
	days := d / day
	if d < 0 {
		days--
	}
	rest := (d - days*day).Truncate(time.Second)
	return fmt.Sprintf("%+3dd%02d:%02d:%02d", days, rest/time.Hour, rest/time.Minute%60, rest/time.Second%60)
}

// history is a life of a tenant and its pollers, as a plain value.
type history struct {
	seed               uint64
	interval, lookback time.Duration
	back, days         int // polling starts back days before birth; operations end days after
	pageSize           int
	order              graphfake.Order
	reading            graphfake.Reading
	gzip               bool
	perMinute          int  // the program's budget; 0: perMinute
	partRows           int  // poller.Config.PartRows
	ops                []op // by instant
}

func (h *history) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "interval %v, lookback %v, start %d days back, life %d days, page of %d rows by %s, reading %s\n",
		h.interval, h.lookback, h.back, h.days, h.pageSize, h.order, h.reading)
	for _, o := range h.ops {
		fmt.Fprintln(&b, o)
	}
	return b.String()
}

// with returns the history with these operations only.
func (h *history) with(ops []op) *history {
	c := *h
	c.ops = ops
	return &c
}

const dayLong = 24 * time.Hour

// generator makes a history.
type generator struct {
	*rand.Rand
	h *history
	// what the rows are at the end of what was generated
	rows []ref
	day  map[ref]int
	home map[ref]int
}

func (g *generator) duration(from, to time.Duration) time.Duration {
	return from + time.Duration(g.Int64N(int64(to-from)))
}

func (g *generator) add(o op) op {
	o.n = len(g.h.ops)
	g.h.ops = append(g.h.ops, o)
	return o
}

// newHistory returns the seed's history.
func newHistory(seed uint64) *history {
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 0x6d6f64656c)), day: map[ref]int{}, home: map[ref]int{}}
	h := &history{seed: seed, interval: g.duration(45*time.Minute, 90*time.Minute).Round(time.Minute),
		lookback: time.Duration(48+12*g.IntN(3)) * time.Hour, back: 5 + g.IntN(8), days: 6 + g.IntN(5), pageSize: 5 + g.IntN(30),
		order:   graphfake.Order(g.IntN(5)),
		reading: graphfake.Reading{TimesHonoured: g.IntN(2) == 0, EndInclusive: g.IntN(2) == 0}, gzip: g.IntN(8) == 0}
	g.h = h
	for d := -h.back - 1; d < h.days; d++ {
		g.addDay(d)
	}
	g.changeRows()
	g.trouble()
	slices.SortStableFunc(h.ops, func(a, b op) int { return cmp.Compare(a.at, b.at) })
	return h
}

// addDay adds the rows of a day: some while it is open, some late, a few later than the lookback.
func (g *generator) addDay(d int) {
	per := 20 + g.IntN(40)
	if g.IntN(12) == 0 {
		per = 300
	}
	if g.IntN(6) == 0 {
		per = 0
	}
	start := time.Duration(d) * dayLong
	for per > 0 {
		n := min(per, 1+g.IntN(25))
		per -= n
		hour := g.duration(0, 20*time.Hour)
		at := start + hour + g.duration(30*time.Minute, 3*time.Hour)
		switch g.IntN(12) {
		case 0:
			n = min(n, 4)
			at = start + dayLong + g.duration(time.Minute, g.h.lookback)
		case 1:
			n = min(n, 2)
			at = start + dayLong + g.duration(0, 3*g.h.lookback/2)
		}
		g.addRows(op{at: at, kind: opAdd, rows: n, day: d, hour: hour, what: g.form(&n)})
	}
}

// form is what is special about added rows.
func (g *generator) form(n *int) string {
	switch g.IntN(30) {
	case 0:
		return "one call"
	case 1:
		return "no id"
	case 2:
		return "bad duration"
	case 3:
		*n = 1
		return "no start"
	}
	return ""
}

func (g *generator) addRows(o op) {
	if o.what == "no start" {
		o.rows = 1
	}
	o = g.add(o)
	for i := range o.rows {
		r := ref{o.n, i}
		g.rows = append(g.rows, r)
		g.day[r], g.home[r] = o.day, o.day
	}
}

// changeRows gives some rows a life of their own.
func (g *generator) changeRows() {
	added := map[int]op{}
	for _, o := range g.h.ops {
		added[o.n] = o
	}
	for _, r := range g.rows {
		o := added[r.n]
		reject := strings.HasPrefix(o.what, "bad") || o.what == "no start"
		share := 8
		if reject {
			share = 2
		}
		if g.IntN(share) > 0 {
			continue
		}
		at := o.at
		next := func() time.Duration {
			switch g.IntN(4) {
			case 0:
				at += g.duration(time.Second, 40*time.Minute)
			case 1:
				at += g.duration(time.Hour, 12*time.Hour)
			default:
				at += g.duration(12*time.Hour, 40*time.Hour)
			}
			return at
		}
		if reject {
			g.add(op{at: next(), kind: opMend, row: r})
		}
		version := 0
		for range 1 + g.IntN(3) {
			switch g.IntN(10) {
			case 0, 1, 2:
				version++
				g.add(op{at: next(), kind: opCorrect, row: r, arg: version})
			case 3: // A-B-A
				g.add(op{at: next(), kind: opCorrect, row: r, arg: version + 1})
				g.add(op{at: next(), kind: opCorrect, row: r, arg: version})
			case 4, 5, 6:
				if o.what == "no id" {
					continue
				}
				g.move(r, next)
			case 7:
				g.add(op{at: next(), kind: opVanish, row: r})
			case 8:
				g.add(op{at: next(), kind: opVanish, row: r})
				again := version
				if g.IntN(2) == 0 {
					version++
					again = version
				}
				g.add(op{at: next(), kind: opReturn, row: r, arg: again})
			case 9:
				g.add(op{at: next(), kind: opSpoil, row: r})
				g.add(op{at: next(), kind: opMend, row: r})
			}
		}
	}
}

// move re-dates a row: to the next day, to another one, to one that is settled by then; perhaps back again.
func (g *generator) move(r ref, next func() time.Duration) {
	at := next()
	to := g.home[r] + []int{-1, 1, -3, 3, -7, 7, -1, 1}[g.IntN(8)]
	if latest := int(at/dayLong) - 1; to > latest {
		to = latest
	}
	g.add(op{at: at, kind: opMove, row: r, day: to})
	if g.IntN(3) == 0 {
		g.add(op{at: next(), kind: opMove, row: r, day: g.home[r]})
	}
}

// graphFaults are those of opFault, by name.
var graphFaults = []string{"429", "429 at once", "503", "500", "reset", "reset-body", "truncate", "html", "400 on a link", "410 on a link", "401", "slow",
	"empty-page", "error-200", "link-loop"}

// brokerFaults are those of opBroker, by name.
var brokerFaults = []string{"produce refused", "produce moved", "end unanswered", "end fenced", "end cut", "produce cut"}

var killPoints = []string{"fenced", "claimed", "ready", "begin", "produced", "end", "committed", "page", "merge", "fenced", "claimed", "ready"}

// trouble lets the program and what it stands on fail. Some seeds know one kind of trouble only, some none.
func (g *generator) trouble() {
	h := g.h
	end := time.Duration(h.days) * dayLong
	some := func(most int) int {
		if g.IntN(2) == 0 {
			return 0
		}
		return g.IntN(most + 1)
	}
	for range some(6) {
		g.add(op{at: g.duration(0, end), kind: opKill, what: killPoints[g.IntN(len(killPoints))], arg: 1 + g.IntN(3), dur: g.pause()})
	}
	if g.IntN(3) == 0 {
		g.add(op{at: g.duration(0, end), kind: opKill, what: "page", arg: 2 + g.IntN(12), dur: g.pause(), then: setUps[g.IntN(len(setUps))]})
		g.add(op{at: g.duration(0, end), kind: opKill, what: "page", arg: 2 + g.IntN(12), dur: g.pause(), then: setUps[g.IntN(len(setUps))]})
	}
	if g.IntN(3) == 0 { // in the middle of the first minute, which the budget bounds
		g.add(op{at: time.Millisecond, kind: opKill, what: "page", arg: 25 + g.IntN(20), dur: g.duration(0, 10*time.Second)})
	}
	for range some(3) {
		g.add(op{at: g.duration(0, end), kind: opStop, dur: g.pause()})
	}
	for range some(8) {
		g.add(op{at: g.duration(0, end), kind: opFault, what: graphFaults[g.IntN(len(graphFaults))], arg: 1 + g.IntN(8), dur: g.duration(time.Hour, 6*time.Hour)})
	}
	for range some(4) {
		g.add(op{at: g.duration(0, end), kind: opBroker, what: brokerFaults[g.IntN(len(brokerFaults))], arg: 1, dur: 4 * time.Hour})
	}
	for range some(2) {
		g.add(op{at: g.duration(0, end), kind: opSecond, dur: g.duration(time.Second, 3*time.Hour)})
	}
	for range some(2) {
		g.add(op{at: g.duration(0, end), kind: opFreeze, what: killPoints[3+g.IntN(5)], arg: 1 + g.IntN(3), dur: g.duration(time.Second, 3*time.Hour)})
	}
	for range 3 {
		g.add(op{at: g.duration(0, end), kind: opLook})
	}
	for range some(12) {
		if len(g.rows) == 0 {
			break
		}
		r := g.rows[g.IntN(len(g.rows))]
		at := g.duration(0, end)
		g.add(op{at: at, kind: opShift, row: r, day: min(g.home[r], int(at/dayLong)), what: []string{"vanish", "vanish", "move"}[g.IntN(3)], dur: dayLong})
	}
	for range some(4) {
		g.interruptSettling()
	}
	for range 3 {
		g.stale()
	}
	for range some(3) {
		at := g.duration(0, end+2*dayLong)
		from := int(at/dayLong) - 1 - g.IntN(h.back+h.days)
		g.add(op{at: at, kind: opScan, day: from, arg: min(from+1+g.IntN(5), int(at/dayLong)+1)})
	}
	if g.IntN(4) == 0 {
		for range 1 + g.IntN(2) {
			g.add(op{at: g.duration(0, end), kind: opSetUp, what: setUps[g.IntN(len(setUps))], dur: g.duration(0, time.Hour)})
		}
	}
	if g.IntN(3) == 0 {
		by := []time.Duration{time.Hour, -time.Hour, dayLong, -dayLong}[g.IntN(4)]
		g.add(op{at: g.duration(0, end), kind: opClock, by: by, dur: g.duration(10*time.Minute, 8*time.Hour)})
	}
}

// pause is how long no program runs.
func (g *generator) pause() time.Duration {
	switch g.IntN(3) {
	case 0:
		return g.duration(0, 10*time.Second)
	case 1:
		return g.duration(time.Minute, time.Hour)
	}
	return g.duration(time.Hour, 30*time.Hour)
}

// setUps are the privacy rules and API version of opSetUp.
var setUps = []string{"beta ", "beta callerNumber=mask", "v1.0 ", "v1.0 callerNumber=drop"}

// kinds returns everything that has to happen in enough histories.
func kinds() (ks []kind) {
	ks = []kind{opAdd, opCorrect, opMove, opVanish, opReturn, opSpoil, opMend, opShift, opStale, opStop, opSecond, opFreeze, opSetUp, opLook, opClock, opScan}
	for _, what := range graphFaults {
		ks = append(ks, opFault+" "+kind(what))
	}
	for _, what := range brokerFaults {
		ks = append(ks, opBroker+" "+kind(what))
	}
	for _, what := range killPoints {
		if what != "merge" { // a ledger has to be long for that
			ks = append(ks, opKill+" "+kind(what))
		}
	}
	return ks
}

// interruptSettling kills the process in the middle of the scan that would settle a day, shortly after rows came, and lets rows of
// the day vanish before the next one goes on.
func (g *generator) interruptSettling() {
	h := g.h
	r := g.rows[g.IntN(len(g.rows))]
	d := g.home[r]
	settles := time.Duration(d+1)*dayLong + h.lookback
	if settles < dayLong {
		return
	}
	g.addRows(op{at: settles - g.duration(time.Second, h.interval/2), kind: opAdd, rows: 2 * h.pageSize, day: d, hour: g.duration(0, 20*time.Hour)})
	down := g.duration(time.Minute, 3*time.Hour)
	g.add(op{at: settles - time.Second, kind: opKill, what: "page", arg: 1 + g.IntN(3), dur: down})
	for _, r := range g.rows {
		if g.home[r] == d && g.IntN(3) == 0 {
			g.add(op{at: settles + g.duration(time.Second, down), kind: opVanish, row: r})
		}
	}
}

// stale picks a row that is alone on its day's first page when many days are read at once, at birth, and moves it into a day that
// is read a little later.
func (g *generator) stale() {
	inDay, adds := map[int]int{}, map[int]op{}
	for _, o := range g.h.ops {
		if o.kind == opAdd {
			inDay[o.day] += o.rows
			adds[o.n] = o
		}
	}
	var fit []ref
	for _, r := range g.rows {
		if d := g.home[r]; d > -g.h.back+2 && d < 0 && inDay[d] <= g.h.pageSize && adds[r.n].at < 0 && adds[r.n].what == "" {
			fit = append(fit, r)
		}
	}
	if len(fit) > 0 {
		r := fit[g.IntN(len(fit))]
		g.add(op{kind: opStale, row: r, day: g.home[r] - g.IntN(3), arg: g.home[r]})
	}
}
