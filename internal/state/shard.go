package state

import "fmt"

// Shard is the record of a shard itself, under the key ShardKey: what concerns none of its tenants alone.
type Shard struct {
	V          int         `json:"v"`
	Conditions []Condition `json:"conditions,omitempty"`

	dirty bool
}

// ShardKey is the key of a shard's record. No tenant's key is like it.
const ShardKey = "shard"

// LoadShard reads the shard's record; a shard that has none yet has no conditions.
func LoadShard(records map[string][]byte) (*Shard, error) {
	s := &Shard{V: Version}
	value := records[ShardKey]
	if value == nil {
		return s, nil
	}
	if err := decodeJSON(ShardKey, value, s); err != nil {
		return nil, fmt.Errorf("record of the shard: %w", err)
	}
	return s, nil
}

// Change changes the shard's record.
func (s *Shard) Change(change func(*Shard)) {
	change(s)
	s.dirty = true
}

// Dirty reports whether the record differs from the state topic.
func (s *Shard) Dirty() bool { return s.dirty }

// Records returns the record if it differs from the state topic. It must be committed, or the Shard be thrown away.
func (s *Shard) Records() []Record {
	if !s.dirty {
		return nil
	}
	s.dirty = false
	return []Record{{ShardKey, encodeJSON(s)}}
}

// Stranger is the record of a tenant whose ledgers nobody needs now: of one that is not polled.
type Stranger struct {
	ID     string
	Header Header
}

// IsTenant reports whether a key is that of a tenant's own record.
func IsTenant(key string) bool {
	id, ok := TenantOf(key)
	return ok && key == prefix(id)+"tenant"
}

// Strangers returns the tenants of a state that are none of those named, in no order. What cannot be read is left alone: who is
// configured for it says so.
func Strangers(named func(tenant string) bool, records map[string][]byte) (out []Stranger) {
	for key, value := range records {
		id, ok := TenantOf(key)
		if !ok || !IsTenant(key) || named(id) {
			continue
		}
		if h, err := HeaderOf(key, value); err == nil {
			out = append(out, Stranger{id, h})
		}
	}
	return out
}

// HeaderOf reads a tenant's own record.
func HeaderOf(key string, value []byte) (h Header, err error) {
	err = decodeJSON(key, value, &h)
	return h, err
}

// Record returns the tenant's record.
func (s *Stranger) Record() Record { return Record{prefix(s.ID) + "tenant", encodeJSON(s.Header)} }
