package calllog

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func at(day, hour int) time.Time { return time.Date(2026, 11, day, hour, 0, 0, 0, time.UTC) }

func lively() Config {
	return Config{ID: "contoso", RowsPerDay: 200, From: at(2, 0), To: at(16, 0), LateShare: 0.1, CorrectShare: 0.2, MoveShare: 0.1,
		NoIDShare: 0.05, NullCallIDShare: 0.05, RejectShare: 0.05, MaxLateness: 72 * time.Hour}
}

func rows(l *Log) []TrueRow { return slices.Collect(l.Truth()) }

// seen returns what the log shows of [from, to) at now, by JSON.
func seen(l *Log, from, to, now time.Time) map[string]bool {
	m := map[string]bool{}
	items := slices.Collect(l.Visible(from, to, now))
	for _, it := range items {
		m[string(l.Append(nil, it, Form{}))] = true
	}
	return m
}

func TestVisibleIsTruthAtEveryInstant(t *testing.T) {
	truth, l := rows(New(7, lively())), New(7, lively())
	for _, now := range []time.Time{at(3, 1), at(6, 15), at(9, 9), at(30, 0)} {
		for _, r := range [][2]time.Time{{at(1, 0), at(30, 0)}, {at(5, 0), at(6, 0)}, {at(5, 10), at(7, 3)}} {
			want := map[string]bool{}
			for _, row := range truth {
				for _, v := range row.Versions {
					if !v.Start.Before(r[0]) && v.Start.Before(r[1]) && !now.Before(v.VisibleFrom) && (v.VisibleUntil.IsZero() || now.Before(v.VisibleUntil)) {
						want[string(v.JSON)] = true
					}
				}
			}
			if diff := cmp.Diff(want, seen(l, r[0], r[1], now)); diff != "" {
				t.Errorf("%v at %v (-want +got):\n%.500s", r, now, diff)
			}
		}
	}
}

func TestSeedDecides(t *testing.T) {
	a, b, c := rows(New(7, lively())), rows(New(7, lively())), rows(New(8, lively()))
	if !reflect.DeepEqual(a, b) {
		t.Error("same seed, other rows")
	}
	if len(c) > 0 && string(c[0].Versions[0].JSON) == string(a[0].Versions[0].JSON) {
		t.Error("another seed, the same first row")
	}
}

func TestRowsAreRealistic(t *testing.T) {
	has := map[string]int{}
	ids := map[string]bool{}
	calls := map[string]int{}
	weekday := map[bool]int{}
	cfg := lively()
	cfg.RowsPerDay, cfg.Country = 2000, "FR"
	for _, row := range rows(New(1, cfg)) {
		if ids[row.Ident] {
			t.Fatalf("id %s twice", row.Ident)
		}
		ids[row.Ident] = true
		weekday[row.Versions[0].Start.Weekday() == time.Sunday]++
		for i, v := range row.Versions {
			var r map[string]any
			if err := json.Unmarshal(v.JSON, &r); err != nil {
				t.Fatalf("row %s: %v", row.Ident, err)
			}
			if i == 0 {
				if id, ok := r["callId"].(string); ok {
					calls[id]++
				}
			}
			if end, err := time.Parse(time.RFC3339, r["endDateTime"].(string)); err != nil || v.VisibleFrom.Before(end) {
				t.Errorf("row %s version %d: visible before its end (%v)", row.Ident, i, err)
			}
			if v.VisibleFrom.After(v.Start.Add(5*time.Hour + cfg.MaxLateness + 24*time.Hour)) {
				t.Errorf("row %s version %d: later than MaxLateness", row.Ident, i)
			}
			count := func(what string, yes bool) {
				if yes {
					has[what]++
				}
			}
			count("no id", row.ID == "")
			count("changed without id", row.ID == "" && i > 0)
			count("late", i == 0 && v.VisibleFrom.Sub(v.Start) > 24*time.Hour)
			count("null callId", r["callId"] == nil)
			count("null start", r["startDateTime"] == nil)
			count("corrected", i == 1)
			count("corrected twice", i == 2)
			count("moved", i > 0 && v.Start.Truncate(24*time.Hour) != row.Versions[i-1].Start.Truncate(24*time.Hour))
			count("unknown property", r["callQueueInfo"] != nil)
			count("masked", len(fmt.Sprint(r["calleeNumber"])) > 4 && fmt.Sprint(r["calleeNumber"])[len(fmt.Sprint(r["calleeNumber"]))-4:] == "****")
			count("operator", r["callDurationSource"] == "operator")
			count("operator connect", fmt.Sprint(r["callType"])[:3] == "oc_")
			if want := 29; len(r) < want-1 || len(r) > want+1 {
				t.Errorf("row %s has %d properties", row.Ident, len(r))
			}
		}
	}
	for _, what := range []string{"no id", "late", "null callId", "null start", "corrected", "corrected twice", "moved", "unknown property", "masked",
		"operator", "operator connect"} {
		if has[what] == 0 {
			t.Errorf("no row is %q", what)
		}
	}
	if has["changed without id"] > 0 {
		t.Error("a row without id changes")
	}
	if n := slices.Max(slices.Collect(maps.Values(calls))); n < 2 {
		t.Error("no call has several rows")
	}
	if sundays, rest := weekday[true]/2, weekday[false]/12; sundays*2 > rest {
		t.Errorf("%d rows on a Sunday, %d on other days", sundays, rest)
	}
}

