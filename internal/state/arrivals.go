package state

import "time"

// Arrivals is how often new rows come: when they were first seen, while somebody polled.
type Arrivals struct {
	Since          time.Time `json:"since"` // the first that was seen
	Last           time.Time `json:"last"`  // the newest one, or since when there has been none that would have been seen
	LongestSeconds int64     `json:"longestSeconds,omitempty"`
}

const (
	watchedLeast = 7 * 24 * time.Hour // a week has a week-end
	silentTimes  = 3
)

// Arrived notes a new row.
func (a *Arrivals) Arrived(now time.Time) {
	if a.Since.IsZero() {
		a.Since, a.Last = now, now
	}
	a.LongestSeconds = max(a.LongestSeconds, int64(now.Sub(a.Last).Seconds()))
	a.Last = now
}

// Interrupted notes that nobody has looked for a while: nobody knows what came meanwhile.
func (a *Arrivals) Interrupted(now time.Time) { a.Last = now }

// Longest returns the longest time without a new row.
func (a *Arrivals) Longest() time.Duration { return time.Duration(a.LongestSeconds) * time.Second }

// Silent reports whether there has been no new row for so long that it cannot be chance.
func (a *Arrivals) Silent(now time.Time) bool {
	return a.LongestSeconds > 0 && now.Sub(a.Since) >= watchedLeast && now.Sub(a.Last) > silentTimes*a.Longest()
}
