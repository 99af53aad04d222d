package kafka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
)

// StateView is the state topic as somebody sees it who owns no shard.
type StateView struct {
	Group  string            // that the state belongs to; "" before the first start
	Shards int32             // partitions of the state topic
	Events string            // id of the events topic that the state belongs to
	Begun  map[int32]int64   // by partition of the events topic: where the state's events begin
	Marks  map[int32]Mark    // the last commit of each shard; one that was never prepared is missing
	Claims map[int32]Claim   // the newest of Group, by shard; a shard that was never claimed is missing
	Own    map[int32][]byte  // the record of each shard itself, of those that have one
	State  map[string][]byte // by key, of all shards; tombstones applied; without meta, claims, commit marks and Own

	Live map[int32]int64 // bytes of each shard's newest values and their keys

	next   map[int32]int64 // by shard: how far it was read
	keep   func(key string) bool
	sizes  map[int32]map[string]int   // of what Live counts
	claims map[int32]map[string]Claim // by key: a foreign group's claim may be the newer one
	groups map[int32]string           // of the shards that are prepared
}

// NewStateView returns a view that knows nothing yet and, of State, will keep only what keep wants. ReadOn reads into it.
func NewStateView(keep func(key string) bool) *StateView {
	return &StateView{Begun: map[int32]int64{}, Marks: map[int32]Mark{}, Claims: map[int32]Claim{}, Own: map[int32][]byte{},
		State: map[string][]byte{}, Live: map[int32]int64{}, next: map[int32]int64{}, keep: keep,
		sizes: map[int32]map[string]int{}, claims: map[int32]map[string]Claim{}, groups: map[int32]string{}}
}

// ReadState reads the state topic up to where it is decided now. It writes nothing and disturbs no owner. Shards are read one
// after the other, each of them as its owner committed it.
func (c *Cluster) ReadState(ctx context.Context) (*StateView, error) {
	v := NewStateView(func(string) bool { return true })
	if err := c.ReadOn(ctx, v); err != nil {
		return nil, err
	}
	return v, nil
}

// ReadOn reads into a view what was committed since, up to where it is decided now. After an error it may be read on.
func (c *Cluster) ReadOn(ctx context.Context, v *StateView) error {
	r, err := c.NewReader()
	if err != nil {
		return err
	}
	defer r.Close()
	topic := c.cfg.Topics.State
	ends, err := r.StableEnds(ctx, topic)
	if err != nil {
		return err
	}
	v.Shards = int32(len(ends))
	for p := range v.Shards {
		if v.sizes[p] == nil {
			v.sizes[p], v.claims[p] = map[string]int{}, map[string]Claim{}
		}
		for rec, err := range r.Partition(ctx, topic, p, v.next[p], ends[p]) {
			if err != nil {
				return err
			}
			if err := v.take(topic, p, rec); err != nil {
				return fmt.Errorf("shard %d: %w", p, err)
			}
			v.next[p] = rec.Offset + 1
		}
		v.next[p] = max(v.next[p], ends[p])
		if cl, ok := v.claims[p][claimPrefix+v.groups[p]]; ok { // the key of no claim ends before the group
			v.Claims[p] = cl
		}
	}
	return nil
}

func (v *StateView) take(topic string, p int32, rec Record) error {
	key := string(rec.Key)
	v.Live[p] -= int64(v.sizes[p][key])
	delete(v.sizes[p], key)
	if rec.Value != nil {
		v.sizes[p][key] = len(rec.Key) + len(rec.Value)
		v.Live[p] += int64(len(rec.Key) + len(rec.Value))
	}
	switch {
	case key == commitKey:
		var m Mark
		if err := decode(topic, key, rec.Value, &m); err != nil {
			return err
		}
		v.Marks[p] = m
	case key == shardKey:
		v.Own[p] = rec.Value
	case rec.Value == nil:
		delete(v.State, key)
		delete(v.claims[p], key)
	case key == metaKey:
		var m Meta
		if err := decode(topic, key, rec.Value, &m); err != nil {
			return err
		}
		v.groups[p] = m.Group
		v.Group, v.Events = m.Group, m.TopicIDs.Events
		begun, err := m.Begun()
		if err != nil {
			return err
		}
		maps.Copy(v.Begun, begun)
	case strings.HasPrefix(key, claimPrefix):
		var cl Claim
		if err := decode(topic, key, rec.Value, &cl); err != nil {
			return err
		}
		v.claims[p][key] = cl
	case v.keep(key):
		v.State[key] = rec.Value
	}
	return nil
}

// MarksNow returns the last commit of each shard as of now: of those that the view has seen, and what was committed since.
func (c *Cluster) MarksNow(ctx context.Context, v *StateView) (map[int32]Mark, error) {
	r, err := c.NewReader()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	topic := c.cfg.Topics.State
	ends, err := r.StableEnds(ctx, topic)
	if err != nil {
		return nil, err
	}
	marks := maps.Clone(v.Marks)
	for p, end := range ends {
		for rec, err := range r.Partition(ctx, topic, p, v.next[p], end) {
			if err != nil {
				return nil, err
			}
			if string(rec.Key) != commitKey || rec.Value == nil {
				continue
			}
			var m Mark
			if err := decode(topic, commitKey, rec.Value, &m); err != nil {
				return nil, fmt.Errorf("shard %d: %w", p, err)
			}
			marks[p] = m
		}
	}
	return marks, nil
}

// IsMissingTopic reports whether err says that a topic does not exist.
func IsMissingTopic(err error) bool { return errors.Is(err, kerr.UnknownTopicOrPartition) }
