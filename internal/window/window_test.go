package window

import (
	"encoding/json"
	"testing"
	"time"
)

func TestOf(t *testing.T) {
	for _, c := range []struct {
		at   time.Time
		want string
	}{
		{time.Unix(0, 0), "1970-01-01"},
		{time.Unix(-1, 0), "1969-12-31"},
		{time.Unix(0, -1), "1969-12-31"},
		{time.Unix(-86400, 0), "1969-12-31"},
		{time.Unix(-86401, 0), "1969-12-30"},
		{time.Date(2026, 11, 1, 23, 59, 59, 999999999, time.UTC), "2026-11-01"},
		{time.Date(2026, 11, 2, 0, 0, 0, 0, time.UTC), "2026-11-02"},
		{time.Date(2026, 11, 2, 0, 30, 0, 0, time.FixedZone("", 3600)), "2026-11-01"},
		{time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC), "0001-01-01"},
		{time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), "9999-12-31"},
	} {
		if got := Of(c.at).String(); got != c.want {
			t.Errorf("Of(%v): got %s, want %s", c.at, got, c.want)
		}
	}
}

func TestEveryDayReadsBack(t *testing.T) {
	first, last := Of(time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC)), Of(time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC))
	for d := first; d <= last; d++ {
		back, err := Parse(d.String())
		if err != nil || back != d {
			t.Fatalf("%d: %s reads back as %d, %v", d, d, back, err)
		}
		if Of(d.Start()) != d || Of(d.End().Add(-1)) != d || !d.End().Equal((d + 1).Start()) || d.End().Sub(d.Start()) != 24*time.Hour {
			t.Fatalf("%s: from %v to %v", d, d.Start(), d.End())
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, s := range []string{"", "today", "2026-11-1", "2026-11-31", "2026-13-01", "10000-01-01", "-001-01-01", "2026-11-01T00:00:00Z", " 2026-11-01", "2026-11-01 "} {
		if d, err := Parse(s); err == nil {
			t.Errorf("%q: got %s, want an error", s, d)
		}
	}
}

func TestJSON(t *testing.T) {
	in := Range{From: 20000, To: 20002}
	b, err := json.Marshal(in)
	if want := `{"from":"2024-10-04","to":"2024-10-06"}`; err != nil || string(b) != want {
		t.Fatalf("got %s, %v, want %s", b, err, want)
	}
	var out Range
	if err := json.Unmarshal(b, &out); err != nil || out != in {
		t.Errorf("got %v, %v", out, err)
	}
	if err := json.Unmarshal([]byte(`{"from":"soon"}`), &out); err == nil {
		t.Error("a day that is none was read")
	}
}

func TestRange(t *testing.T) {
	r := Range{From: 10, To: 12}
	for d, want := range map[Day]bool{9: false, 10: true, 11: true, 12: false} {
		if r.Contains(d) != want {
			t.Errorf("contains %d: %t", d, !want)
		}
	}
	for _, c := range []struct {
		o    Range
		want bool
	}{{Range{8, 10}, false}, {Range{8, 11}, true}, {Range{10, 12}, true}, {Range{11, 12}, true}, {Range{12, 14}, false}, {Range{0, 99}, true}} {
		if r.Overlaps(c.o) != c.want || c.o.Overlaps(r) != c.want {
			t.Errorf("%v and %v: want %t", r, c.o, c.want)
		}
	}
	if r.Days() != 2 || r.String() != "[1970-01-11, 1970-01-13)" {
		t.Errorf("got %d days, %s", r.Days(), r)
	}
}
