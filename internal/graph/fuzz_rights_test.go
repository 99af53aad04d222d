package graph

import (
	"encoding/base64"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// FuzzRights: whatever stands in for a token, its rights are said in short clean words, or not at all.
func FuzzRights(f *testing.F) {
	for _, claims := range []string{`{"roles":["CallRecords.Read.All"],"tid":"t","idtyp":"app"}`, `{"scp":"x","roles":[]}`, `{"roles":"x"}`, `{"roles":["<b>a@b.example</b>\n+49 30 1234567"],"tid":"\u202e"}`, `{`, `null`, ``} {
		f.Add("e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".sig")
	}
	f.Add("a.%.c")
	f.Add("a.b")
	f.Add("....")
	f.Fuzz(func(t *testing.T, token string) {
		r := rightsOf(token)
		if !r.Readable && (r.Application || r.Roles != nil || r.Tenant != "") {
			t.Fatalf("not readable, and yet %+v", r)
		}
		if len(r.Roles) > len(token) {
			t.Fatalf("%d roles out of %d bytes", len(r.Roles), len(token))
		}
		for _, s := range append(r.Roles, r.Tenant) {
			if utf8.RuneCountInString(s) > 100 || strings.ContainsFunc(s, func(c rune) bool { return !unicode.IsPrint(c) || c == '<' || c == '>' }) {
				t.Fatalf("%q", s)
			}
		}
	})
}
