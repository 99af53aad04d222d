package verify

import (
	"context"
	"iter"
	"strings"
	"sync"
	"time"

	"pstncalls/internal/kafka"
	"pstncalls/internal/row"
	"pstncalls/internal/state"
	"pstncalls/internal/window"
	"pstncalls/schema"
)

// refused is the newest dead letter of a row.
type refused struct {
	fingerprint uint64
	home        window.Day
	at          time.Time
}

// rejects reads the newest dead letters of the days' rows, so that a row that is still the same reject does not become one more. They
// are not proved: one that retention has removed, or that was cut because it was too large, comes once more.
func (s Settled) rejects(ctx context.Context, c *kafka.Cluster, days map[window.Day]bool, since time.Time) (map[life]refused, error) {
	log, err := s.log(ctx, c, c.Topics().DLQ, since)
	if err != nil {
		return nil, err
	}
	out := map[life]refused{}
	var mu sync.Mutex
	err = log.each(ctx, func(recs iter.Seq2[kafka.Record, error], _ int32) error {
		convert := row.NewConverter(nil) // the privacy rules have been applied
		for rec, err := range recs {
			if err != nil {
				return err
			}
			h := map[string]string{}
			for _, x := range rec.Headers {
				h[x.Key] = string(x.Value)
			}
			owner, err := window.Parse(h[schema.HeaderWindow])
			if err != nil || h[schema.HeaderTenant] != s.Tenant || !days[owner] || h[schema.HeaderTruncated] != "" {
				continue
			}
			r := convert.Convert(rec.Value)
			id := h[schema.HeaderRowID]
			if id != r.ID && !(strings.HasPrefix(r.ID, "~h") && strings.HasPrefix(id, r.ID+".")) {
				continue // it was withheld, and says nothing of the row
			}
			n := refused{fingerprint: r.Fingerprint, home: owner, at: rec.Timestamp}
			if !r.Start.IsZero() {
				n.home = window.Of(r.Start)
			}
			mu.Lock()
			if old, ok := out[life{id, owner}]; !ok || !n.at.Before(old.at) {
				out[life{id, owner}] = n
			}
			mu.Unlock()
		}
		return nil
	})
	return out, err
}

// refuse enters the rejects into the ledgers.
func refuse(ledgers map[window.Day][]state.Known, rejects map[life]refused) {
	for day, rows := range ledgers {
		for i := range rows {
			k := &rows[i]
			if r, ok := rejects[life{k.ID, day}]; ok {
				delete(rejects, life{k.ID, day})
				if r.at.After(k.At) { // it became one after its newest event
					k.Rejected, k.Fingerprint, k.Home, k.At = true, r.fingerprint, r.home, r.at
				}
			}
		}
	}
	for l, r := range rejects {
		ledgers[l.owner] = append(ledgers[l.owner], state.Known{ID: l.rowID, Owner: l.owner, Home: r.home, Revision: -1, Fingerprint: r.fingerprint, Rejected: true, At: r.at})
	}
}
