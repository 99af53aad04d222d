package state

import "time"

// forgotten is all that is kept of a tenant that was forgotten.
type forgotten struct {
	V      int       `json:"v"`
	Commit int64     `json:"commit"` // of its shard: its events up to this one count for nothing
	At     time.Time `json:"at"`
}

const forgottenKey = "forgotten"

// ForgottenRecord returns what is kept of a tenant that a commit forgets.
func ForgottenRecord(tenant string, commit int64, at time.Time) Record {
	return Record{prefix(tenant) + forgottenKey, encodeJSON(forgotten{Version, commit, at})}
}

// Forgotten returns the commit with which a tenant was forgotten last: its events up to that count for nothing. 0: never.
func Forgotten(tenant string, records map[string][]byte) (commit int64, err error) {
	key := prefix(tenant) + forgottenKey
	value, ok := records[key]
	if !ok {
		return 0, nil
	}
	var f forgotten
	if err := decodeJSON(key, value, &f); err != nil {
		return 0, err
	}
	return f.Commit, nil
}
