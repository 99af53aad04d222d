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
	State  map[string][]byte // by key; tombstones applied; without meta, claims and commit marks

	next map[int32]int64 // by shard: how far it was read
}

// ReadState reads the state topic up to where it is decided now. It writes nothing and disturbs no owner. Shards are read one
// after the other, each of them as its owner committed it.
func (c *Cluster) ReadState(ctx context.Context) (*StateView, error) {
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
	v := &StateView{Shards: int32(len(ends)), Begun: map[int32]int64{}, Marks: map[int32]Mark{}, Claims: map[int32]Claim{},
		State: map[string][]byte{}, next: ends}
	for p := range v.Shards {
		claims := map[string]Claim{} // by key: a foreign group's claim may be the newer one
		group := ""
		for rec, err := range r.Partition(ctx, topic, p, 0, ends[p]) {
			if err != nil {
				return nil, err
			}
			switch key := string(rec.Key); {
			case key == commitKey:
				var m Mark
				if err := decode(topic, key, rec.Value, &m); err != nil {
					return nil, fmt.Errorf("shard %d: %w", p, err)
				}
				v.Marks[p] = m
			case rec.Value == nil:
				delete(v.State, key)
				delete(claims, key)
			case key == metaKey:
				var m Meta
				if err := decode(topic, key, rec.Value, &m); err != nil {
					return nil, fmt.Errorf("shard %d: %w", p, err)
				}
				group, v.Events = m.Group, m.TopicIDs.Events
				begun, err := m.Begun()
				if err != nil {
					return nil, fmt.Errorf("shard %d: %w", p, err)
				}
				maps.Copy(v.Begun, begun)
			case strings.HasPrefix(key, claimPrefix):
				var cl Claim
				if err := decode(topic, key, rec.Value, &cl); err != nil {
					return nil, fmt.Errorf("shard %d: %w", p, err)
				}
				claims[key] = cl
			default:
				v.State[key] = rec.Value
			}
		}
		if group == "" {
			continue // not prepared yet
		}
		v.Group = group
		if cl, ok := claims[claimPrefix+group]; ok {
			v.Claims[p] = cl
		}
	}
	return v, nil
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
