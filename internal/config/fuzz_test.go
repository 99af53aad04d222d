package config

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"pstncalls/internal/graph"
	"pstncalls/internal/window"
)

// FuzzTenantsFile: the tenants of a file are legal, different, and none that the state topic would mistake; or else the error names
// lines by their number and shows nothing of the file, which may be a wrong one.
func FuzzTenantsFile(f *testing.F) {
	for _, s := range []string{"contoso\n", "# all\n\ncontoso.onmicrosoft.com # ours\r\n9e1f7e2c-1d4b-4b52-a8a3-000000000000", "a\nA\n", "meta\nclaim\nsignal\n", "a/b\n..\n",
		"\xef\xbb\xbfcontoso", "a\rb", "\x00", "#", "", strings.Repeat("a", 65), "a,b", "-----BEGIN PRIVATE KEY-----\n"} {
		f.Add([]byte(s))
	}
	wrong := regexp.MustCompile(`^line (\d+) (is not the id of a tenant|is a name that the state topic uses itself|names a tenant a second time)$`)
	path := filepath.Join(f.TempDir(), "tenants")
	write := func(t *testing.T, text []byte) {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		write(t, text)
		tenants, err := ReadTenants(path)
		if err != nil {
			if tenants != nil {
				t.Fatalf("%q beside %v", tenants, err)
			}
			for line := range strings.SplitSeq(err.Error(), "\n") {
				if !wrong.MatchString(line) && line != "the file names no tenant" {
					t.Fatalf("error %q", line)
				}
			}
			return
		}
		seen := map[string]bool{}
		for _, id := range tenants {
			if !graph.ValidTenant(id) || seen[strings.ToLower(id)] || slices.Contains([]string{"meta", "claim", "signal"}, id) {
				t.Fatalf("%q out of %q", id, text)
			}
			seen[strings.ToLower(id)] = true
		}
		write(t, []byte(strings.Join(tenants, "\n")))
		if again, err := ReadTenants(path); err != nil || len(tenants) == 0 || !slices.Equal(again, tenants) {
			t.Fatalf("%q is read back as %q: %v", tenants, again, err)
		}
	})
}

// FuzzPollStart: what is read is written as what means the same, and never leads further back than Graph keeps calls.
func FuzzPollStart(f *testing.F) {
	for _, s := range []string{"720h", "0", "-1h", "2562047h47m16.854775807s", "-2562047h47m16.854775808s", "2026-11-01", "2026-11-01T00:00:00+23:59", "2026-11-01T00:00:00.5Z",
		"0001-01-01", "0000-01-01T00:00:00+24:00", "9999-12-31T23:59:59-23:59", "soon", ""} {
		f.Add(s)
	}
	now := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, value string) {
		var s, again PollStart
		if err := s.EnvDecode(value); err != nil {
			if s != (PollStart{}) || strings.Contains(err.Error(), "\n") {
				t.Fatalf("%+v beside %v", s, err)
			}
			return
		}
		if day := s.Day(now); day < window.Of(now.Add(-reach)) {
			t.Fatalf("%q leads back to %s", value, day)
		}
		if at := s.instant(now); at.Before(now.Add(-mistaken)) || at.Year() > 9999 {
			return // refused by the checks; no year of four digits can be written
		}
		if err := again.EnvDecode(s.String()); err != nil || again.Day(now) != s.Day(now) || again.fixed != s.fixed {
			t.Fatalf("%q is written as %s, which is read as %s: %v", value, s, again, err)
		}
	})
}
