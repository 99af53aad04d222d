//go:build synctests

package poller_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"pstncalls/internal/graphfake"
	"pstncalls/internal/kafka"
	"pstncalls/internal/state"
	"pstncalls/internal/window"
)

// live plays the history through: rows from before birth first, then the pollers, until all has settled.
func (m *model) live() {
	begun := false
	begin := func() {
		if !begun {
			begun = true
			m.disturbed(time.Time{}, m.birth)
			m.startMain()
		}
	}
	for _, o := range m.h.ops {
		if o.at > 0 {
			begin()
			time.Sleep(time.Until(m.birth.Add(o.at)))
		}
		m.do(o)
	}
	begin()
	end := m.birth.Add(time.Duration(m.h.days)*dayLong + m.h.lookback + 3*dayLong)
	for _, o := range m.h.ops { // down, frozen, late: all that is over by then
		if over := m.birth.Add(o.at + o.dur + m.h.lookback + 2*dayLong); over.After(end) {
			end = over
		}
	}
	time.Sleep(time.Until(end))
	m.others.Wait()
}

// do carries an operation out. One that fits nothing any more does nothing.
func (m *model) do(o op) {
	at := m.birth.Add(o.at)
	if o.at > 0 {
		at = time.Now()
	}
	switch o.kind {
	case opAdd:
		m.add(o, at)
	case opCorrect, opMove, opVanish, opReturn, opSpoil, opMend:
		if err := m.change(o, at); err == nil {
			m.count(o.kind)
		}
	case opShift:
		m.shift(o)
	case opStale:
		m.stale(o)
	case opFault:
		m.graphFault(o)
	case opBroker:
		m.brokerFault(o)
	case opKill, opFreeze:
		m.mu.Lock()
		m.armed = append(m.armed, &armed{op: o, left: o.arg})
		m.mu.Unlock()
	case opStop, opSetUp:
		m.others.Go(func() { m.pause(o) })
	case opSecond:
		m.others.Go(func() { m.overlap(o) })
	case opLook:
		m.others.Go(m.look)
	case opScan:
		m.others.Go(func() { m.scan(o) })
	case opClock:
		m.count(o.kind)
		m.offs.Store(int64(o.by))
		m.disturbed(at, at.Add(o.dur+o.by.Abs()+m.h.interval))
		m.stepped = append(m.stepped, interval{from: at, to: at.Add(o.dur + o.by.Abs() + m.h.interval)})
		m.others.Go(func() {
			time.Sleep(o.dur)
			m.offs.Store(0)
		})
	}
}

// pause stops the process in order and starts another, perhaps with another set-up.
func (m *model) pause(o op) {
	from := time.Now()
	m.mu.Lock()
	p, second := m.main, m.second
	m.main = nil
	m.mu.Unlock()
	if p == nil {
		return
	}
	p.stop()
	if o.kind == opSetUp && second != nil {
		second.stop()
	}
	if o.kind == opStop {
		m.count(opStop)
	}
	time.Sleep(o.dur)
	if o.kind == opSetUp {
		m.changeSetUp(o.what)
	}
	m.wasDown(from, time.Now())
	m.startMain()
}

// overlap lets a second owner work for a while. Each of the two stands by when it is fenced, and comes back.
func (m *model) overlap(o op) {
	from := time.Now()
	m.mu.Lock()
	busy := m.second != nil || m.main == nil
	m.mu.Unlock()
	if busy {
		return
	}
	p := m.start(false)
	if p == nil {
		return
	}
	m.mu.Lock()
	m.second = p
	m.mu.Unlock()
	m.count(o.kind)
	select {
	case <-p.done: // with another set-up it must not go on
	case <-time.After(o.dur):
	}
	p.stop()
	m.mu.Lock()
	m.second = nil
	m.overlaps = append(m.overlaps, interval{from: from, to: time.Now().Add(time.Minute)})
	m.mu.Unlock()
	m.disturbed(from, time.Now().Add(5*time.Minute))
}

// scan asks for days; whether they have settled is chance.
func (m *model) scan(o op) {
	r := window.Range{From: m.day(o.day), To: m.day(o.arg)}
	c, err := m.cluster(nil)
	if err == nil {
		sig := state.Signal{Kind: state.SignalScan, Tenant: tenant, Given: time.Now(), By: "model", Range: &r}
		_, err = c.Signal(context.Background(), kafka.ShardOf(tenant, 12), fmt.Sprintf("%08d", o.n), sig.Encode())
	}
	if err != nil {
		m.found("world", "scan: %v", err)
		return
	}
	m.count(o.kind)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.scanned = append(m.scanned, r)
}

// add adds the rows of an operation, visible from an instant on.
func (m *model) add(o op, at time.Time) {
	m.rowsMu.Lock()
	defer m.rowsMu.Unlock()
	for i := range o.rows {
		r := ref{o.n, i}
		start := m.day(o.day).Start().Add(o.hour + time.Duration(i)*61*time.Second)
		mr := &modelRow{op: o, start: start, ident: fmt.Sprintf("%08x-0000-4000-8000-%012x", o.n, i)}
		call := fmt.Sprintf("call-%d.%d", o.n, i)
		if o.what == "one call" {
			call = fmt.Sprintf("call-%d", o.n)
		}
		v := map[string]any{"id": mr.ident, "callId": call, "userDisplayName": name(r, 0), "callerNumber": fmt.Sprintf("+4930%06d%03d", o.n, i),
			"clientPublicIpV4Address": fmt.Sprintf("10.%d.%d.%d", o.n>>8&255, o.n&255, i), "startDateTime": stamp(start), "duration": 60}
		switch o.what {
		case "no id":
			delete(v, "id")
			mr.ident = fmt.Sprintf("added-%d", m.added)
		case "bad duration":
			v["duration"] = "soon"
		case "no start":
			v["startDateTime"] = nil
		}
		if err := m.graph.AddRow(tenant, v, at); err != nil {
			m.found("world", "add %s: %v", r, err)
			continue
		}
		m.added++
		m.rows[r] = mr
		m.count(opAdd)
	}
}

