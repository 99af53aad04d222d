package kafka

import "context"

// Look is what a shard's state says of its owner to somebody who disturbs nobody.
type Look struct {
	Claim Claim // the newest committed one of this group
	Next  int64 // the offset after the newest committed record: an owner that commits moves it on
}

// Look reads what was committed to a shard's state since last; the zero Look reads all of it.
func (c *Cluster) Look(ctx context.Context, shard int32, last Look) (Look, error) {
	r, err := c.NewReader()
	if err != nil {
		return last, err
	}
	defer r.Close()
	return c.look(ctx, r, shard, last)
}

func (c *Cluster) look(ctx context.Context, r *Reader, shard int32, last Look) (Look, error) {
	topic := c.cfg.Topics.State
	end, err := r.edge(ctx, topic, shard, r.adm.ListCommittedOffsets)
	if err != nil {
		return last, err
	}
	now := last
	for rec, err := range r.Partition(ctx, topic, shard, last.Next, end) {
		if err != nil {
			return last, err
		}
		now.Next = rec.Offset + 1
		if string(rec.Key) == claimPrefix+c.cfg.Group && rec.Value != nil {
			now.Claim = Claim{} // decoding would leave an older claim's Released in place
			if err := decode(topic, string(rec.Key), rec.Value, &now.Claim); err != nil {
				return last, err
			}
		}
	}
	return now, nil
}
