package calllog

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"
)

// Form is how a row is written. The zero Form is the truth's: all properties of beta, every null spelt out.
type Form struct {
	V1 bool // only the 23 properties of v1.0
	// Salt other than 0 varies what carries no meaning: the order of the properties, escapes, nulls left out, @odata.type.
	Salt uint64
}

// betaOnly reports whether v1.0 lacks the property.
func betaOnly(name string) bool {
	switch name {
	case "@odata.type", "otherPartyCountryCode", "administrativeUnitInfos", "clientPublicIpV4Address", "clientPublicIpV6Address",
		"clientLocalIpV4Address", "clientLocalIpV6Address":
		return true
	}
	return false
}

// reduce returns a stored row as the API version shows it.
func (f Form) reduce(doc []byte) []byte {
	if !f.V1 {
		return doc
	}
	row, err := decode(doc)
	if err != nil {
		return doc // stored rows are valid JSON objects
	}
	for name := range row {
		if betaOnly(name) {
			delete(row, name)
		}
	}
	if b, err := json.Marshal(row); err == nil {
		return b
	}
	return doc
}

func decode(doc []byte) (map[string]any, error) {
	d := json.NewDecoder(bytes.NewReader(doc))
	d.UseNumber()
	var row map[string]any
	if err := d.Decode(&row); err != nil {
		return nil, err
	}
	return row, nil
}

// startIn returns the row's startDateTime in nanoseconds since 1970, or otherwise where it has none that can be read.
func startIn(row map[string]any, otherwise int64) int64 {
	text, _ := row["startDateTime"].(string)
	t, err := time.Parse(time.RFC3339, text)
	if err != nil || t.Year() < 1700 || t.Year() > 2200 {
		return otherwise
	}
	return t.UnixNano()
}

// nation is where a tenant's users are.
type nation struct {
	code, name, dial, currency string
	masked                     int // last digits of the other party's number that are hidden
}

// nations are some of those whose masking is documented, and some that mask nothing.
func nations() []nation {
	return []nation{
		{"US", "United States", "+1", "USD", 0}, {"DE", "Germany", "+49", "EUR", 3}, {"GB", "United Kingdom", "+44", "GBP", 0},
		{"FR", "France", "+33", "EUR", 4}, {"CH", "Switzerland", "+41", "CHF", 4}, {"SE", "Sweden", "+46", "SEK", 3},
		{"JP", "Japan", "+81", "JPY", 0}, {"BR", "Brazil", "+55", "BRL", 0}, {"BE", "Belgium", "+32", "EUR", 3},
		{"DK", "Denmark", "+45", "DKK", 3}, {"ES", "Spain", "+34", "EUR", 3}, {"FI", "Finland", "+358", "EUR", 3},
		{"IT", "Italy", "+39", "EUR", 3}, {"NL", "Netherlands", "+31", "EUR", 3}, {"NO", "Norway", "+47", "NOK", 3},
	}
}

func nationOf(code string, seed uint64) nation {
	all := nations()
	if code == "" {
		return all[seed%8]
	}
	for _, n := range all {
		if n.code == code {
			return n
		}
	}
	return nation{code, code, "+1", "USD", 0}
}

// fields collects a row's properties; the values lie one after the other in buf.
type fields struct {
	buf   []byte
	names []string
	ends  []int
	ascii bool // escape everything else
}

func (f *fields) end(name string) {
	f.names = append(f.names, name)
	f.ends = append(f.ends, len(f.buf))
}

func (f *fields) raw(name, value string) {
	f.buf = append(f.buf, value...)
	f.end(name)
}

func (f *fields) null(name string) { f.raw(name, "null") }

func (f *fields) text(name, value string) {
	f.buf = appendString(f.buf, value, f.ascii)
	f.end(name)
}

// textOr writes null where the value is empty.
func (f *fields) textOr(name, value string) {
	if value == "" {
		f.null(name)
		return
	}
	f.text(name, value)
}

func (f *fields) time(name string, ns int64, digits int) {
	f.buf = append(f.buf, '"')
	f.buf = instant(ns).AppendFormat(f.buf, "2006-01-02T15:04:05.0000000")
	f.buf = f.buf[:len(f.buf)-7+digits]
	if digits == 0 {
		f.buf = f.buf[:len(f.buf)-1]
	}
	f.buf = append(f.buf, 'Z', '"')
	f.end(name)
}