func TestShapeOfDays(t *testing.T) {
	count := func(cfg Config) map[time.Time]int {
		n := map[time.Time]int{}
		for _, row := range rows(New(2, cfg)) {
			n[row.Versions[0].Start.Truncate(24*time.Hour)]++
		}
		return n
	}
	cfg := Config{ID: "contoso", RowsPerDay: 20, From: at(2, 0), To: at(16, 0), SparseShare: 0.5}
	if n := len(count(cfg)); n < 2 || n > 12 {
		t.Errorf("%d of 14 days have rows, want about half", n)
	}
	cfg.Flat, cfg.SparseShare = true, 0
	for d, n := range count(cfg) {
		if n != 20 {
			t.Errorf("%v has %d rows, want 20", d, n)
		}
	}
}

func TestFormsSayTheSame(t *testing.T) {
	l := New(3, lively())
	spellings := 0
	for _, it := range slices.Collect(l.Visible(at(1, 0), at(30, 0), at(30, 0))) {
		plain, varied, v1 := l.Append(nil, it, Form{}), l.Append(nil, it, Form{Salt: 9}), l.Append(nil, it, Form{V1: true})
		if string(plain) != string(varied) {
			spellings++
		}
		want, got, few := object(t, plain), object(t, varied), object(t, v1)
		delete(got, "@odata.type")
		maps.DeleteFunc(want, func(_ string, v any) bool { return v == nil })
		maps.DeleteFunc(got, func(_ string, v any) bool { return v == nil })
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("salt changes the row:\n%s", diff)
		}
		if len(few) < 22 || len(few) > 24 {
			t.Errorf("v1.0 row has %d properties", len(few))
		}
	}
	if spellings == 0 {
		t.Error("salt varies nothing")
	}
}

func object(t *testing.T, b []byte) map[string]any {
	t.Helper()
	row, err := decode(b)
	if err != nil {
		t.Fatalf("%s: %v", b, err)
	}
	return row
}

func TestMutations(t *testing.T) {
	l := New(5, lively())
	all := slices.Collect(l.Visible(at(1, 0), at(30, 0), at(30, 0))) // before: the lists exist already
	fresh := New(5, lively())                                        // after: they are made later
	row := rows(l)[40]
	start := map[string]any{"startDateTime": "2026-11-20T10:00:00.1234567Z"}
	for _, l := range []*Log{l, fresh} {
		move := func(r map[string]any) { r["startDateTime"], r["charge"] = start["startDateTime"], json.Number("1.50") }
		for _, err := range []error{
			l.Correct(row.Ident, move, at(25, 0)),
			l.Add(map[string]any{"id": "late", "startDateTime": "2026-11-03T08:00:00Z"}, at(26, 0)),
			l.Add(map[string]any{"startDateTime": nil}, at(26, 0)),
			l.Correct("added-1", func(r map[string]any) { r["x"] = 1 }, at(27, 0)),
			l.Remove("late", at(28, 0)),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := l.Add(map[string]any{"id": "late"}, at(26, 0)); err == nil {
			t.Error("an id was added twice")
		}
		if err := l.Remove("nobody", at(26, 0)); err == nil {
			t.Error("an unknown row was removed")
		}
		if err := l.Remove("late", at(25, 0)); err == nil {
			t.Error("a row was removed before it was visible")
		}
		for _, c := range []struct {
			from, to, now time.Time
			want          int
		}{
			{at(20, 0), at(21, 0), at(25, 0).Add(-1), 0},
			{at(20, 0), at(21, 0), at(25, 0), 1}, // moved here
			{at(26, 0), at(27, 0), at(26, 0), 1}, // null start: found where it became visible
			{at(1, 0), at(16, 0), at(25, 0), len(all) - 1},
			{at(1, 0), at(16, 0), at(26, 0), len(all)},
			{at(1, 0), at(16, 0), at(28, 0), len(all) - 1},
		} {
			if got := len(slices.Collect(l.Visible(c.from, c.to, c.now))); got != c.want {
				t.Errorf("[%v, %v) at %v: %d rows, want %d", c.from, c.to, c.now, got, c.want)
			}
		}
	}
	if !reflect.DeepEqual(rows(l), rows(fresh)) {
		t.Error("mutations depend on what was read before")
	}
}

// TestComesBack removes rows and lets them come back, unchanged and changed: in between they are not visible.
func TestComesBack(t *testing.T) {
	l := New(5, Config{ID: "contoso"})
	name := func(s string) func(map[string]any) { return func(r map[string]any) { r["userDisplayName"] = s } }
	for _, err := range []error{
		l.Add(map[string]any{"id": "a", "startDateTime": "2026-11-03T08:00:00Z", "userDisplayName": "one"}, at(4, 0)),
		l.Remove("a", at(5, 0)),
		l.Remove("a", at(6, 0)), // it has gone already
		l.Restore("a", at(7, 0)),
		l.Remove("a", at(8, 0)),
		l.Correct("a", name("two"), at(9, 0)),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Restore("a", at(10, 0)); err == nil {
		t.Error("a row that is visible was restored")
	}
	for hour, want := range map[time.Time]string{at(4, 1): "one", at(5, 1): "", at(6, 1): "", at(7, 1): "one", at(8, 1): "", at(9, 1): "two"} {
		got := ""
		for it := range l.Visible(at(3, 0), at(4, 0), hour) {
			got += object(t, it.stored.versions[it.version].json)["userDisplayName"].(string)
		}
		if got != want {
			t.Errorf("at %v the log shows %q, want %q", hour, got, want)
		}
	}
}