// name is where a row's version shows.
func name(r ref, version int) string { return fmt.Sprintf("%s v%d", r, version) }

var errNoRow = errors.New("no such row")

// change applies an operation on one row.
func (m *model) change(o op, at time.Time) error {
	m.rowsMu.Lock()
	defer m.rowsMu.Unlock()
	r := m.rows[o.row]
	if r == nil {
		return errNoRow
	}
	switch o.kind {
	case opVanish:
		return m.graph.RemoveRow(tenant, r.ident, at)
	case opReturn:
		if r.version == o.arg {
			return m.graph.RestoreRow(tenant, r.ident, at)
		}
	}
	return m.graph.CorrectRow(tenant, r.ident, func(v map[string]any) {
		switch o.kind {
		case opCorrect, opReturn:
			r.version = o.arg
			v["userDisplayName"] = name(o.row, o.arg)
		case opMove:
			v["startDateTime"] = stamp(r.start.Add(m.day(o.day).Start().Sub(r.start.Truncate(dayLong))))
		case opSpoil:
			v["duration"] = "later"
		case opMend:
			v["duration"] = 61
			if v["startDateTime"] == nil {
				v["startDateTime"] = stamp(r.start)
			}
		}
	}, at)
}

// shift changes the rows of a day when the second page of a scan is asked for: $skip then points elsewhere.
func (m *model) shift(o op) {
	day := m.day(o.day)
	m.graph.Script(graphfake.Fault{Kind: graphfake.Hook, Page: 2, Day: day.Start(), Hook: func(graphfake.Request) {
		change := op{kind: opVanish, row: o.row}
		if o.what == "move" {
			change = op{kind: opMove, row: o.row, day: o.day - 1}
		}
		m.mu.Lock()
		m.shifts = append(m.shifts, shift{time.Now(), day})
		m.mu.Unlock()
		if m.change(change, time.Now()) == nil {
			m.count(opShift)
		}
	}})
}

// stale lets the next page of a day arrive late, and its row move or change meanwhile: other days' scans, slow as well so that
// they last that long, may show it first.
func (m *model) stale(o op) {
	day := m.day(o.arg).Start()
	m.graph.Script(graphfake.Fault{Kind: graphfake.Hook, Page: 1, Day: day, Hook: func(graphfake.Request) {
		m.disturbed(time.Now(), time.Now().Add(5*time.Minute))
		time.AfterFunc(time.Second, func() {
			change := op{kind: opMove, row: o.row, day: o.day}
			if o.day == o.arg {
				change = op{kind: opCorrect, row: o.row, arg: 90 + o.n%9}
			}
			if m.change(change, time.Now()) == nil {
				m.count(opStale)
			}
		})
		m.graph.Script(graphfake.Fault{Kind: graphfake.Slow, Delay: 4 * time.Second, Count: 20})
	}}, graphfake.Fault{Kind: graphfake.Stall, Delay: 80 * time.Second, Page: 1, Day: day})
}

func (m *model) graphFault(o op) {
	f := graphfake.Fault{Count: o.arg, Kind: graphfake.Kind(o.what)}
	later := func(r graphfake.Request) bool { return r.Skip > 0 }
	switch o.what {
	case "429":
		f.Kind, f.Status, f.RetryAfter = graphfake.Status, 429, "37"
	case "429 at once":
		f.Kind, f.Status = graphfake.Status, 429
	case "503":
		f.Kind, f.Status, f.RetryAfter = graphfake.Status, 503, "90"
	case "500":
		f.Kind, f.Status = graphfake.Status, 500
	case "401":
		f.Kind, f.Status = graphfake.Status, 401
	case "400 on a link":
		f.Kind, f.Status, f.Match = graphfake.Status, 400, later
	case "410 on a link":
		f.Kind, f.Status, f.Match = graphfake.Status, 410, later
	case "slow":
		f.Delay = 50 * time.Second // beyond the 30 s to the headers
	}
	sc := m.graph.Script(f)
	time.AfterFunc(o.dur, sc.Off)
	m.mu.Lock()
	m.faults = append(m.faults, fault{o, sc.Fired})
	m.mu.Unlock()
	now := time.Now()
	m.disturbed(now, now.Add(o.dur+10*time.Minute))
}

func (m *model) brokerFault(o op) {
	what, how, _ := strings.Cut(o.what, " ")
	key := kmsg.Produce
	if what == "end" {
		key = kmsg.EndTxn
	}
	err := map[string]*kerr.Error{"refused": kerr.InvalidRecord, "moved": kerr.NotLeaderForPartition, "unanswered": kerr.RequestTimedOut,
		"fenced": kerr.InvalidProducerEpoch}[how]
	hits := brokerFault(m.kafka, key, err, o.arg)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.faults = append(m.faults, fault{o, hits})
}

// total counts what has fired, faults included.
func (m *model) total() map[kind]int {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, f := range m.faults {
		n := f.fired()
		m.fired[f.op.kind] += n
		m.fired[f.op.kind+" "+kind(f.op.what)] += n
	}
	return m.fired
}
