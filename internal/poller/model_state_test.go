//go:build synctests

package poller_test

import (
	"pstncalls/internal/state"
	"pstncalls/internal/status"
	"pstncalls/internal/window"
)

// All that the model knows of package state is in this file.

// counted is what the state says of one window.
type counted struct {
	rows, events, revisions, rejects, vanished int64
	digest                                     state.Digest
	settled                                    bool
}

// states returns what the state topic says of each window; nil where it knows no tenant yet.
func (m *model) states() (map[window.Day]counted, error) {
	t, err := m.load()
	if err != nil || t == nil {
		return nil, err
	}
	out := map[window.Day]counted{}
	for _, day := range t.Windows() {
		w := t.Window(day)
		out[day] = counted{w.Rows, w.Events, w.Revisions, w.Rejects, w.Vanished, w.Digest, w.Settled != nil}
	}
	return out, nil
}

// judgeConditions finds those that hold in the end, when all trouble has been over for two days and a lookback: none may, but that
// no row has come since.
func (m *model) judgeConditions() {
	t, err := m.load()
	if err != nil || t == nil {
		m.found("wrong", "the state in the end: %v, %v", t, err)
		return
	}
	for _, c := range t.Header.Conditions {
		if c.Name != status.NoNewRows {
			m.found("condition", "%s holds in the end, since %s: %s", c.Name, clockwise(c.Since.Sub(m.birth)), c.Sentence)
		}
	}
}

// hash is what an event adds to its window's digest.
func (e *published) hash() state.Digest {
	return state.HashEvent(e.rowID, e.revision, e.fingerprint, e.avro)
}