// write appends the version's JSON to b.
func (l *Log) write(b []byte, t times, it Item, form Form) []byte {
	f := fields{buf: make([]byte, 0, 1536), names: make([]string, 0, 34), ends: make([]int, 0, 34), ascii: form.Salt&1 == 1}
	done := map[changeKind]bool{}
	for _, c := range t.changes[:it.version] {
		done[c.kind] = true
	}
	l.fill(&f, t, it, done)
	var vary *rand.Rand
	order := make([]int, len(f.names))
	for i := range order {
		order[i] = i
	}
	if form.Salt != 0 {
		vary = rand.New(rand.NewPCG(form.Salt, hashRef(forOrder, it.ref)))
		vary.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	}
	b = append(b, '{')
	if vary != nil && !form.V1 && vary.IntN(3) == 0 {
		b = append(b, `"@odata.type":"#microsoft.graph.callRecords.pstnCallLogRow",`...)
	}
	for _, i := range order {
		begin := 0
		if i > 0 {
			begin = f.ends[i-1]
		}
		value := f.buf[begin:f.ends[i]]
		if form.V1 && betaOnly(f.names[i]) || vary != nil && string(value) == "null" && vary.IntN(8) == 0 {
			continue
		}
		b = append(append(append(append(append(b, '"'), f.names[i]...), '"', ':'), value...), ',')
	}
	b[len(b)-1] = '}' // a row has more properties than can be left out
	return b
}

// fill writes the version's properties in the order of the documents' sample.
func (l *Log) fill(f *fields, t times, it Item, done map[changeKind]bool) {
	g, c := l.random(forFacts, it.ref), &l.cfg
	lead, legs := l.lead(it.ref)
	call := l.random(forFacts+1000, lead)
	if done[mended] {
		t.defect = sound
	}
	kind := pick(call, "user_in", "user_out", "user_out", "user_in", "conf_in", "conf_out", "ucap_in", "ucap_out", "unassigned_in",
		"oc_ucap_in", "oc_user_in", "oc_user_out", "user_out_conf", "user_out_forwarding")
	if legs > 0 {
		kind = pick(g, "user_out_transfer", "user_out_conf", kind)
	}
	in := kind[len(kind)-3:] == "_in"
	bot := kind == "ucap_in" || kind == "ucap_out" || kind == "oc_ucap_in" || kind == "unassigned_in"
	operator := "Microsoft"
	if kind[:3] == "oc_" {
		operator = pick(call, "Contoso Telecom", "Northwind Voice", "Télécom Ünïon")
	}
	other := l.nation
	if g.IntN(7) == 0 {
		other = nations()[g.IntN(8)]
	}

	switch {
	case !t.noID:
		f.text("id", l.idOf(it.ref))
	case g.IntN(3) == 0:
		f.text("id", "")
	case g.IntN(2) == 0:
		f.null("id")
	}
	switch callID := fmt.Sprintf("%d_%d@203.0.113.%d", call.Uint32(), call.IntN(1e9), call.IntN(256)); {
	case share(hashRef(l.seed^forFacts, lead)) < c.NullCallIDShare:
		f.null("callId")
	case operator != "Microsoft":
		f.text("callId", randomGUID(call))
	default:
		f.text("callId", callID)
	}
	l.user(f, g, bot, done[renamed])
	switch t.defect {
	case startNull:
		f.null("startDateTime")
	case startText:
		f.text("startDateTime", "not yet known")
	default:
		f.time("startDateTime", it.start, t.digits)
	}
	f.time("endDateTime", it.start+t.seconds*int64(time.Second), t.digits)
	seconds, source := t.seconds, pick(g, "microsoft", "microsoft", "microsoft", "operator")
	if done[measured] {
		seconds, source = seconds+1+g.Int64N(5), "operator"
	}
	f.raw("duration", strconv.FormatInt(seconds, 10))
	f.text("callDurationSource", source)

	charge, unrated := amount(g), pick(g, "0.00", "0", "null")
	switch {
	case t.defect == chargeHuge:
		charge = "12345678901234.5"
	case done[rated]:
	case slices.ContainsFunc(t.changes, func(c change) bool { return c.kind == rated }):
		charge = unrated
	case g.IntN(2) == 0:
		charge = "0.00" // within the plan
	}
	f.raw("charge", charge)
	f.raw("connectionCharge", pick(g, "0.00", "0.00", "0.0", "0.015", "0.0049"))
	f.text("currency", l.nation.currency)
	f.text("callType", kind)

	mine, theirs := number(g, l.nation, 0), number(g, other, l.nation.masked)
	abroad := "Domestic"
	if other.code != l.nation.code {
		abroad = "International"
	}
	if in {
		mine, theirs, abroad = theirs, mine, ""
	}
	f.text("callerNumber", mine)
	f.text("calleeNumber", theirs)
	f.textOr("destinationContext", abroad)
	f.text("destinationName", other.name)
	conference := ""
	if kind[:4] == "conf" {
		conference = strconv.Itoa(100000000 + call.IntN(900000000))
	}
	f.textOr("conferenceId", conference)
	f.text("licenseCapability", pick(g, "MCOPSTNU", "MCOPSTN1", "MCOPSTN2", "MCOEV", "MCOMEETADD", "MCOPSTNPP", "FREECALL"))
	f.textOr("inventoryType", pick(g, "Subscriber", "Subscriber", "Service", "TollFree", ""))
	f.text("operator", operator)
	f.text("tenantCountryCode", l.nation.code)
	f.textOr("usageCountryCode", pick(g, l.nation.code, l.nation.code, ""))
	f.textOr("otherPartyCountryCode", pick(g, other.code, other.code, ""))
	l.places(f, g)
	if g.IntN(50) == 0 { // a property that nobody has documented
		f.raw("callQueueInfo", `{"name":"`+pick(g, "Sales", "Support")+`","waited":`+strconv.Itoa(g.IntN(300))+`,"agents":[1,2.50,null]}`)
	}
}

