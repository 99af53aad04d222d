//go:build synctests

package poller_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"pstncalls/internal/window"
	"pstncalls/schema"
)

// The oracle knows the truth of the simulator, when the program could work, and design section 5. It does not know what the
// program asked for: a version has to be published if a scan had to begin while it was visible, by the doubling law.

// content is what a version says, as far as the model's rows differ.
type content struct {
	name, caller, ip, start, duration string
	reject                            bool
}

// span is a version of a row under one set-up: what a page shows of it from from to until.
type span struct {
	content
	from, until time.Time
	day         window.Day
	by          time.Time // by when it has to be published, if it must be
	must        bool
}

// published is one record on the topics.
type published struct {
	content
	rowID, key, owner string
	revision          int32
	fingerprint       uint64
	avro              []byte
	at                time.Time
	partition         int32
	offset            int64
}

const forEver = 1 << 62

var never = time.Unix(0, forEver).UTC()

// contentOf reads a version's JSON as a page of the set-up shows it.
func contentOf(b []byte, su setUpOf) content {
	var r struct {
		UserDisplayName, CallerNumber, ClientPublicIPV4Address, StartDateTime *string
		Duration                                                              any
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return content{name: err.Error()}
	}
	text := func(s *string) string {
		if s == nil {
			return ""
		}
		return *s
	}
	c := content{name: text(r.UserDisplayName), caller: text(r.CallerNumber), ip: text(r.ClientPublicIPV4Address), start: text(r.StartDateTime),
		duration: fmt.Sprint(r.Duration)}
	t, err := time.Parse(time.RFC3339, c.start)
	if err == nil {
		c.start = t.UTC().Format(time.RFC3339)
	}
	_, number := r.Duration.(float64)
	c.reject = err != nil || !number
	if su.version == "v1.0" {
		c.ip = ""
	}
	switch su.privacy {
	case "callerNumber=mask":
		c.caller = c.caller[:min(4, len(c.caller))] + "***"
	case "callerNumber=drop":
		c.caller = ""
	}
	return c
}

func eventOf(rec *kgo.Record) (*published, error) {
	call, err := schema.Decode(rec.Value)
	if err != nil {
		return nil, err
	}
	avro, err := schema.Unframe(rec.Value)
	if err != nil {
		return nil, err
	}
	text := func(s *string) string {
		if s == nil {
			return ""
		}
		return *s
	}
	e := &published{rowID: call.RowID, revision: call.Revision, avro: avro, at: rec.Timestamp.UTC(), partition: rec.Partition, offset: rec.Offset,
		key: string(rec.Key), owner: header(rec, schema.HeaderOwner)}
	e.content = content{name: text(call.UserDisplayName), caller: text(call.CallerNumber), ip: text(call.ClientPublicIPV4Address), duration: "<nil>"}
	if call.StartDateTime != nil {
		e.start = call.StartDateTime.UTC().Format(time.RFC3339)
	}
	if call.Duration != nil {
		e.duration = strconv.Itoa(int(*call.Duration))
	}
	e.fingerprint, err = strconv.ParseUint(header(rec, schema.HeaderFingerprint), 16, 64)
	return e, err
}

// judgement is the sum of a world.
type judgement struct{ events, rejects, lost, doubled, wrong int }

