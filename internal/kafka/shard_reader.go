package kafka

import "context"

// ReadShard returns the committed state of a shard as it is now, of the keys that keep wants, and the offset behind it: for somebody
// who owns nothing and disturbs nobody.
func (c *Cluster) ReadShard(ctx context.Context, shard int32, keep func(key string) bool) (records map[string][]byte, next int64, err error) {
	r, err := c.NewReader()
	if err != nil {
		return nil, 0, err
	}
	defer r.Close()
	topic := c.cfg.Topics.State
	end, err := r.edge(ctx, topic, shard, r.adm.ListCommittedOffsets)
	if err != nil {
		return nil, 0, err
	}
	out := map[string][]byte{}
	for rec, err := range r.Partition(ctx, topic, shard, 0, end) {
		if err != nil {
			return nil, 0, err
		}
		switch key := string(rec.Key); {
		case rec.Value == nil:
			delete(out, key)
		case keep(key):
			out[key] = rec.Value
		}
	}
	return out, end, nil
}
