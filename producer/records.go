package main

import (
	"encoding/json"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"

	"pstncalls/internal/graphfake"
	"pstncalls/schema"
)

// eventOf turns a record of the events topic into what the simulator's comparison takes.
func eventOf(rec *kgo.Record) (graphfake.Event, error) {
	call, err := schema.Decode(rec.Value)
	if err != nil {
		return graphfake.Event{}, fmt.Errorf("event at %s/%d offset %d: %w", rec.Topic, rec.Partition, rec.Offset, err)
	}
	value, err := json.Marshal(call)
	if err != nil {
		return graphfake.Event{}, fmt.Errorf("event at %s/%d offset %d: %w", rec.Topic, rec.Partition, rec.Offset, err)
	}
	return graphfake.Event{TenantID: call.TenantID, RowID: call.RowID, Revision: call.Revision, Value: value,
		Partition: rec.Partition, Offset: rec.Offset}, nil
}

// rejectOf names the row of a dead-letter record.
func rejectOf(rec *kgo.Record) graphfake.Reject {
	var r graphfake.Reject
	for _, h := range rec.Headers {
		switch h.Key {
		case schema.HeaderTenant:
			r.TenantID = string(h.Value)
		case schema.HeaderRowID:
			r.RowID = string(h.Value)
		}
	}
	return r
}
