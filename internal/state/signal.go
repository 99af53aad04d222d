package state

import (
	"fmt"
	"time"

	"pstncalls/internal/window"
)

// Signal is what a command asks of the owner of a tenant's shard, and how far that is: the value of a record of the state topic,
// signal/<id>. The command writes it once; from then on it is the owner's, who deletes it when it is done, and says so before.
type Signal struct {
	V      int           `json:"v"`
	Kind   string        `json:"kind"`
	Tenant string        `json:"tenant"`
	Given  time.Time     `json:"given"`
	By     string        `json:"by"`               // the machine
	Range  *window.Range `json:"range,omitempty"`  // of SignalScan
	Target string        `json:"target,omitempty"` // of SignalCancel: the id of a scan

	// What follows is the owner's.
	Accepted  *time.Time    `json:"accepted,omitempty"`
	Left      *window.Range `json:"left,omitempty"`    // days that have yet to be begun; they are read newest first
	Part      *window.Range `json:"part,omitempty"`    // days that are being read
	Refused   []window.Day  `json:"refused,omitempty"` // days that Graph does not show
	Events    int64         `json:"events"`            // published on its account, revisions among them
	Revisions int64         `json:"revisions"`
	Answer    string        `json:"answer,omitempty"` // the last word
	Why       string        `json:"why,omitempty"`    // of an answer other than AnswerDone; of a scan, also what holds it up
}

// The kinds of signals.
const (
	SignalScan   = "scan"
	SignalCancel = "cancel"
	SignalForget = "forget"
)

// maxSignalDays bounds what one signal may ask for.
const maxSignalDays = 1000

// The answers.
const (
	AnswerDone     = "done"
	AnswerRefused  = "refused"
	AnswerCanceled = "canceled"
)

// DecodeSignal reads a signal, and refuses what is none.
func DecodeSignal(id string, value []byte) (Signal, error) {
	var s Signal
	if err := decodeJSON("signal/"+id, value, &s); err != nil {
		return s, err
	}
	within := func(r *window.Range) bool {
		return r == nil || s.Range.From <= r.From && r.From <= r.To && r.To <= s.Range.To
	}
	switch {
	case s.Kind == SignalScan && (s.Range == nil || s.Range.Days() < 1 || s.Range.Days() > maxSignalDays):
		return s, fmt.Errorf("signal %s: its range is %v", id, s.Range)
	case s.Kind == SignalScan && (s.Accepted != nil && s.Left == nil || !within(s.Left) || !within(s.Part)):
		return s, fmt.Errorf("signal %s: what it says of its progress contradicts itself", id)
	case s.Kind == SignalCancel && s.Target == "":
		return s, fmt.Errorf("signal %s: it does not say what to cancel", id)
	}
	return s, nil
}

// Encode returns the record's value.
func (s Signal) Encode() []byte {
	s.V = Version
	return encodeJSON(s)
}

// DaysLeft returns how many days of a scan are not done.
func (s *Signal) DaysLeft() (n int) {
	if s.Kind != SignalScan {
		return 0
	}
	if s.Left != nil {
		n += s.Left.Days()
	}
	if s.Part != nil {
		n += s.Part.Days()
	}
	return n
}