// judge compares the topics with the truth and the state.
func (m *model) judge() (j judgement) {
	events, rejects, err := m.topics()
	if err != nil {
		m.found("wrong", "topics: %v", err)
		return j
	}
	j.events, j.rejects = len(events), len(rejects)
	byRow := map[string][]*published{} // by the name of the row, which every version shows
	for _, e := range slices.Concat(events, rejects) {
		row, _, _ := strings.Cut(e.name, " ")
		byRow[row] = append(byRow[row], e)
	}
	m.readings()
	vanished := map[window.Day]gone{}
	for _, t := range m.graph.Truth(tenant) {
		spans := m.spans(t)
		row, _, _ := strings.Cut(spans[0].name, " ")
		pubs := byRow[row]
		delete(byRow, row)
		slices.SortStableFunc(pubs, func(a, b *published) int {
			return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.revision, b.revision))
		})
		if len(pubs) > 0 {
			if owner, err := window.Parse(pubs[len(pubs)-1].owner); err == nil {
				g := vanished[owner]
				g.add(m, t.ID == "", spans, pubs, owner)
				vanished[owner] = g
			}
			for _, p := range pubs { // of an earlier life: it had vanished when its owner window's ledger was dropped, and is a new row since
				if owner, err := window.Parse(p.owner); err == nil && p.owner != pubs[len(pubs)-1].owner {
					g := vanished[owner]
					g.most += int64(len(spans))
					vanished[owner] = g
				}
			}
		}
		class, why := m.judgeRow(t.ID == "", spans, pubs)
		if class == "doubled-reject" && len(m.scanned) > 0 && spans[0].content.start == "" {
			continue // a row without start belongs to no day: a scan of another one does not know it
		}
		switch class {
		case "":
			continue
		case "lost", "clock-lost":
			j.lost++
		case "doubled", "doubled-reject":
			j.doubled++
		default:
			j.wrong++
		}
		m.found(class, "%s: %s\n%s", row, why, m.story(spans, pubs))
	}
	for _, row := range slices.Sorted(maps.Keys(byRow)) {
		m.found("wrong", "%s: published, but in no log", row)
		j.wrong++
	}
	if states := m.recount(events, rejects); states != nil {
		m.judgeState(states, vanished)
	}
	m.judgeRequests()
	m.judgeConditions()
	return j
}

// story prints what was visible of a row, and what was published.
func (m *model) story(spans []span, pubs []*published) string {
	var b strings.Builder
	at := func(t time.Time) string {
		if t.Equal(never) {
			return "for ever"
		}
		return clockwise(t.Sub(m.birth))
	}
	for _, s := range spans {
		fmt.Fprintf(&b, "      visible %s to %s in day %+d: %v must=%v\n", at(s.from), at(s.until), s.day-m.day(0), s.content, s.must)
	}
	for _, p := range pubs {
		owner, _ := window.Parse(p.owner)
		fmt.Fprintf(&b, "      published %s revision %d owner %+d: %v\n", at(p.at), p.revision, owner-m.day(0), p.content)
	}
	return b.String()
}

// judgeRow compares one row with what was published of it.
func (m *model) judgeRow(noID bool, spans []span, pubs []*published) (class, why string) {
	if noID {
		return m.judgeNoID(spans, pubs)
	}
	next := int32(0)
	var last *published
	for _, p := range pubs {
		if p.reject {
			continue
		}
		switch {
		case last != nil && p.revision == 0 && m.ledgerMayBeGone(last.owner, p.at) && p.owner != last.owner:
			next, last = 0, nil
		case last != nil && p.revision < next:
			return "doubled", fmt.Sprintf("revision %d where %d has to come", p.revision, next)
		}
		if p.revision != next {
			return "wrong", fmt.Sprintf("revision %d where %d has to come", p.revision, next)
		}
		if last != nil && (last.key != p.key || last.partition != p.partition || last.offset > p.offset) {
			return "wrong", fmt.Sprintf("revision %d does not stand behind %d on its partition", p.revision, last.revision)
		}
		if last != nil && last.owner != p.owner {
			return "wrong", fmt.Sprintf("the owner changes from %s to %s", last.owner, p.owner)
		}
		next, last = next+1, p
	}
	return m.explain(spans, pubs)
}

