package graphfake

import (
	"slices"

	"pstncalls/internal/graphfake/calllog"
)

// sort puts the rows of a range, which come by start, into the configured order.
func (s *Server) sort(log *calllog.Log, items []calllog.Item, req Request) {
	switch s.cfg.Order {
	case Newest:
		slices.Reverse(items)
	case Visible:
		slices.SortFunc(items, calllog.ByVisible)
	case ByID:
		log.SortByID(items)
	case Random:
		slices.SortFunc(items, calllog.ByHash(s.scan(req)))
	}
}

// scan returns the number of the scan that the request belongs to: the last one of this range whose first page was asked for. $skip
// says no more than that, so two scans of one range at the same time share a number.
func (s *Server) scan(req Request) uint64 {
	key := req.Tenant + req.From.String() + req.To.String()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.scans) > 1<<16 {
		clear(s.scans) // of a simulator that runs for months
	}
	if req.Skip == 0 {
		s.scans[key]++
	}
	return s.scans[key]
}
