package schedule

import "time"

// Lateness counts rows by their age (time since the call's start) when they were first seen, or seen changed.
type Lateness struct {
	Counts [13]int64 `json:"counts"` // by the bounds; the last one: above them all
}

// bounds are the ages below which a row falls into a bucket.
var bounds = [...]time.Duration{
	15 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour, 4 * time.Hour, 8 * time.Hour, 16 * time.Hour,
	32 * time.Hour, 64 * time.Hour, 128 * time.Hour, 256 * time.Hour, 512 * time.Hour,
	1024 * time.Hour, // of the last bucket: only for its width
}

// prior is what is believed of a tenant of which nothing is known, in rows. Nothing firm is documented: vendors speak of
// hours, Microsoft's admin report of "usually 24 to 48 hours", nobody gives an upper bound. So: more than half within four
// hours, a tail that is still there at 48, little up to 128, and never nothing. Twenty rows in all: a hundred real ones
// outweigh it.
var prior = [len(bounds)]float64{1.5, 1.5, 2.5, 3, 2.5, 2, 2, 2, 2.4, 0.4, 0.1, 0.06, 0.04}

const (
	priorTotal = 20
	maxTotal   = 100_000 // beyond it all counts are halved, so that they follow a change
)

// Add counts a row that was first seen, or seen changed, at this age.
func (l *Lateness) Add(age time.Duration) {
	l.Counts[bucket(age)]++
	if l.Total() > maxTotal {
		for i := range l.Counts {
			l.Counts[i] /= 2
		}
	}
}

// Total returns the number of rows counted, without the prior. Of nil it is 0.
func (l *Lateness) Total() int64 {
	if l == nil {
		return 0
	}
	total := int64(0)
	for _, n := range l.Counts {
		total += n
	}
	return total
}

// PerHour returns the share of a window's rows that is expected in an hour at this age. Of nil it is the prior's.
func (l *Lateness) PerHour(age time.Duration) float64 {
	i := bucket(age)
	return l.share(i) / (bounds[i] - lower(i)).Hours()
}

// Quantile returns the age below which the share p of all rows is expected to have been seen. Of nil it is the prior's.
func (l *Lateness) Quantile(p float64) time.Duration {
	below := 0.0
	for i := range bounds {
		share := l.share(i)
		if below+share >= p {
			return lower(i) + time.Duration(max(0, p-below)/share*float64(bounds[i]-lower(i)))
		}
		below += share
	}
	return bounds[len(bounds)-1]
}

// share returns the share of all rows that is expected in a bucket; never zero, because the prior is nowhere.
func (l *Lateness) share(i int) float64 {
	weight := prior[i]
	if l != nil {
		weight += float64(l.Counts[i])
	}
	return weight / (float64(l.Total()) + priorTotal)
}

// bucket returns the bucket of an age; a negative one is a clock's.
func bucket(age time.Duration) int {
	for i, bound := range bounds {
		if age < bound {
			return i
		}
	}
	return len(bounds) - 1
}

// lower returns where a bucket begins.
func lower(i int) time.Duration {
	if i == 0 {
		return 0
	}
	return bounds[i-1]
}
