package graph

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var pageCases = []struct {
	name, body string
	rows       []string
	count      int
	link       string
	err        string // part of it
}{
	{name: "page", body: `{"@odata.context":"c","@odata.count":2,"@odata.nextLink":"https:\/\/g\/x","value":[{"id":"a"}, {"id":"b"} ]}`,
		rows: []string{`{"id":"a"}`, `{"id":"b"}`}, count: 2, link: "https://g/x"},
	{name: "link after value, other case", body: `{"value":[{}],"@odata.NextLink":"l"}`, rows: []string{`{}`}, count: -1, link: "l"},
	{name: "empty", body: ` {"value": [ ] } ` + "\n", count: -1},
	{name: "any rows", body: `{"value":[1,null,"x",[2],{"a":1,"a":2},"` + "\xff" + `"]}`, rows: []string{`1`, `null`, `"x"`, `[2]`, `{"a":1,"a":2}`, "\"\xff\""}, count: -1},
	{name: "null link", body: `{"value":[],"@odata.nextLink":null}`, count: -1},
	{name: "empty link", body: `{"value":[],"@odata.nextLink":""}`, count: -1},
	{name: "wrong count", body: `{"@odata.count":7,"value":[1]}`, rows: []string{`1`}, count: 7},
	{name: "no count", body: `{"@odata.count":"many","value":[1]}`, rows: []string{`1`}, count: -1},
	{name: "escaped name", body: `{"v\u0061lue":[1]}`, rows: []string{`1`}, count: -1},
	{name: "null error", body: `{"error":null,"value":[]}`, count: -1},
	{name: "other value in depth", body: `{"x":{"value":[1]},"value":[2]}`, rows: []string{`2`}, count: -1},
	{name: "no value", body: `{"@odata.count":0}`, err: "without `value`"},
	{name: "no value at all", body: `{}`, err: "without `value`"},
	{name: "other case", body: `{"Value":[]}`, err: "without `value`"},
	{name: "null value", body: `{"value":null}`, err: "without `value`"},
	{name: "object value", body: `{"value":{}}`, err: "without `value`"},
	{name: "string value", body: `{"value":"[]"}`, err: "without `value`"},
	{name: "two values", body: `{"value":[],"value":[1]}`, err: "two `value`"},
	{name: "two links", body: `{"value":[],"@odata.nextLink":"a","@ODATA.nextlink":"b"}`, err: "two @odata.nextLink"},
	{name: "null and link", body: `{"value":[],"@odata.nextLink":null,"@odata.nextLink":"b"}`, err: "two @odata.nextLink"},
	{name: "link no string", body: `{"value":[],"@odata.nextLink":5}`, err: "no string"},
	{name: "link object", body: `{"value":[],"@odata.nextLink":{}}`, err: "no string"},
	{name: "error", body: `{"error":{"code":"x"},"value":[]}`, err: "`error`"},
	{name: "nothing", body: ``, err: "cut off"},
	{name: "space", body: ` `, err: "cut off"},
	{name: "cut in row", body: `{"value":[{"id":"a"},{"id":`, err: "cut off"},
	{name: "cut after row", body: `{"value":[{"id":"a"}`, err: "cut off"},
	{name: "cut after array", body: `{"value":[]`, err: "cut off"},
	{name: "trailing", body: `{"value":[]}{"value":[1]}`, err: "more data"},
	{name: "trailing junk", body: `{"value":[]}x`, err: "more data"},
	{name: "missing comma", body: `{"value":[1 2]}`, err: "not valid JSON"},
	{name: "html", body: `<!DOCTYPE html><html>`, err: "not valid JSON"},
	{name: "array", body: `[]`, err: "no JSON object"},
	{name: "null", body: `null`, err: "no JSON object"},
	{name: "deep", body: `{"value":[` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + `]}`, err: "not valid JSON"},
	{name: "quotes nothing", body: `{"value":[{"callerNumber":"+4915112345678" "x"}]}`, err: "not valid JSON"},
}

func TestParsePage(t *testing.T) {
	for _, tt := range pageCases {
		t.Run(tt.name, func(t *testing.T) {
			page, err := parsePage([]byte(tt.body))
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) || len(err.Error()) > 80 || strings.Contains(err.Error(), "4915") {
					t.Fatalf("got %v, want an error with %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var rows []string
			for _, r := range page.Rows {
				rows = append(rows, string(r))
			}
			if d := cmp.Diff(tt.rows, rows); d != "" {
				t.Error(d)
			}
			if page.Count != tt.count || page.Link != tt.link || page.Bytes != len(tt.body) {
				t.Errorf("count %d, link %q, bytes %d; want %d, %q, %d", page.Count, page.Link, page.Bytes, tt.count, tt.link, len(tt.body))
			}
		})
	}
}

// Every proper prefix of a page is an error: a page cut short never passes for a shorter one.
func TestParsePagePrefixes(t *testing.T) {
	body := pageCases[0].body
	for i := range body {
		if _, err := parsePage([]byte(body[:i])); err == nil {
			t.Errorf("the first %d bytes pass for a page", i)
		}
	}
}

func TestRowsDoNotOverlap(t *testing.T) {
	page, err := parsePage([]byte(`{"value":[{"a":1},{"b":2}]}`))
	if err != nil {
		t.Fatal(err)
	}
	_ = append(page.Rows[0], "xxxxx"...)
	if got := string(page.Rows[1]); got != `{"b":2}` {
		t.Errorf("appending to a row changed the next: %s", got)
	}
}

func FuzzParsePage(f *testing.F) {
	for _, c := range pageCases {
		f.Add([]byte(c.body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		before := bytes.Clone(body)
		page, err := parsePage(body)
		if !bytes.Equal(before, body) {
			t.Fatal("the body was changed")
		}
		// encoding/json decides what is JSON; it replaces invalid UTF-8, and nests less deep than any limit hit here.
		if err != nil {
			return
		}
		if !json.Valid(body) {
			t.Fatalf("%q is no JSON and passed", body)
		}
		var doc map[string]json.RawMessage
		var rows []json.RawMessage
		if json.Unmarshal(body, &doc) != nil || json.Unmarshal(doc["value"], &rows) != nil {
			t.Fatalf("%q has no value array and passed", body)
		}
		if len(rows) != len(page.Rows) {
			t.Fatalf("%d rows, want %d", len(page.Rows), len(rows))
		}
		for i := range rows {
			if !bytes.Equal(rows[i], page.Rows[i]) {
				t.Fatalf("row %d is %q, want %q", i, page.Rows[i], rows[i])
			}
		}
	})
}

func BenchmarkParsePage(b *testing.B) {
	var rows []string
	for i := range 1000 {
		rows = append(rows, fmt.Sprintf(`{"id":"9c4984c7-6c3c-427d-a30c-%012d","callId":"1835317186_112562680@61.221.3.176","userId":"db03c14b-06eb-4189-939b-7cbf3a20ba27","userPrincipalName":"u%d@contoso.example","startDateTime":"2026-11-01T00:00:08.2589935Z","duration":219,"charge":0.00,"calleeNumber":"+1234567890","destinationContext":null,"pad":"%s"}`, i, i, strings.Repeat("x", 650)))
	}
	body := []byte(`{"@odata.context":"c","@odata.count":1000,"value":[` + strings.Join(rows, ",") + `]}`)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if page, err := parsePage(body); err != nil || len(page.Rows) != 1000 {
			b.Fatal(err)
		}
	}
}
