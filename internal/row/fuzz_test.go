package row_test

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"

	"pstncalls/internal/row"
)

// FuzzConvert checks for any bytes that Convert comes back with a whole Row, and for any JSON that neither the order of members
// nor white space show in id and fingerprint, and that no rule lets a value through.
func FuzzConvert(f *testing.F) {
	f.Add(example(f), uint64(1))
	for _, raw := range []string{
		with(`,"charge":1e999999999999999999999,"new":{"a":[1,{"b":null}]}`), with(`,"op\u0065rator":"\ud800","operator":1`),
		with(`,"new":{ "a" : 1 }`), `{"Operator":{"operator":"x"},"callerNumber":"+0123456789"}`, `[1,"x"]`, `{`, "{\"a\xff\":\"\xff\"}", `{"administrativeUnitInfos":[null,{"id":"a","x":1}]}`,
	} {
		f.Add([]byte(raw), uint64(2))
	}
	rules := privacy(f, "operator=drop,callerNumber=mask,userId=hash")
	f.Fuzz(func(t *testing.T, raw []byte, seed uint64) {
		c := row.NewConverter(nil)
		given := bytes.Clone(raw)
		got := c.Convert(raw)
		if !bytes.Equal(raw, given) {
			t.Fatal("Convert wrote to the row")
		}
		checkRow(t, got)
		if diff := cmp.Diff(got, c.Convert(raw)); diff != "" {
			t.Fatalf("not the same a second time:\n%s", diff)
		}
		value := jsontext.Value(raw)
		if !value.IsValid(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)) {
			if got.Reject == nil {
				t.Fatal("an event out of no JSON")
			}
			return
		}
		shuffled := shuffle(t, value, rand.New(rand.NewPCG(seed, 0)))
		other := c.Convert(shuffled)
		if other.ID != got.ID || other.Fingerprint != got.Fingerprint || other.HasID != got.HasID || other.Key != got.Key || !other.Start.Equal(got.Start) {
			t.Fatalf("%s\nshuffled to %s\ngot  %+v\nthen %+v", raw, shuffled, got, other)
		}
		if (other.Reject == nil) != (got.Reject == nil) {
			t.Fatalf("order decides on the reject: %+v, %+v", got.Reject, other.Reject)
		}

		private := row.NewConverter(rules).Convert(raw)
		checkRow(t, private)
		if private.Reject != nil {
			checkDropped(t, private.JSON, "operator")
			return
		}
		if private.Call.Operator != nil {
			t.Fatal("a dropped property is in the event")
		}
		for _, extra := range private.Call.Extra {
			checkDropped(t, []byte(extra), "operator")
		}
	})
}

// checkRow checks what holds for every Row.
func checkRow(t *testing.T, r row.Row) {
	t.Helper()
	switch {
	case r.ID == "", !r.HasID && !isContentID(r.ID), r.HasID && (r.ID[0] == '~' || len(r.ID) > 256 || !utf8.ValidString(r.ID)):
		t.Fatalf("id %q, HasID %t", r.ID, r.HasID)
	case r.Reject == nil && (r.Call == nil || r.JSON != nil || r.Start.IsZero() || r.Call.StartDateTime == nil || !r.Call.StartDateTime.Equal(r.Start)):
		t.Fatalf("event with start %v, JSON %s", r.Start, r.JSON)
	case r.Reject != nil && (r.Call != nil || r.JSON == nil || r.Reject.Reason == ""):
		t.Fatalf("reject %+v with JSON %s", *r.Reject, r.JSON)
	}
}

// checkDropped fails if a member of this name, in any case and at any depth, is anything but null.
func checkDropped(t *testing.T, raw []byte, name string) {
	t.Helper()
	dec := jsontext.NewDecoder(bytes.NewReader(raw), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	for {
		token, err := dec.ReadToken()
		if err != nil {
			return // the end: the text has been read before
		}
		kind, n := dec.StackIndex(dec.StackDepth())
		if kind == '{' && n%2 == 1 && token.Kind() == '"' && strings.EqualFold(token.String(), name) && dec.PeekKind() != 'n' {
			t.Fatalf("%s is left in %s", name, raw)
		}
	}
}

// shuffle returns v with the members of every object in another order, and white space.
func shuffle(t *testing.T, v jsontext.Value, random *rand.Rand) jsontext.Value {
	t.Helper()
	dec := jsontext.NewDecoder(bytes.NewReader(v), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	var next func() string
	next = func() string {
		kind := dec.PeekKind()
		if kind != '{' && kind != '[' {
			value, err := dec.ReadValue()
			if err != nil {
				t.Fatal(err)
			}
			return " " + string(value) + "\n"
		}
		open, err := dec.ReadToken()
		if err != nil {
			t.Fatal(err)
		}
		first := open.String()
		var parts []string
		for dec.PeekKind() != '}' && dec.PeekKind() != ']' {
			part := next()
			if first == "{" {
				part += ":" + next()
			}
			parts = append(parts, part)
		}
		last, err := dec.ReadToken()
		if err != nil {
			t.Fatal(err)
		}
		if first == "{" {
			random.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
		}
		return first + "\t" + strings.Join(parts, ",") + last.String()
	}
	return jsontext.Value(next())
}
