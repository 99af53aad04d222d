package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"pstncalls/internal/window"
)

// Version is the newest format of the JSON records that this program reads and writes.
const Version = 1

// Header is the tenant record.
type Header struct {
	V          int         `json:"v"`
	Start      window.Day  `json:"start"`              // the first window
	Origin     *window.Day `json:"origin,omitempty"`   // the first window of the watermark, where a scan has asked for earlier days since
	Requests   *Requests   `json:"requests,omitempty"` // of the owner that wrote this, for its successor
	Conditions []Condition `json:"conditions,omitempty"`
	NoID       int64       `json:"noId,omitempty"`     // events of rows without an id
	Dropped    int         `json:"dropped,omitempty"`  // days that the month records hold
	Lateness   []int64     `json:"lateness,omitempty"` // schedule.Lateness
	Reading    *Reading    `json:"reading,omitempty"`
	Backfill   *Backfill   `json:"backfill,omitempty"` // while there are days that were never read
	Arrivals   *Arrivals   `json:"arrivals,omitempty"`
}

// Reading is how Graph has been seen to read the ends of a range (design section 5: four readings). Times and End are empty
// until they are known.
type Reading struct {
	Times string `json:"times,omitempty"` // honoured, ignored
	End   string `json:"end,omitempty"`   // inclusive, exclusive
	// TimesProved and EndProved are when that was seen last, Proofs how often times were asked for on purpose with that answer.
	TimesProved *time.Time `json:"timesProved,omitempty"`
	EndProved   *time.Time `json:"endProved,omitempty"`
	Proofs      int        `json:"proofs,omitempty"`
}

// The words of Reading.
const (
	TimesHonoured = "honoured"
	TimesIgnored  = "ignored"
	EndInclusive  = "inclusive"
	EndExclusive  = "exclusive"
)

// Backfill is how the first reading of old days goes on.
type Backfill struct {
	Began time.Time `json:"began"`
	At    time.Time `json:"at"`
	Days  int       `json:"days"` // read since
	Pages int64     `json:"pages"`
	Rows  int64     `json:"rows"`
}

// Requests are the instants of the requests in the minute before At.
type Requests struct {
	At    time.Time   `json:"at"`
	Used  []time.Time `json:"used"`
	Limit int         `json:"limit"`
	// Hold is set while Graph's Retry-After lets nothing through, until then.
	Hold *time.Time `json:"hold,omitempty"`
	// Strict is set in the first minute after a crash: what the crashed owner has asked is not in Used.
	Strict *Strict `json:"strict,omitempty"`
}

// Strict is the rule for the successor of a crashed owner, and for those who take over from it in time.
type Strict struct {
	Until time.Time `json:"until"`
	Left  int       `json:"left"` // requests that may still be made before
}

// Condition is something that an operator should know of, until it ends.
type Condition struct {
	Name     string    `json:"name"`
	Since    time.Time `json:"since"`
	Sentence string    `json:"sentence"`
	// Until is when a condition that nothing ends, because it is a thing that happened, has been shown for long enough.
	Until *time.Time `json:"until,omitempty"`
}

// Left returns how long so many more days take at the pace so far, 0 where there is none yet.
func (b *Backfill) Left(days int) time.Duration {
	if b.Days == 0 {
		return 0
	}
	return time.Duration(float64(b.At.Sub(b.Began)) / float64(b.Days) * float64(days))
}

// RowsPerSecond returns the pace so far.
func (b *Backfill) RowsPerSecond() int64 {
	return int64(float64(b.Rows) / max(b.At.Sub(b.Began).Seconds(), 1))
}

