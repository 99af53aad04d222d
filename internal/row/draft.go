package row

import (
	"slices"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"pstncalls/schema"
)

// unknown is the position of a property that the schema does not have.
const unknown = -1

const (
	reasonNotString = "not a string"
	reasonNotUTF8   = "not valid Unicode"
)

// draft is the event of a row while its members are read.
type draft struct {
	units unitParser
	call  *schema.PstnCall
	// cells holds the call and what its pointers point at: one allocation a row.
	cells *cells
	// text is the row's strings one behind the other, spans where each is; complete copies them out at once.
	text  []byte
	spans [propCount]span
	// id is Graph's id if it can serve as one.
	id string

	rejected   bool
	why        Reject
	rejectedAt int
}

type cells struct {
	call       schema.PstnCall
	text       [propCount]string
	start, end time.Time
	duration   int32
	charges    [2]schema.Money
}

// span is a part [from, to) of a draft's text.
type span struct {
	set      bool
	from, to int
}

func (d *draft) reset() {
	d.cells = new(cells)
	d.call = &d.cells.call
	d.text, d.spans, d.id = d.text[:0], [propCount]span{}, ""
	d.rejected, d.rejectedAt, d.why = false, 0, Reject{}
}

// reject notes what is wrong with a property. Of several the first in the schema's order stays, so that the order of the
// row's members does not show.
func (d *draft) reject(at int, reason string) {
	if !d.rejected || at < d.rejectedAt {
		d.rejected, d.rejectedAt, d.why = true, at, Reject{Reason: reason, Property: properties[at].name}
	}
}

// rejectWhole notes what is wrong with the row's JSON: no property can be blamed before that.
func (d *draft) rejectWhole(why Reject) {
	d.rejected, d.rejectedAt, d.why = true, unknown, why
}

// set puts a value that is not null into its field. enc is the hasher's encoding of it: a tag and the text or canonical number.
func (d *draft) set(at int, value jsontext.Value, enc []byte) {
	tag, content := enc[0], enc[1:]
	switch properties[at].kind {
	case text:
		d.setText(at, tag, content)
	case dateTime:
		d.setTime(at, tag, content)
	case seconds:
		d.setSeconds(at, tag, content)
	case money:
		d.setMoney(at, value, tag, content)
	case units:
		d.setUnits(value)
	}
}

func (d *draft) setText(at int, tag byte, content []byte) {
	switch {
	case tag == 'x':
		d.reject(at, reasonNotUTF8)
		return
	case tag != 's':
		d.reject(at, reasonNotString)
		return
	case at == propID && !d.setID(content):
		return
	}
	from := len(d.text)
	d.text = append(d.text, content...)
	d.spans[at] = span{set: true, from: from, to: len(d.text)}
}

// setID reports whether the id can be used.
func (d *draft) setID(content []byte) bool {
	switch {
	case len(content) > maxID:
		d.reject(propID, "longer than 256 bytes")
		return false
	case len(content) > 0 && content[0] == '~':
		d.reject(propID, "begins with ~, as only the ids of rows without one do")
		return false
	}
	// A copy of its own: whoever keeps the id shall not keep the row's other strings with it.
	d.id = string(content)
	return true
}

func (d *draft) setTime(at int, tag byte, content []byte) {
	t, ok := time.Time{}, false
	if tag == 's' {
		t, ok = parseTime(content)
	}
	switch {
	case !ok:
		d.reject(at, "not an RFC 3339 date-time")
	case t.IsZero():
	case at == propStartDateTime:
		d.cells.start = t
		d.call.StartDateTime = &d.cells.start
	default:
		d.cells.end = t
		d.call.EndDateTime = &d.cells.end
	}
}

func (d *draft) setSeconds(at int, tag byte, content []byte) {
	n, ok := int32(0), false
	if tag == '#' {
		n, ok = parseInt32(content)
	}
	if !ok {
		d.reject(at, "not a whole number of 32 bits")
		return
	}
	d.cells.duration = n
	d.call.Duration = &d.cells.duration
}

func (d *draft) setMoney(at int, value jsontext.Value, tag byte, content []byte) {
	var literal string
	switch tag {
	case 's':
		literal = string(content)
	case '#':
		literal = string(value)
	default:
		d.reject(at, "not an amount")
		return
	}
	amount, exact, err := schema.ParseMoney(literal)
	if err != nil {
		d.reject(at, err.Error()) // without the literal
		return
	}
	if !exact {
		d.addExtra(properties[at].name, value)
	}
	if at == propCharge {
		d.cells.charges[0] = amount
		d.call.Charge = &d.cells.charges[0]
	} else {
		d.cells.charges[1] = amount
		d.call.ConnectionCharge = &d.cells.charges[1]
	}
}

// setUnits reads administrativeUnitInfos. What an AdministrativeUnitInfo cannot hold, it leaves to extra, with the array whole.
func (d *draft) setUnits(value jsontext.Value) {
	infos, whole, ok := d.units.parse(value)
	if !ok {
		d.reject(propUnits, "not an array of objects whose id is a string")
		return
	}
	d.call.AdministrativeUnitInfos = infos
	if !whole {
		d.addExtra(properties[propUnits].name, value)
	}
}

// addExtra puts the raw JSON of a value into the event's extra.
func (d *draft) addExtra(name string, value jsontext.Value) {
	if d.call.Extra == nil {
		d.call.Extra = make(map[string]string)
	}
	value = slices.Clone(value)
	if err := value.Compact(); err != nil {
		// Only duplicate names or broken text, which a lenient walk lets through: the row is a reject, and extra goes with it.
		return
	}
	d.call.Extra[name] = string(value)
}

// complete turns what set has collected into the event.
func (d *draft) complete() {
	all := string(d.text)
	for at, s := range d.spans {
		if s.set {
			d.cells.text[at] = all[s.from:s.to]
			*properties[at].field(d.call) = &d.cells.text[at]
		}
	}
	if d.call.StartDateTime == nil {
		d.reject(propStartDateTime, "no start time")
	}
}
