package kafka

import (
	"context"
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Facts are what the cluster says of the shards, beside their state. A map is nil where that could not be learnt: for want of a
// right or of an answer, or in the middle of a rebalance.
type Facts struct {
	Assigned map[int32]string      // the host of the group's member that has the shard
	Open     map[int32]Transaction // those that are under way
	Bytes    map[int32]int64       // what the shard's partition takes on the broker where it takes most
}

// Transaction is one of a shard.
type Transaction struct {
	Began   time.Time
	Timeout time.Duration
}

// Facts asks for them, in requests that change nothing.
func (c *Cluster) Facts(ctx context.Context, shards int32) (Facts, error) {
	cl, err := c.client(kgo.RequestRetries(2), kgo.RetryTimeout(askWait))
	if err != nil {
		return Facts{}, err
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	return Facts{Assigned: c.assigned(ctx, adm), Open: c.open(ctx, adm, shards), Bytes: c.bytes(ctx, adm)}, nil
}

func (c *Cluster) assigned(ctx context.Context, adm *kadm.Client) map[int32]string {
	ctx, cancel := context.WithTimeout(ctx, askWait)
	defer cancel()
	out := map[int32]string{}
	gs, err := adm.DescribeGroups(ctx, c.cfg.Group)
	g, ok := gs[c.cfg.Group]
	switch {
	case err != nil || !ok || g.Err != nil && !errors.Is(g.Err, kerr.GroupIDNotFound):
		return nil
	case g.Err == nil && g.ProtocolType != "" && g.State != "Dead" && g.State != "Empty":
		if g.State != "Stable" {
			return nil
		}
		for _, m := range g.Members {
			if a, ok := m.Assigned.AsConsumer(); ok {
				for _, t := range a.Topics {
					c.assign(out, m.ClientHost, t.Topic, t.Partitions...)
				}
			}
		}
		return out
	}
	// Of the other protocol, perhaps.
	news, err := adm.DescribeConsumerGroups(ctx, c.cfg.Group)
	n, ok := news[c.cfg.Group]
	switch {
	case err != nil || !ok || n.Err != nil: // there is none, or the brokers do not know the protocol
		if errors.Is(err, kerr.GroupAuthorizationFailed) {
			return nil
		}
		return out
	case n.State != "Stable" && n.State != "Empty" && n.State != "Dead":
		return nil
	}
	for _, m := range n.Members {
		for t, ps := range m.Assignment {
			for p := range ps {
				c.assign(out, m.ClientHost, t, p)
			}
		}
	}
	return out
}

func (c *Cluster) assign(out map[int32]string, host, topic string, ps ...int32) {
	if topic != c.cfg.Topics.State && topic != "" { // the group's members have no other; the embedded Kafka leaves the name out
		return
	}
	for _, p := range ps {
		out[p] = host
	}
}

func (c *Cluster) open(ctx context.Context, adm *kadm.Client, shards int32) map[int32]Transaction {
	ctx, cancel := context.WithTimeout(ctx, askWait)
	defer cancel()
	var ids []string
	for p := range shards {
		ids = append(ids, c.TransactionalID(p))
	}
	ts, err := adm.DescribeTransactions(ctx, ids...)
	if err != nil {
		return nil
	}
	out := map[int32]Transaction{}
	for p := range shards {
		t, ok := ts[c.TransactionalID(p)]
		if !ok || t.Err != nil || t.StartTimestamp <= 0 {
			continue
		}
		switch t.State {
		case "Ongoing", "PrepareCommit", "PrepareAbort", "PrepareEpochFence":
			out[p] = Transaction{time.UnixMilli(t.StartTimestamp).UTC(), time.Duration(t.TimeoutMillis) * time.Millisecond}
		}
	}
	return out
}

func (c *Cluster) bytes(ctx context.Context, adm *kadm.Client) map[int32]int64 {
	ctx, cancel := context.WithTimeout(ctx, askWait)
	defer cancel()
	md, err := adm.Metadata(ctx, c.cfg.Topics.State)
	if err != nil {
		return nil
	}
	var of kadm.TopicsSet
	for p := range md.Topics[c.cfg.Topics.State].Partitions {
		of.Add(c.cfg.Topics.State, p)
	}
	dirs, _ := adm.DescribeAllLogDirs(ctx, of) // of those brokers that answer: where one is down the others know enough
	var out map[int32]int64
	dirs.Each(func(d kadm.DescribedLogDir) {
		for p, dp := range d.Topics[c.cfg.Topics.State] {
			if out == nil {
				out = map[int32]int64{}
			}
			if !dp.IsFuture {
				out[p] = max(out[p], dp.Size)
			}
		}
	})
	return out
}