// explain looks for a way in which the publications, in order, show the versions, in order.
func (m *model) explain(spans []span, pubs []*published) (class, why string) {
	// reach[i] says that the spans up to here explain the first i publications.
	reach := make([]bool, len(pubs)+1)
	reach[0] = true
	most := 0
	for k, s := range spans {
		next := make([]bool, len(pubs)+1)
		for i, ok := range reach {
			if !ok {
				continue
			}
			if !s.must || i > 0 && pubs[i-1].content == s.content {
				next[i] = true
			}
			if i < len(pubs) && pubs[i].content == s.content && !pubs[i].at.Before(s.from.Add(-time.Second)) && !pubs[i].at.After(m.seenUntil(s.until)) &&
				(i == 0 || pubs[i-1].content != s.content || pubs[i].owner != pubs[i-1].owner) {
				next[i+1] = true
				most = max(most, i+1)
			}
		}
		if !slices.Contains(next, true) {
			return m.lostIn(s), fmt.Sprintf("version %d, visible from %s, had to be published", k, clockwise(s.from.Sub(m.birth)))
		}
		reach = next
	}
	switch {
	case reach[len(pubs)]:
		return "", ""
	case most < len(pubs) && most > 0 && pubs[most].content == pubs[most-1].content:
		if pubs[most].reject {
			return "doubled-reject", fmt.Sprintf("reject %d says what the one before said", most)
		}
		return "doubled", fmt.Sprintf("publication %d says what the one before said", most)
	}
	return "wrong", fmt.Sprintf("publication %d shows no version of its time, or steals another's place", min(most, len(pubs)-1))
}

// lostIn is the class of a version that is missing.
func (m *model) lostIn(s span) string {
	if m.clockOff(s.from, s.by) {
		return "clock-lost"
	}
	return "lost"
}

// judgeNoID is for a row without id: each content is a row, once.
func (m *model) judgeNoID(spans []span, pubs []*published) (class, why string) {
	seen, ids := map[content]bool{}, map[string]bool{}
	for _, p := range pubs {
		switch {
		case seen[p.content] || !p.reject && ids[p.rowID]:
			return "doubled", "the same content or row id twice"
		case p.revision != 0:
			return "wrong", "a row without id has a revision"
		case !slices.ContainsFunc(spans, func(s span) bool {
			return s.content == p.content && !p.at.Before(s.from.Add(-time.Second)) && !p.at.After(m.seenUntil(s.until))
		}):
			return "wrong", "an event shows no version of its time"
		}
		seen[p.content] = true
		ids[p.rowID] = ids[p.rowID] || !p.reject
	}
	for k, s := range spans {
		if s.must && !seen[s.content] {
			return m.lostIn(s), fmt.Sprintf("version %d, visible from %s, had to be published", k, clockwise(s.from.Sub(m.birth)))
		}
	}
	return "", ""
}

// ledgerMayBeGone is design section 3, promise 1: a row that comes to another day when its own has no ledger is a new one.
func (m *model) ledgerMayBeGone(owner string, at time.Time) bool {
	day, err := window.Parse(owner)
	if err != nil {
		return false
	}
	settles := day.End().Add(m.h.lookback)
	return !settles.After(m.birth) || !at.Before(settles.Add(2*dayLong))
}

// recount compares the state's windows with the topics, by the header pstn-owner. It returns what the state says.
func (m *model) recount(events []*published, rejects []*published) map[window.Day]counted {
	states, err := m.states()
	if err != nil {
		m.found("state", "state: %v", err)
		return nil
	}
	want := map[window.Day]counted{}
	rows := map[string]bool{}
	for _, e := range events {
		day, err := window.Parse(e.owner)
		if err != nil {
			m.found("wrong", "event of %s: owner %q", e.name, e.owner)
			continue
		}
		c := want[day]
		if !rows[e.owner+e.rowID] {
			rows[e.owner+e.rowID] = true
			c.rows++
		}
		c.events++
		if e.revision > 0 {
			c.revisions++
		}
		c.digest = c.digest.Add(e.hash())
		want[day] = c
	}
	for _, e := range rejects {
		if day, err := window.Parse(e.owner); err == nil {
			c := want[day]
			c.rejects++
			want[day] = c
		}
	}
	days := slices.Concat(slices.Collect(maps.Keys(want)), slices.Collect(maps.Keys(states)))
	slices.Sort(days)
	for _, d := range slices.Compact(days) {
		w, got := want[d], states[d]
		w.settled, w.vanished = got.settled, got.vanished
		if got != w {
			m.found("digest", "day %+d at %s: the state says %+v, the topics %+v", d-m.day(0), clockwise(time.Since(m.birth)), got, w)
		}
	}
	return states
}