// user writes the user's four properties; a bot has none of them.
func (l *Log) user(f *fields, g *rand.Rand, bot, renamed bool) {
	n := g.IntN(max(5, l.cfg.RowsPerDay/8))
	u := l.random(forFacts+2000, ref{n: uint32(n)})
	first := pick(u, "Richard", "Zoë", "Łukasz", "Siobhán", "Jürgen", "Naïma", "美咲", "Олена", "José", "Åsa")
	last := pick(u, "Malk", "Müller", "O'Neill", "Nakamura", "Шевченко", "da Silva", "Ødegård", `"Ace" Smith`, "Ng 🙂", "Kowalski")
	id, mail := randomGUID(u), fmt.Sprintf("user%d@contoso.example", n)
	if bot {
		f.null("userId")
		f.text("userPrincipalName", "")
		if renamed {
			f.text("userDisplayName", "Main attendant")
		} else {
			f.null("userDisplayName")
		}
		return
	}
	f.text("userId", id)
	f.text("userPrincipalName", mail)
	if renamed {
		last += " (moved)"
	}
	f.text("userDisplayName", first+" "+last)
}

// places writes the beta properties that say where the client was.
func (l *Log) places(f *fields, g *rand.Rand) {
	v4 := fmt.Sprintf("198.51.100.%d", g.IntN(256))
	v6 := fmt.Sprintf("2001:db8:%x:%x::%x", g.IntN(65536), g.IntN(65536), g.IntN(65536))
	f.textOr("clientPublicIpV4Address", pick(g, v4, v4, ""))
	f.textOr("clientPublicIpV6Address", pick(g, v6, "", ""))
	f.textOr("clientLocalIpV4Address", pick(g, fmt.Sprintf("192.168.1.%d", g.IntN(256)), ""))
	f.textOr("clientLocalIpV6Address", pick(g, "fe80::40", "", ""))
	unit := `{"id":"` + randomGUID(g) + `"}`
	f.raw("administrativeUnitInfos", pick(g, "null", "[]", "["+unit+"]", "["+unit+`,{"id":"`+randomGUID(g)+`"}]`))
}

// amount returns a charge above 0, in one of the scales that a decimal without a fixed one may have.
func amount(g *rand.Rand) string {
	cents := 1 + g.IntN(500)
	switch u := g.IntN(200); {
	case u == 0:
		return fmt.Sprintf("0.%07d", 1+g.IntN(9999999)) // more than decimal(18,6) holds
	case u < 10:
		return strconv.Itoa(1 + cents/100)
	case u < 60:
		return fmt.Sprintf("0.%06d", cents*1000)
	case u < 90:
		return fmt.Sprintf("%d.%d", cents/100, 1+cents%9)
	}
	return fmt.Sprintf("%d.%02d", cents/100, cents%100)
}

// number returns a telephone number that ends in masked stars.
func number(g *rand.Rand, n nation, masked int) string {
	b := []byte(n.dial + strconv.Itoa(200000000+g.IntN(700000000)))
	for i := len(b) - masked; i < len(b); i++ {
		b[i] = '*'
	}
	return string(b)
}

func randomGUID(g *rand.Rand) string {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], g.Uint64())
	binary.BigEndian.PutUint64(b[8:], g.Uint64())
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return guid(b)
}

func pick(g *rand.Rand, of ...string) string { return of[g.IntN(len(of))] }

// appendString appends s as a JSON string; ascii escapes what is not.
func appendString(b []byte, s string, ascii bool) []byte {
	b = append(b, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r < 0x20 || ascii && r >= 0x80 && r < 0x10000:
			b = fmt.Appendf(b, `\u%04x`, r)
		case ascii && r >= 0x10000:
			b = fmt.Appendf(b, `\u%04x\u%04x`, 0xd800+(r-0x10000)>>10, 0xdc00+(r-0x10000)&0x3ff)
		default:
			b = utf8.AppendRune(b, r)
		}
	}
	return append(b, '"')
}
