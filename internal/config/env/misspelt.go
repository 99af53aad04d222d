package env

import (
	"regexp"
	"slices"
)

// maxEdits is how many edits away from one of our names a variable still counts as that name misspelt.
const maxEdits = 2

// injected matches what Kubernetes (and Docker before it) sets for every service: of a service named azure-authority,
// AZURE_AUTHORITY_PORT is two edits from AZURE_AUTHORITY_HOST.
var injected = regexp.MustCompile(`_SERVICE_HOST$|_SERVICE_PORT(_[A-Z0-9_]+)?$|_PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?$`)

// CheckSpelling reports every variable that is set, is not ours and looks like one of ours.
func (r *Reading) CheckSpelling() {
	for name := range r.values {
		if slices.Contains(r.ours, name) || injected.MatchString(name) {
			continue
		}
		nearest, least := "", maxEdits+1
		for _, our := range r.ours {
			if d := edits(name, our); d < least {
				nearest, least = our, d
			}
		}
		if nearest != "" {
			r.Add(name, "is no variable of this program", "did you mean "+nearest+"?")
		}
	}
}

// edits returns how many characters must be inserted, deleted, replaced or swapped with their neighbour to turn a into b
// (optimal string alignment), maxEdits+1 where it is more than maxEdits.
func edits(a, b string) int {
	if d := len(a) - len(b); d < -maxEdits || d > maxEdits {
		return maxEdits + 1 // a foreign name may be very long
	}
	before, prev, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			replace := prev[j-1]
			if a[i-1] != b[j-1] {
				replace++
			}
			row[j] = min(replace, prev[j]+1, row[j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, prev, row = prev, row, before
	}
	return min(prev[len(b)], maxEdits+1)
}
