package graph

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// maxRows bounds what a page of tiny rows costs: each takes far more memory as a row than as text. Graph's pages have 1,000.
const maxRows = 100_000

// parsePage reads the envelope of a page. Rows alias body and are handed on as they are, whatever JSON they hold: what a row
// must be is the row package's decision. Link is as it came. An error says why body is no page, and quotes nothing of it.
func parsePage(body []byte) (*Page, error) {
	dec := jsontext.NewDecoder(bytes.NewBuffer(body),
		jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	if k := dec.PeekKind(); k != '{' && k != jsontext.KindInvalid {
		return nil, errors.New("200 whose body is no JSON object")
	}
	if _, err := dec.ReadToken(); err != nil {
		return nil, badJSON(dec, err)
	}
	page := &Page{Count: -1, Bytes: len(body)}
	var haveValue, haveLink bool
	for dec.PeekKind() != '}' {
		name, err := dec.ReadToken()
		if err != nil {
			return nil, badJSON(dec, err)
		}
		switch n := name.String(); {
		case n == "value":
			if haveValue {
				return nil, errors.New("200 with two `value`")
			}
			haveValue = true
			if page.Rows, err = readRows(dec, body); err != nil {
				return nil, err
			}
		case strings.EqualFold(n, "@odata.nextLink"): // older prose of Microsoft's writes NextLink
			if haveLink {
				return nil, errors.New("200 with two @odata.nextLink")
			}
			haveLink = true
			if page.Link, err = readLink(dec); err != nil {
				return nil, err
			}
		default:
			v, err := dec.ReadValue()
			if err != nil {
				return nil, badJSON(dec, err)
			}
			if n == "@odata.count" {
				page.Count = parseCount(v)
			}
			if n == "error" && v.Kind() != 'n' {
				return nil, errors.New("200 with an `error` in it")
			}
		}
	}
	if _, err := dec.ReadToken(); err != nil {
		return nil, badJSON(dec, err)
	}
	if _, err := dec.ReadToken(); err != io.EOF {
		return nil, errors.New("200 with more data after the JSON object")
	}
	if !haveValue {
		return nil, errors.New("200 without `value`")
	}
	return page, nil
}

// readRows reads the array that dec stands before, and returns its elements as slices of body.
func readRows(dec *jsontext.Decoder, body []byte) ([][]byte, error) {
	if k := dec.PeekKind(); k != '[' && k != jsontext.KindInvalid {
		return nil, errors.New("200 without `value`: it is no array")
	}
	if _, err := dec.ReadToken(); err != nil {
		return nil, badJSON(dec, err)
	}
	rows := make([][]byte, 0, 1000) // Graph's page size
	for dec.PeekKind() != ']' {
		if len(rows) == maxRows {
			return nil, fmt.Errorf("200 with more than %d rows on one page", maxRows)
		}
		v, err := dec.ReadValue()
		if err != nil {
			return nil, badJSON(dec, err)
		}
		// v is the decoder's until its next read; the same bytes of body are ours for good. The capacity ends with the row,
		// so that appending to one can not overwrite the next.
		end := int(dec.InputOffset())
		rows = append(rows, body[end-len(v):end:end])
	}
	if _, err := dec.ReadToken(); err != nil {
		return nil, badJSON(dec, err)
	}
	return rows, nil
}

func readLink(dec *jsontext.Decoder) (string, error) {
	switch dec.PeekKind() {
	case '"', 'n', jsontext.KindInvalid:
	default:
		return "", errors.New("200 whose @odata.nextLink is no string")
	}
	t, err := dec.ReadToken()
	if err != nil {
		return "", badJSON(dec, err)
	}
	if t.Kind() == 'n' {
		return "", nil
	}
	return t.String(), nil
}

// parseCount returns -1 for what is no count: it serves as a hint only.
func parseCount(v jsontext.Value) int {
	n, err := strconv.Atoi(string(v))
	if err != nil || n < 0 {
		return -1
	}
	return n
}

// badJSON says where the body stops being JSON, and not what stands there.
func badJSON(dec *jsontext.Decoder, err error) error {
	at := dec.InputOffset()
	var s *jsontext.SyntacticError
	if errors.As(err, &s) {
		at = s.ByteOffset
	}
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return fmt.Errorf("200 whose JSON is cut off at byte %d", at)
	}
	return fmt.Errorf("200 whose body is not valid JSON at byte %d", at)
}
