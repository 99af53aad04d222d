package state

import (
	"strings"
	"testing"

	"pstncalls/internal/window"
)

// FuzzKeys: digests, bits of days and months are written in one spelling, and a key leads back to its tenant alone.
func FuzzKeys(f *testing.F) {
	for _, s := range []string{"00000000000000000000000000000000", "ffffffffffffffffffffffffffffffff", "0123456789ABCDEFabcdef0123456789", "80000001", "+0000001", "2026-11", "0000-00", "2026-1", "contoso", "claim", "meta", "",
		"contoso/pstn/tenant", "claim/pstn/x", "contoso/other/x", "signal/pstn/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var d Digest
		if err := d.UnmarshalText([]byte(s)); err == nil && (d.String() != strings.ToLower(s) || d.Add(Digest{}) != d) {
			t.Fatalf("digest %q is written as %s", s, d)
		}
		var b Bits
		if err := b.UnmarshalText([]byte(s)); err == nil {
			if text, _ := b.MarshalText(); string(text) != strings.ToLower(s) {
				t.Fatalf("bits %q are written as %s", s, text)
			}
		}
		if m, err := parseMonth(s); err == nil && (m.String() != s || m.days() < 28 || m.days() > 31) {
			t.Fatalf("month %q is written as %s, and has %d days", s, m, m.days())
		}
		tenant, ok := TenantOf(s)
		if ok && !strings.HasPrefix(s, prefix(tenant)) {
			t.Fatalf("%q is no key of %q", s, tenant)
		}
		if s == "" || strings.Contains(s, "/") || s == "claim" || s == "signal" {
			return // no tenant's name (package config)
		}
		for _, key := range []string{prefix(s) + "tenant", windowKey(s, day0), monthKey(s, month(day0)), scanKey(s, window.Day(0)), ledgerKey(s, day0, 1<<64-1)} {
			if got, ok := TenantOf(key); !ok || got != s {
				t.Fatalf("%q is a key of %q, %t", key, got, ok)
			}
		}
	})
}
