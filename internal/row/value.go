package row

import (
	"bytes"
	"strconv"
	"time"
)

// parseTime reads an RFC 3339 date-time with any number of fractional digits, in UTC and cut to the millisecond. The zero time
// is Graph's "none": year 1. ok is false for anything else, also without a zone or beyond the years 1 to 9999.
func parseTime(b []byte) (t time.Time, ok bool) {
	const form = "0000-00-00T00:00:00"
	if len(b) < len(form)+1 {
		return time.Time{}, false
	}
	for i, f := range []byte(form) {
		switch {
		case f == '0' && '0' <= b[i] && b[i] <= '9':
		case f != '0' && f == b[i]:
		default:
			return time.Time{}, false
		}
	}
	year, month, day := twoDigits(b)*100+twoDigits(b[2:]), time.Month(twoDigits(b[5:])), twoDigits(b[8:])
	hour, minute, second := twoDigits(b[11:]), twoDigits(b[14:]), twoDigits(b[17:])
	if year == 0 || month < 1 || month > 12 || day < 1 || day > daysIn(year, month) || hour > 23 || minute > 59 || second > 59 {
		return time.Time{}, false
	}
	millis, rest, ok := cutFraction(b[len(form):])
	if !ok {
		return time.Time{}, false
	}
	offset, ok := parseZone(rest)
	if !ok {
		return time.Time{}, false
	}
	t = time.Date(year, month, day, hour, minute, second, millis*int(time.Millisecond), time.UTC).Add(-offset)
	switch {
	case t.Year() > 9999:
		return time.Time{}, false
	case year == 1 || t.Year() <= 1:
		return time.Time{}, true
	}
	return t, true
}

// cutFraction reads "", or a dot and digits, as milliseconds; rest is what follows.
func cutFraction(b []byte) (millis int, rest []byte, ok bool) {
	if len(b) == 0 || b[0] != '.' {
		return 0, b, true
	}
	rest = bytes.TrimLeft(b[1:], "0123456789")
	digits := b[1 : len(b)-len(rest)]
	for i := range 3 {
		millis *= 10
		if i < len(digits) {
			millis += int(digits[i] - '0')
		}
	}
	return millis, rest, len(digits) > 0
}

// parseZone reads Z or ±hh:mm.
func parseZone(b []byte) (offset time.Duration, ok bool) {
	if len(b) == 1 && b[0] == 'Z' {
		return 0, true
	}
	if len(b) != len("+00:00") || b[3] != ':' || (b[0] != '+' && b[0] != '-') {
		return 0, false
	}
	for _, i := range []int{1, 2, 4, 5} {
		if b[i] < '0' || b[i] > '9' {
			return 0, false
		}
	}
	hours, minutes := twoDigits(b[1:]), twoDigits(b[4:])
	offset = time.Duration(hours)*time.Hour + time.Duration(minutes)*time.Minute
	if b[0] == '-' {
		offset = -offset
	}
	return offset, hours <= 23 && minutes <= 59
}

func twoDigits(b []byte) int { return int(b[0]-'0')*10 + int(b[1]-'0') }

func daysIn(year int, month time.Month) int {
	return time.Date(year, month+1, 0, 0, 0, 0, 0, time.UTC).Day()
}

// parseInt32 reads a number in the canonical form of appendNumber. Every spelling of a number is the same number (219.0 and
// 2.19e2 are 219), because the fingerprint does not tell them apart either.
func parseInt32(canonical []byte) (n int32, ok bool) {
	digits, exponent, found := bytes.Cut(canonical, []byte("e"))
	if !found {
		return 0, true
	}
	zeros, err := strconv.Atoi(string(exponent))
	if err != nil || zeros < 0 || zeros > 9 || len(digits) > 11 {
		return 0, false
	}
	v, err := strconv.ParseInt(string(digits)+"000000000"[:zeros], 10, 32)
	return int32(v), err == nil
}
