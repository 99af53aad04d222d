package row

import (
	"time"

	"pstncalls/schema"
)

// maxID is the longest id of Graph's that is taken for one, in bytes. It bounds what state and ledgers hold for a row.
const maxID = 256

// Row is one row of the log after the privacy rules.
type Row struct {
	// ID is the row's identity within its tenant, never empty: Graph's id if HasID, otherwise "~" and 32 hex digits.
	ID    string
	HasID bool
	// Key is the callId after the privacy rules, "" where there is none.
	Key string
	// Fingerprint changes with the content of the row, under FingerprintAlgorithm.
	Fingerprint uint64
	// Start is the call's start in UTC, cut to the millisecond; zero if the row has none that can be read.
	Start time.Time
	// Call is the event without TenantID, RowID, Revision and ObservedAt; nil if Reject is set.
	Call *schema.PstnCall
	// Reject says why the row cannot become an event; nil if it can.
	Reject *Reject
	// JSON is the row after the privacy rules, for the dead-letter topic; nil unless Reject is set. Without rules it is the row
	// byte by byte as it came.
	JSON []byte
}

// Reject is why a row cannot become an event.
type Reject struct {
	// Reason is a short clause without any value of the row.
	Reason string
	// Property is the name of the row's property that is wrong, "" if it is the row as a whole.
	Property string
}