// Window is the window offset of one day.
type Window struct {
	V          int        `json:"v"`
	Rows       int64      `json:"rows"`      // rows of which at least one event was published
	Events     int64      `json:"events"`    // all revisions
	Revisions  int64      `json:"revisions"` // events with a revision above 0
	Rejects    int64      `json:"rejects"`   // records on the dead-letter topic
	Vanished   int64      `json:"vanished,omitempty"`
	Digest     Digest     `json:"digest"`
	Seq        uint64     `json:"seq,omitempty"`        // of the newest ledger record
	FirstEvent *time.Time `json:"firstEvent,omitempty"` // the smallest record timestamp of the events
	Scans      int64      `json:"scans"`                // complete ones
	Pages      int64      `json:"pages"`                // of the last complete scan
	LastScan   *time.Time `json:"lastScan,omitempty"`   // when the last complete scan began
	Tail       *time.Time `json:"tail,omitempty"`       // when the last scan of its end began, where that is later
	Settled    *time.Time `json:"settled,omitempty"`
	Reopened   *time.Time `json:"reopened,omitempty"` // its ledger was taken back, or it is to be read again, because a scan was asked for
	// Elsewhere are rows whose entry is in another window's ledger: re-dated when this one's was gone, they became new rows there.
	// ElsewhereRevisions are the revisions that they have here.
	Elsewhere          int64 `json:"elsewhere,omitempty"`
	ElsewhereRevisions int64 `json:"elsewhereRevisions,omitempty"`

	segments []segment
	delta    []byte // entries since the last Records, without header
	dirty    bool   // differs from its record
	scan     uint8  // of the scans of this day in this session: what entries.seen is compared with
}

// Scan is a scan in progress: where a successor goes on.
type Scan struct {
	V          int          `json:"v"`
	Range      window.Range `json:"range"`
	From       *time.Time   `json:"from,omitempty"` // of a part: the instant from which the last day is asked
	Begun      time.Time    `json:"begun"`
	Link       string       `json:"link"` // the next page
	Pages      int64        `json:"pages"`
	Rows       int64        `json:"rows"`
	APIVersion string       `json:"apiVersion"`
	Endpoint   string       `json:"endpoint"`
	Privacy    string       `json:"privacy,omitempty"` // id of the privacy rules

	dirty bool
}

// Record is a key of the state topic, under the tenant, with its value; nil deletes.
type Record struct {
	Key   string
	Value []byte
}

// DamagedError names a record of the state that cannot be read.
type DamagedError struct {
	Key    string
	Reason string
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("state record %q: %s; restore the state topic from a backup, or start anew with a state topic of another name and POLL_FRESH_START=true", e.Key, e.Reason)
}

// ErrNewer says that a record was written by a newer version of the program.
var ErrNewer = errors.New("written by a newer version of this program: " + newerMend)

const newerMend = "run that version, which goes on where it was; to stay with this one, start anew with a state topic of another name and POLL_FRESH_START=true, which publishes all calls since POLL_START once more"

// TenantOf returns the tenant that a key belongs to; ok is false for keys that are no tenant's.
func TenantOf(key string) (tenant string, ok bool) {
	tenant, rest, ok := strings.Cut(key, "/")
	return tenant, ok && strings.HasPrefix(rest, "pstn/") && tenant != "claim" && tenant != "signal"
}

func prefix(tenant string) string { return tenant + "/pstn/" }

func windowKey(tenant string, day window.Day) string {
	return prefix(tenant) + "window/" + day.String()
}

func monthKey(tenant string, m month) string { return prefix(tenant) + "month/" + m.String() }

func scanKey(tenant string, from window.Day) string { return prefix(tenant) + "scan/" + from.String() }

func ledgerKey(tenant string, day window.Day, seq uint64) string {
	return prefix(tenant) + "ledger/" + day.String() + "/" + strconv.FormatUint(seq, 10)
}

func decodeJSON(key string, value []byte, into any) error {
	var v struct {
		V int `json:"v"`
	}
	if err := json.Unmarshal(value, &v); err != nil {
		return &DamagedError{key, err.Error()}
	}
	if v.V > Version {
		return fmt.Errorf("state record %q has format %d: %w", key, v.V, ErrNewer)
	}
	if v.V < 1 {
		return &DamagedError{key, "it carries no format version"}
	}
	if err := json.Unmarshal(value, into); err != nil {
		return &DamagedError{key, err.Error()}
	}
	return nil
}

func encodeJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("state: encode %T: %v", v, err)) // unreachable: plain structs
	}
	return b
}
