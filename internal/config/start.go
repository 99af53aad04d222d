package config

import (
	"errors"
	"time"

	"pstncalls/internal/window"
)

// reach is how far back polling can start: Graph keeps a year of calls, a leap year at most.
const reach = 366 * 24 * time.Hour

// mistaken is how far back a fixed time cannot be meant. One between reach and this was right once: a set-up that is a year
// old has to start again.
const mistaken = 20 * reach

// PollStart is where a new tenant's first window lies: a duration back from now, or a fixed instant. The zero PollStart is now.
type PollStart struct {
	back  time.Duration // used unless fixed
	at    time.Time
	fixed bool
}

// Day returns the window that contains the start, as seen at now. A fixed time that lies further back than Graph keeps calls
// counts as the oldest that it keeps.
func (s PollStart) Day(now time.Time) window.Day {
	at := s.instant(now)
	if oldest := now.Add(-reach); at.Before(oldest) {
		at = oldest
	}
	return window.Of(at)
}

// String returns the start as it can be configured.
func (s PollStart) String() string {
	if s.fixed {
		return s.at.Format(time.RFC3339)
	}
	return s.back.String()
}

// EnvDecode implements envconfig.Decoder: a duration, RFC 3339, or a day.
func (s *PollStart) EnvDecode(value string) error {
	if d, err := time.ParseDuration(value); err == nil {
		*s = PollStart{back: d}
		return nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, value); err == nil {
			*s = PollStart{at: t.UTC(), fixed: true}
			return nil
		}
	}
	return errors.New("neither a duration nor a time")
}

// Want says what can be decoded.
func (PollStart) Want() string {
	return "a duration such as 720h, or a time such as 2026-11-01 or 2026-11-01T00:00:00Z"
}

func (s PollStart) instant(now time.Time) time.Time {
	if s.fixed {
		return s.at
	}
	return now.Add(-s.back)
}
