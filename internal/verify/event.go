package verify

import (
	"fmt"

	"pstncalls/internal/kafka"
	"pstncalls/internal/window"
	"pstncalls/schema"
)

// event is what the proof needs of an event.
type event struct {
	dayKey
	rowID       string
	revision    int32
	fingerprint uint64
	shard       int32
	commit      int64
	avro        []byte
	home        int32 // the tenant's shard
	misplaced   bool  // the record's key is not the one that its headers name
	forgotten   bool  // its tenant was forgotten since
}

// parser reads the records of the events topic. It keeps each tenant's shard: finding it costs more than all the rest.
type parser struct {
	shards    int32
	homes     map[string]int32
	forgotten map[string]int64 // by tenant: the commit up to which its events count for nothing
}

func newParser(shards int32, forgotten map[string]int64) *parser {
	return &parser{shards: shards, homes: map[string]int32{}, forgotten: forgotten}
}

// parse reads a record of the events topic; an error says why it is none of ours.
func (p *parser) parse(rec *kafka.Record) (event, error) {
	h, err := schema.ParseHeaders(rec.Headers)
	if err != nil {
		return event{}, err
	}
	avro, err := schema.Unframe(rec.Value)
	if err != nil {
		return event{}, fmt.Errorf("value: %w", err)
	}
	day, err := window.Parse(h.Owner)
	if err != nil {
		return event{}, err // unreachable: ParseHeaders has read it
	}
	home, ok := p.homes[h.TenantID]
	if !ok {
		home = kafka.ShardOf(h.TenantID, p.shards)
		p.homes[h.TenantID] = home
	}
	return event{dayKey: dayKey{h.TenantID, day}, rowID: h.RowID, revision: h.Revision, fingerprint: h.Fingerprint, shard: h.Shard,
		commit: h.Commit, avro: avro, home: home, misplaced: h.Subject != string(rec.Key),
		forgotten: h.Commit <= p.forgotten[h.TenantID]}, nil
}
