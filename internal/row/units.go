package row

import (
	"github.com/go-json-experiment/json/jsontext"

	"pstncalls/schema"
)

// unitParser reads administrativeUnitInfos.
type unitParser struct {
	dec  reader
	text []byte // of the current name or value
}

// parse reads an array of units. whole is false if the result does not hold everything that is in it.
func (p *unitParser) parse(value jsontext.Value) (infos []schema.AdministrativeUnitInfo, whole, ok bool) {
	if value.Kind() != '[' {
		return nil, false, false
	}
	p.dec.open(value, nil)
	if _, err := p.dec.ReadToken(); err != nil {
		return nil, false, false
	}
	infos, whole = []schema.AdministrativeUnitInfo{}, true
	for p.dec.PeekKind() != ']' {
		info, known, ok := p.parseUnit()
		if !ok {
			return nil, false, false
		}
		infos = append(infos, info)
		whole = whole && known
	}
	return infos, whole, true
}

// parseUnit reads one unit; known is false if it holds more than an id. A null is a unit without id.
func (p *unitParser) parseUnit() (info schema.AdministrativeUnitInfo, known, ok bool) {
	kind := p.dec.PeekKind()
	if kind == 'n' {
		return info, false, p.dec.SkipValue() == nil
	}
	if _, err := p.dec.ReadToken(); err != nil || kind != '{' {
		return info, false, false
	}
	known = true
	for p.dec.PeekKind() != '}' {
		literal, err := p.dec.ReadValue()
		if err != nil {
			return info, false, false
		}
		p.text, _ = appendText(p.text[:0], literal)
		value, err := p.dec.ReadValue()
		switch {
		case err != nil:
			return info, false, false
		case value.Kind() == 'n' || isAnnotation(p.text):
		case string(p.text) != "id":
			known = false
		case value.Kind() != '"':
			return info, false, false
		default:
			p.text, _ = appendText(p.text[:0], value)
			id := string(p.text)
			info.ID = &id
		}
	}
	_, err := p.dec.ReadToken()
	return info, known, err == nil
}
