package row_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pstncalls/internal/row"
)

// hashOfRichard is the first half of HMAC-SHA-256(hashKey, "richard.malk@contoso.com"), computed by another program.
const hashOfRichard = "119dd8949448889c4472b014eb922e4e"

func TestParsePrivacyMistakes(t *testing.T) {
	tests := []struct {
		spec string
		key  string
		want []string // each is a part of the error
	}{
		{"callernumber=mask", "k", []string{`"callernumber" is not a property`, "did you mean callerNumber?"}},
		{"calerNumbr=mask", "k", []string{"did you mean callerNumber?"}},
		{"phone=mask", "k", []string{`"phone" is not a property of a row`}},
		{"callerNumber", "k", []string{`"callerNumber": want callerNumber=action`, "mask, hash or drop"}},
		{"callerNumber=", "k", []string{"no such action: want mask, hash or drop"}},
		{"callerNumber=MASK", "k", []string{"callerNumber=MASK: no such action"}},
		{"callerNumber=mask,callerNumber=drop", "k", []string{"callerNumber has two rules"}},
		{"callerNumber=mask,", "k", []string{"empty rule"}},
		{"id=hash", "k", []string{"id=hash", "no rule"}},
		{"callId=mask", "k", []string{"callId=mask", "only callId=hash"}},
		{"callId=drop", "k", []string{"only callId=hash"}},
		{"startDateTime=drop", "k", []string{"startDateTime=drop", "no rule"}},
		{"charge=mask", "k", []string{"only charge=drop"}},
		{"duration=hash", "k", []string{"only duration=drop"}},
		{"endDateTime=mask", "k", []string{"only endDateTime=drop"}},
		{"administrativeUnitInfos=hash", "k", []string{"only administrativeUnitInfos=drop"}},
		{"tenantId=drop", "k", []string{`"tenantId" is not a property`}},
		{"userId=hash", "", []string{"need a hash key"}},
		{"id=drop, charge=mask ,x=y,userId=hash", "", []string{"id=drop", "charge=mask", `"x"`, "hash key"}},
	}
	for _, tt := range tests {
		p, err := row.ParsePrivacy(tt.spec, []byte(tt.key))
		if err == nil || p != nil {
			t.Errorf("%s: accepted", tt.spec)
			continue
		}
		for _, part := range tt.want {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %q is not in the error: %v", tt.spec, part, err)
			}
		}
		if tt.spec == "phone=mask" && strings.Contains(err.Error(), "mean") {
			t.Errorf("%s: far-fetched suggestion: %v", tt.spec, err)
		}
	}
}

func TestPrivacyID(t *testing.T) {
	id := func(spec, key string) string {
		t.Helper()
		p, err := row.ParsePrivacy(spec, []byte(key))
		if err != nil {
			t.Fatal(err)
		}
		return p.ID()
	}
	if got := id(" ", "k"); got != "" {
		t.Errorf("without rules: %q", got)
	}
	const golden = "5cab0d77e7618221a87c0e207b53d250"
	base := id("callerNumber=mask,userId=hash", "k")
	if base != golden {
		t.Errorf("id %s, want %s: a new release would be a changed set-up", base, golden)
	}
	if got := id(" userId = hash , callerNumber=mask ", "k"); got != base {
		t.Error("order and blanks count")
	}
	if id("callerNumber=mask", "k") != id("callerNumber=mask", "other") {
		t.Error("the key counts where no rule is hash")
	}
	key := []byte("k")
	p, err := row.ParsePrivacy("callerNumber=mask,userId=hash", key)
	if clear(key); err != nil || p.ID() != base {
		t.Errorf("the caller's key is not copied (%v)", err)
	}
	seen := map[string]bool{base: true}
	for _, other := range []string{
		id("callerNumber=mask,userId=hash", "K"), id("callerNumber=mask,userId=mask", "k"), id("callerNumber=drop,userId=hash", "k"),
		id("userId=hash", "k"), id("callerNumber=mask", "k"), id("callerNumber=mask,userId=hash,operator=drop", "k"),
	} {
		if seen[other] {
			t.Errorf("two sets of rules have the id %s", other)
		}
		seen[other] = true
	}
}

