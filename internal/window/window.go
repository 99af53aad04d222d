// Package window owns the arithmetic of windows: UTC days of call start time, and half-open ranges [From, To) of them.
//
// It is pure. A Day is a whole number of days since 1970-01-01, so days are compared and counted as numbers, and one that is
// printed reads back as the same day.
package window

import (
	"fmt"
	"time"
)

// Day is a UTC day: the number of days since 1970-01-01. A window is one Day.
type Day int32

// Of returns the day that contains t.
func Of(t time.Time) Day {
	s := t.Unix()
	d := s / 86400
	if s%86400 < 0 {
		d--
	}
	return Day(d)
}

// Parse reads a day as String prints it: 2026-11-01.
func Parse(s string) (Day, error) {
	t, err := time.Parse(time.DateOnly, s)
	if err != nil {
		return 0, fmt.Errorf("day %q: want the form 2026-11-01", s)
	}
	return Of(t), nil
}

// Start returns the first instant of the day.
func (d Day) Start() time.Time { return time.Unix(int64(d)*86400, 0).UTC() }

// End returns the first instant after the day.
func (d Day) End() time.Time { return (d + 1).Start() }

// String returns the day as 2026-11-01.
func (d Day) String() string { return d.Start().Format(time.DateOnly) }

// MarshalText implements encoding.TextMarshaler.
func (d Day) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Day) UnmarshalText(b []byte) error {
	v, err := Parse(string(b))
	if err != nil {
		return err
	}
	*d = v
	return nil
}

// Range is the days from From up to, and not including, To.
type Range struct {
	From Day `json:"from"`
	To   Day `json:"to"`
}

// Contains reports whether d lies in the range.
func (r Range) Contains(d Day) bool { return r.From <= d && d < r.To }

// Overlaps reports whether the two ranges share a day.
func (r Range) Overlaps(o Range) bool { return r.From < o.To && o.From < r.To }

// Days returns the number of days in the range.
func (r Range) Days() int { return int(r.To - r.From) }

// String returns the range as [2026-11-01, 2026-11-02).
func (r Range) String() string { return "[" + r.From.String() + ", " + r.To.String() + ")" }
