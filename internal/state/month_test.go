package state

import (
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"pstncalls/internal/window"
)

func TestLoadRefusesDamagedMonths(t *testing.T) {
	// day0 is the 4th of October; the 1st of November is in a month of 30 days.
	w := newWorld(t)
	first := window.Of(time.Date(2024, 11, 1, 0, 0, 0, 0, time.UTC))
	w.scan(day0, rowOn(day0, 1, 1), rowOn(day0, 2, 1), rejected(rowOn(day0, 3, 1)))
	w.scan(first, rowOn(first, 4, 1))
	w.settle(day0, first+2)
	w.tenant.Drop((first + 99).Start(), week)
	w.check()
	october, november, header := monthKey(testTenant, month(day0-3)), monthKey(testTenant, month(first)), prefix(testTenant)+"tenant"
	replace := func(key, old, with string) func(map[string][]byte) {
		return func(m map[string][]byte) {
			s := strings.Replace(string(m[key]), old, with, 1)
			if s == string(m[key]) {
				t.Fatalf("%s has no %s: %s", key, old, s)
			}
			m[key] = []byte(s)
		}
	}
	set := func(key, value string) func(map[string][]byte) {
		return func(m map[string][]byte) { m[key] = []byte(value) }
	}
	for _, c := range []struct {
		name   string
		damage func(map[string][]byte)
		key    string // "…" stands for one that cannot be known
		reason string
	}{
		{"no JSON", set(october, "{"), october, "JSON"},
		{"not an object", set(october, "null"), october, "format version"},
		{"no v", replace(october, `"v":1,`, ``), october, "format version"},
		{"bits that are none", replace(october, `"settled":"7ffffff8"`, `"settled":"7ffffffx"`), october, "hex"},
		{"bits too short", replace(october, `"settled":"7ffffff8"`, `"settled":"7fffff8"`), october, "hex"},
		{"bit of a 32nd day", replace(october, `"settled":"7ffffff8"`, `"settled":"fffffff8"`), october, "31 days"},
		{"bit of a 31st of November", replace(november, `"settled":"00000001"`, `"settled":"40000001"`), november, "30 days"},
		{"counts of a day that is not settled", replace(october, `"04":{`, `"03":{`), october, `day 03 has counts`},
		{"day 00", replace(october, `"04":{`, `"00":{`), october, `"00"`},
		{"day 32", replace(october, `"04":{`, `"32":{`), october, `"32"`},
		{"day 31 of November", replace(november, `"01":{`, `"31":{`), november, `"31"`},
		{"day without a zero", replace(october, `"04":{`, `"4":{`), october, `"4"`},
		{"day with a sign", replace(october, `"04":{`, `"+4":{`), october, `"+4"`},
		{"day that is none", replace(october, `"04":{`, `"today":{`), october, `"today"`},
		{"negative rows", replace(october, `"rows":2`, `"rows":-2`), october, "day 04"},
		{"negative events", replace(october, `"rows":2,"events":2`, `"rows":-3,"events":-2`), october, "day 04"},
		{"negative rejects", replace(october, `"rejects":1`, `"rejects":-1`), october, "day 04"},
		{"negative vanished", replace(october, `"rejects":1`, `"rejects":1,"vanished":-1`), october, "day 04"},
		{"fewer events than rows", replace(october, `"events":2`, `"events":1`), october, "day 04"},
		{"events at no time", replace(october, `,"first":"1970`, `,"last":"1970`), october, "day 04"},
		{"bad digest", replace(october, `"digest":"`, `"digest":"0`), october, "digest"},
		{"lost", func(m map[string][]byte) { delete(m, october) }, prefix(testTenant) + "month/…", "1 settled days"},
		{"all lost", func(m map[string][]byte) { delete(m, october); delete(m, november) }, prefix(testTenant) + "month/…", "0 settled days"},
		{"an older one", replace(october, `"settled":"7ffffff8"`, `"settled":"3ffffff8"`), prefix(testTenant) + "month/…", "28 settled days"},
		{"the tenant's record counts none", replace(header, `,"dropped":29`, ``), prefix(testTenant) + "month/…", "counts 0"},
		{"a day in both", func(m map[string][]byte) {
			m[windowKey(testTenant, day0)] = m[windowKey(testTenant, first+1)]
		}, windowKey(testTenant, day0), "dropped"},
		{"ledger records of a dropped day", func(m map[string][]byte) {
			m[ledgerKey(testTenant, day0, 1)] = appendEntry(startSegment(), &entry{}, "", 0)
		}, ledgerKey(testTenant, day0, 1), "missing"},
		{"a month that is none", set(prefix(testTenant)+"month/2024-13", `{"v":1,"settled":"00000000"}`), "month/2024-13", "month/2026-11"},
		{"a day for a month", set(prefix(testTenant)+"month/2024-10-04", `{"v":1,"settled":"00000000"}`), "month/2024-10-04", "month/2026-11"},
		{"no month", set(prefix(testTenant)+"month/", `{"v":1,"settled":"00000000"}`), "month/", "month/2026-11"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := maps.Clone(w.topic)
			c.damage(m)
			_, _, err := Load(testTenant, m)
			var damaged *DamagedError
			if !errors.As(err, &damaged) || !strings.HasSuffix(damaged.Key, c.key) || !strings.Contains(damaged.Reason, c.reason) {
				t.Fatalf("got %v, want %s refused for %q", err, c.key, c.reason)
			}
			if !strings.Contains(err.Error(), "restore") || !strings.Contains(err.Error(), "POLL_FRESH_START") {
				t.Errorf("no way out in %q", err)
			}
		})
	}
	t.Run("newer", func(t *testing.T) {
		m := maps.Clone(w.topic)
		replace(october, `"v":1`, `"v":2`)(m)
		if _, _, err := Load(testTenant, m); !errors.Is(err, ErrNewer) || !strings.Contains(err.Error(), october) {
			t.Errorf("got %v, want %s refused as newer", err, october)
		}
	})
}

// The months of four years, a leap year among them.
func TestMonthOf(t *testing.T) {
	at := time.Date(2023, 1, 1, 0, 0, 0, 0, time.UTC)
	for range 4 * 366 {
		d := window.Of(at)
		m, place := monthOf(d)
		last := time.Date(at.Year(), at.Month()+1, 0, 0, 0, 0, 0, time.UTC).Day()
		if m.String() != at.Format("2006-01") || dayName(place) != at.Format("02") || m.days() != last {
			t.Fatalf("%s: month %s, day %s of %d", d, m, dayName(place), m.days())
		}
		if back, err := parseMonth(m.String()); err != nil || back != m {
			t.Fatalf("%s reads back as %s, %v", m, back, err)
		}
		at = at.AddDate(0, 0, 1)
	}
}