// TestPrivacyInEvents compares a row under rules with the row that the rules should make of it: everything must be equal.
func TestPrivacyInEvents(t *testing.T) {
	tests := map[string]struct{ spec, members, same string }{
		"mask":                 {"callerNumber=mask", `,"callerNumber":"+0123456789"`, `,"callerNumber":"+012***"`},
		"mask five":            {"callerNumber=mask", `,"callerNumber":"12345"`, `,"callerNumber":"1234***"`},
		"mask four":            {"callerNumber=mask", `,"callerNumber":"1234"`, `,"callerNumber":"***"`},
		"mask nothing":         {"callerNumber=mask", `,"callerNumber":""`, `,"callerNumber":"***"`},
		"mask null":            {"callerNumber=mask", `,"callerNumber":null`, ``},
		"mask characters":      {"userDisplayName=mask", `,"userDisplayName":"Zo\u00eb😀\u00df"`, `,"userDisplayName":"Zoë😀***"`},
		"mask quotes":          {"userDisplayName=mask", `,"userDisplayName":"\"\\\n\u0001xyz"`, `,"userDisplayName":"\"\\\n\u0001***"`},
		"hash":                 {"userPrincipalName=hash", `,"userPrincipalName":"richard.malk@contoso.com"`, `,"userPrincipalName":"` + hashOfRichard + `"`},
		"hash of the key":      {"callId=hash", `,"callId":"richard.malk@contoso.com"`, `,"callId":"` + hashOfRichard + `"`},
		"hash of no key":       {"callId=hash", `,"callId":""`, `,"callId":""`},
		"drop a string":        {"operator=drop", `,"operator":"x"`, ``},
		"drop a wrong type":    {"operator=drop", `,"operator":{"a":1}`, ``},
		"drop money":           {"charge=drop", `,"charge":0.0000001`, ``},
		"drop units":           {"administrativeUnitInfos=drop", `,"administrativeUnitInfos":[{"id":"a","name":"n"}]`, ``},
		"name escaped":         {"operator=drop", `,"\u006fperator":"x"`, ``},
		"other case dropped":   {"operator=drop", `,"OPERATOR":"x","Operator":[1]`, ``},
		"other case masked":    {"callerNumber=mask", `,"CallerNumber":"+0123456789"`, `,"CallerNumber":"+012***"`},
		"other case no string": {"callerNumber=mask", `,"CallerNumber":123456789`, ``},
		"further down":         {"callerNumber=mask,operator=drop", `,"new":[ {"callernumber":"+0123456789","operator":1,"a":[]} ]`, `,"new":[{"callernumber":"+012***","operator":null,"a":[]}]`},
		"in a unit":            {"operator=drop", `,"administrativeUnitInfos":[{"id":"a","operator":"x"}]`, `,"administrativeUnitInfos":[{"id":"a"}]`},
		"another property":     {"operator=drop", `,"operators":"x","callerNumber":"1"`, `,"operators":"x","callerNumber":"1"`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := row.NewConverter(privacy(t, tt.spec)).Convert([]byte(with(tt.members)))
			if got.Reject != nil {
				t.Fatalf("reject %+v", *got.Reject)
			}
			if diff := cmp.Diff(convert(with(tt.same)), got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestPrivacyCoversIdentity shows that what a rule removes has no part in the id of a row without one.
func TestPrivacyCoversIdentity(t *testing.T) {
	c := row.NewConverter(privacy(t, "callerNumber=drop,calleeNumber=mask"))
	a := c.Convert([]byte(`{"startDateTime":"2026-11-01T10:00:00Z","callerNumber":"+4915100001","calleeNumber":"+4915100001"}`))
	b := c.Convert([]byte(`{"startDateTime":"2026-11-01T10:00:00Z","callerNumber":"+4915100002","calleeNumber":"+4915100002"}`))
	if a.ID != b.ID || a.Fingerprint != b.Fingerprint {
		t.Error("the id or the fingerprint tells two removed numbers apart")
	}
}

func TestPrivacyInRejects(t *testing.T) {
	const rules = "callerNumber=mask,userPrincipalName=hash,operator=drop"
	tests := map[string]struct{ raw, json, property string }{
		"all rules": {
			`{ "id": "r1", "callerNumber": "+0123456789", "userPrincipalName": "richard.malk@contoso.com", "operator": "x" }`,
			`{"id":"r1","callerNumber":"+012***","userPrincipalName":"` + hashOfRichard + `","operator":null}`, "startDateTime",
		},
		"wrong type":          {with(`,"callerNumber":123456789`), with(`,"callerNumber":null`), "callerNumber"},
		"wrong type, nested":  {with(`,"userPrincipalName":["richard"]`), with(`,"userPrincipalName":null`), "userPrincipalName"},
		"doubled":             {with(`,"callerNumber":"+0123456789","callerNumber":987654321`), with(`,"callerNumber":"+012***","callerNumber":null`), "callerNumber"},
		"doubled in two ways": {with(`,"OPERATOR":"x","op\u0065rator":"y","operator":1`), with(`,"OPERATOR":null,"op\u0065rator":null,"operator":null`), "operator"},
		"surrogate":           {with(`,"callerNumber":"+01\ud80023456789"`), with(`,"callerNumber":"+01` + "\ufffd" + `***"`), "callerNumber"},
		"surrogate elsewhere": {with(`,"callType":"\ud800","callerNumber":"+0123456789"`), with(`,"callType":"\ud800","callerNumber":"+012***"`), "callType"},
		"invalid UTF-8":       {with(",\"callerNumber\":\"\xff0123456789\""), with(`,"callerNumber":"` + "\ufffd" + `012***"`), "callerNumber"},
		"further down":        {with(`,"duration":"1","new":{"Operator":"x","a":[{"callerNumber":"+0123456789"}]}`), with(`,"duration":"1","new":{"Operator":null,"a":[{"callerNumber":"+012***"}]}`), "duration"},
		"a string":            {`"+0123456789"`, `null`, ""},
		"an array":            {`[{"operator":"x"}]`, `null`, ""},
		"no JSON":             {`{"operator":"x"`, `null`, ""},
		"text behind":         {`{} "+0123456789"`, `null`, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := row.NewConverter(privacy(t, rules)).Convert([]byte(tt.raw))
			if got.Reject == nil || got.Reject.Property != tt.property {
				t.Fatalf("reject %+v", got.Reject)
			}
			if string(got.JSON) != tt.json {
				t.Errorf("JSON %s\nwant %s", got.JSON, tt.json)
			}
			if clean := convert(tt.json); clean.Fingerprint != got.Fingerprint || clean.ID != got.ID {
				t.Error("id or fingerprint are not those of the row after the rules")
			}
		})
	}
}
