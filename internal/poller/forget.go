package poller

import (
	"slices"

	"pstncalls/internal/kafka"
	"pstncalls/internal/state"
	"pstncalls/internal/status"
)

// keysBeside returns, by tenant, the keys of the tenants of a state that are not among names.
func keysBeside(records map[string][]byte, names []string) map[string][]string {
	out := map[string][]string{}
	for key := range records {
		if id, ok := state.TenantOf(key); ok && !slices.Contains(names, id) {
			out[id] = append(out[id], key)
		}
	}
	return out
}

// forget deletes all that the state says of a tenant that is polled no more. Its events stay until retention removes them; what is
// kept is the commit up to which they count for nothing. Should the tenant be polled again, it is a new one.
func (s *session) forget(w *wish) {
	keys := s.unpolled[w.Tenant]
	switch {
	case s.tenant(w.Tenant) != nil:
		s.answer(w, state.AnswerRefused, "the running producer polls this tenant: take it out of GRAPH_TENANTS or GRAPH_TENANTS_FILE everywhere first")
		return
	case !slices.ContainsFunc(keys, state.IsTenant):
		s.answer(w, state.AnswerRefused, "the state knows no such tenant")
		return
	}
	s.forgotten = append(s.forgotten, w.Tenant)
	s.board.End(s.log.With("tenant", w.Tenant), status.Subject{Tenant: w.Tenant, Shard: s.kafka.Shard()}, status.TenantUnconfigured)
	for _, o := range s.wishes { // what was asked of it has nobody left to do it
		if o.Tenant == w.Tenant && o.Kind == state.SignalScan && o.Answer == "" {
			s.answer(o, state.AnswerRefused, "the tenant was forgotten")
		}
	}
	s.answer(w, state.AnswerDone, "")
}

// forgetRecords returns the end of what is forgotten, for the state and for the watermark topic.
func (s *session) forgetRecords() (out, marks []kafka.Record) {
	for _, id := range s.forgotten {
		slices.Sort(s.unpolled[id])
		for _, key := range s.unpolled[id] {
			out = append(out, kafka.Record{Key: []byte(key)})
		}
		delete(s.unpolled, id)
		r := state.ForgottenRecord(id, s.kafka.Next(), s.p.cfg.Clock.Now())
		out = append(out, kafka.Record{Key: []byte(r.Key), Value: r.Value})
		marks = append(marks, kafka.Record{Key: []byte(id)})
	}
	s.forgotten = nil
	return out, marks
}