// look counts in the middle of a life, if nothing is committed meanwhile.
func (m *model) look() {
	before, rejects, err := m.topics()
	if err != nil {
		m.found("world", "topics: %v", err)
		return
	}
	states, err := m.states()
	after, _, err2 := m.topics()
	if err != nil || err2 != nil || states == nil || len(after) != len(before) {
		return
	}
	m.recount(before, rejects)
	m.count(opLook)
}

// topics reads events and rejects.
func (m *model) topics() (events, rejects []*published, err error) {
	recs, err := m.read(topics.Events)
	if err != nil {
		return nil, nil, err
	}
	for _, rec := range recs {
		e, err := eventOf(rec)
		if err != nil {
			return nil, nil, fmt.Errorf("event at %d/%d: %w", rec.Partition, rec.Offset, err)
		}
		events = append(events, e)
	}
	if recs, err = m.read(topics.DLQ); err != nil {
		return nil, nil, err
	}
	for _, rec := range recs {
		rejects = append(rejects, &published{content: contentOf(rec.Value, setUpOf{}), rowID: header(rec, schema.HeaderRowID), at: rec.Timestamp.UTC(),
			owner: header(rec, schema.HeaderWindow), offset: rec.Offset, partition: rec.Partition})
	}
	return events, rejects, nil
}

// judgeState judges what the state says in the end.
func (m *model) judgeState(states map[window.Day]counted, gone map[window.Day]gone) {
	for d := m.day(-m.h.back); d <= window.Of(time.Now()); d++ {
		got, g := states[d], gone[d]
		if over := d.End().Add(m.h.lookback + dayLong); !got.settled && over.Before(time.Now()) {
			m.found("unsettled", "day %+d is not settled", d-m.day(0))
		}
		if got.vanished < g.least && len(m.scanned) == 0 || got.vanished > g.most && len(m.moved[d]) == 0 {
			m.found("vanished", "day %+d counts %d vanished rows, want %d to %d: %q", d-m.day(0), got.vanished, g.least, g.most, g.rows)
		}
	}
}

// gone is how many rows of a window may, and have to, count as vanished.
type gone struct {
	least, most int64
	rows        []string
}

// add counts a row. It has to be vanished if it is not visible in the end, and a scan of its day had to see that while its
// owner window's ledger was there; it may be if it was not to be seen there at any time.
func (g *gone) add(m *model, noID bool, spans []span, pubs []*published, owner window.Day) {
	last := spans[len(spans)-1]
	hidden := len(spans) > 1 || !last.until.Equal(never)
	if !hidden {
		return
	}
	g.most += int64(len(spans))
	published := slices.IndexFunc(pubs, func(p *published) bool { return !p.reject }) >= 0
	if last.until.Equal(never) || noID || last.reject || !published || pubs[len(pubs)-1].content != last.content {
		return
	}
	by, ok := m.readBy(last.until, last.day)
	if ok && by.Before(owner.End().Add(m.h.lookback+dayLong)) && by.Before(time.Now()) && !last.until.Before(m.birth) {
		g.least++
		g.rows = append(g.rows, last.name)
	}
}

// judgeRequests counts requests by the minute. While two owners overlap, each has its own count: the group, which is not
// part of this world, would have stopped one of them.
func (m *model) judgeRequests() {
	for _, s := range m.graph.Misuse() {
		if len(m.overlaps) > 0 && strings.Contains(s, "told to wait") {
			continue // one owner was told, the other asked: see above
		}
		m.found("misuse", "%s", s)
	}
	stepped := slices.ContainsFunc(m.h.ops, func(o op) bool { return o.kind == opClock })
	for i, t := range m.asked {
		n := 0
		for n = 0; i+n < len(m.asked) && m.asked[i+n].Sub(t) < time.Minute; n++ {
		}
		two := slices.ContainsFunc(m.overlaps, func(o interval) bool { return t.Before(o.to) && o.from.Before(t.Add(time.Minute)) })
		if n > 50 && !two && !stepped {
			m.found("budget", "%d requests in the minute from %s", n, clockwise(t.Sub(m.birth)))
			return
		}
	}
}
