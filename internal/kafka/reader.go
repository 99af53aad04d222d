package kafka

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Reader reads partitions read_committed. It issues Fetch requests itself instead of consuming: a consumer never learns that
// only control records and aborted ones lie between its position and the last stable offset, so it cannot know that it has
// reached the end; a Fetch response says so. A Reader is used by one goroutine at a time.
type Reader struct {
	cl      *kgo.Client
	adm     *kadm.Client
	leaders map[string]topicLeaders
	wait    time.Duration // how long a broker may hold a Fetch that finds nothing
}

type topicLeaders struct {
	id      [16]byte
	leaders map[int32]int32
}

// NewReader returns a Reader with a connection of its own. Close it.
func (c *Cluster) NewReader() (*Reader, error) {
	cl, err := c.client()
	if err != nil {
		return nil, err
	}
	return &Reader{cl: cl, adm: kadm.NewClient(cl), leaders: map[string]topicLeaders{}, wait: fetchWait}, nil
}

// Close frees the reader's connections.
func (r *Reader) Close() { r.cl.Close() }

// Forever is an end that is never reached: Partition then follows the log until its context ends.
const Forever = int64(1) << 62

const (
	fetchWait     = 250 * time.Millisecond
	fetchMaxBytes = 1 << 20 // verify reads eight partitions at once, and what is read takes several times as much
	retryPause    = 250 * time.Millisecond
)

// Partition yields the committed records of one partition with offsets in [from, until), in order; a from before the log's
// start means the start. It ends when everything before until has been read, waiting for transactions that are still open
// below it. Errors of the connection and moved leaders are retried until ctx ends; any other error is yielded, once, at the end.
func (r *Reader) Partition(ctx context.Context, topic string, partition int32, from, until int64) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		for pos := from; pos < until; {
			recs, next, err := r.fetch(ctx, topic, partition, pos)
			if err != nil {
				if ctx.Err() != nil {
					yield(Record{}, context.Cause(ctx))
					return
				}
				if !transient(err) {
					yield(Record{}, fmt.Errorf("read %s/%d at offset %d: %w", topic, partition, pos, err))
					return
				}
				delete(r.leaders, topic) // the leader may have moved
				select {
				case <-time.After(retryPause):
				case <-ctx.Done():
				}
				continue
			}
			for _, rec := range recs {
				if rec.Offset >= until {
					return
				}
				if !yield(fromKgo(rec), nil) {
					return
				}
			}
			pos = max(pos, next)
		}
	}
}

// finalError is an error that reading again does not mend.
type finalError struct{ error }

func (e finalError) Unwrap() error { return e.error }

func transient(err error) bool {
	var final finalError
	if errors.As(err, &final) {
		return false
	}
	if errors.Is(err, kerr.UnknownTopicOrPartition) || errors.Is(err, kerr.UnknownTopicID) || denied(err) {
		return errors.Is(err, kerr.UnknownTopicID) // a stale id is looked up again; an unknown name stays unknown
	}
	var ke *kerr.Error
	if errors.As(err, &ke) {
		return ke.Retriable
	}
	return true // network
}

// fetch returns the committed records from pos on that one response holds, and the position after it.
func (r *Reader) fetch(ctx context.Context, topic string, partition int32, pos int64) ([]*kgo.Record, int64, error) {
	tl, err := r.topic(ctx, topic)
	if err != nil {
		return nil, pos, err
	}
	leader, ok := tl.leaders[partition]
	if !ok {
		return nil, pos, kerr.UnknownTopicOrPartition
	}
	if leader < 0 {
		return nil, pos, kerr.LeaderNotAvailable
	}
	req := kmsg.NewPtrFetchRequest()
	req.MaxWaitMillis = int32(r.wait.Milliseconds())
	req.MinBytes = 1
	// The partition's bound counts, for it is the only one. kfake (20260918) leaves out the aborted transactions of an answer that the
	// request's bound has cut short: its records would be taken for committed ones.
	req.MaxBytes = 2 * fetchMaxBytes
	req.IsolationLevel = 1 // read_committed
	req.SessionEpoch = -1  // no fetch session
	t := kmsg.NewFetchRequestTopic()
	t.Topic, t.TopicID = topic, tl.id
	p := kmsg.NewFetchRequestTopicPartition()
	p.Partition, p.FetchOffset, p.PartitionMaxBytes = partition, pos, fetchMaxBytes
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)

	kresp, err := r.cl.Broker(int(leader)).RetriableRequest(ctx, req)
	if err != nil {
		return nil, pos, err
	}
	resp := kresp.(*kmsg.FetchResponse)
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return nil, pos, err
	}
	if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
		return nil, pos, finalError{errors.New("the broker's fetch response does not hold the one partition that was asked for")}
	}
	rp := &resp.Topics[0].Partitions[0]
	if rp.ErrorCode == kerr.OffsetOutOfRange.Code {
		start, err := r.edge(ctx, topic, partition, r.adm.ListStartOffsets)
		if err != nil {
			return nil, pos, err
		}
		if start > pos {
			return nil, start, nil // retention or DeleteRecords took what lay before
		}
		return nil, pos, finalError{fmt.Errorf("the log ends before offset %d: it was truncated or re-created", pos)}
	}
	if err := kerr.ErrorForCode(rp.ErrorCode); err != nil {
		return nil, pos, err
	}
	fp, next := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{
		Offset: pos, IsolationLevel: kgo.ReadCommitted(), Topic: topic, Partition: partition,
	}, rp, kgo.DefaultDecompressor(), nil)
	if fp.Err != nil {
		return nil, pos, finalError{fmt.Errorf("damaged batch: %w", fp.Err)}
	}
	return fp.Records, next, nil
}

func (r *Reader) topic(ctx context.Context, topic string) (topicLeaders, error) {
	if tl, ok := r.leaders[topic]; ok {
		return tl, nil
	}
	md, err := r.adm.Metadata(ctx, topic)
	if err != nil {
		return topicLeaders{}, err
	}
	td := md.Topics[topic]
	if td.Err != nil {
		return topicLeaders{}, td.Err
	}
	tl := topicLeaders{id: td.ID, leaders: map[int32]int32{}}
	for _, p := range td.Partitions {
		tl.leaders[p.Partition] = p.Leader
	}
	r.leaders[topic] = tl
	return tl, nil
}

type listOffsets = func(ctx context.Context, topics ...string) (kadm.ListedOffsets, error)

func (r *Reader) edge(ctx context.Context, topic string, partition int32, list listOffsets) (int64, error) {
	all, err := r.edges(ctx, topic, list)
	if err != nil {
		return 0, err
	}
	o, ok := all[partition]
	if !ok {
		return 0, kerr.UnknownTopicOrPartition
	}
	return o, nil
}

func (r *Reader) edges(ctx context.Context, topic string, list listOffsets) (map[int32]int64, error) {
	lo, err := list(ctx, topic)
	if err != nil {
		return nil, fmt.Errorf("offsets of %s: %w", topic, err)
	}
	out := map[int32]int64{}
	for p, o := range lo[topic] {
		if o.Err != nil {
			return nil, fmt.Errorf("offsets of %s/%d: %w", topic, p, o.Err)
		}
		out[p] = o.Offset
	}
	return out, nil
}

// Starts returns the first offset of each partition: what lay before is gone, by retention or by DeleteRecords.
func (r *Reader) Starts(ctx context.Context, topic string) (map[int32]int64, error) {
	return r.edges(ctx, topic, r.adm.ListStartOffsets)
}

// TopicID returns the id that the cluster gave the topic when it was created, as Meta notes it.
func (r *Reader) TopicID(ctx context.Context, topic string) (string, error) {
	tl, err := r.topic(ctx, topic)
	if err != nil {
		return "", fmt.Errorf("topic %s: %w", topic, err)
	}
	return kadm.TopicID(tl.id).String(), nil
}

// Ends returns the high watermark of each partition: the offset after the last record, committed or not.
func (r *Reader) Ends(ctx context.Context, topic string) (map[int32]int64, error) {
	return r.edges(ctx, topic, r.adm.ListEndOffsets)
}

// StableEnds returns the last stable offset of each partition: all before it is decided.
func (r *Reader) StableEnds(ctx context.Context, topic string) (map[int32]int64, error) {
	return r.edges(ctx, topic, r.adm.ListCommittedOffsets)
}

// Decided waits until every transaction that is open on the topic now is decided, and readers may see it: its own timeout at most.
func (r *Reader) Decided(ctx context.Context, topic string) error {
	ends, err := r.Ends(ctx, topic)
	for err == nil {
		var stable map[int32]int64
		if stable, err = r.StableEnds(ctx, topic); err != nil {
			break
		}
		maps.DeleteFunc(ends, func(p int32, end int64) bool { return stable[p] >= end })
		if len(ends) == 0 {
			return nil
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
	}
	return fmt.Errorf("wait for the transactions of %s: %w", topic, err)
}

// Since returns, for each partition, the first offset whose record was published at or after t (the end where there is none).
func (r *Reader) Since(ctx context.Context, topic string, t time.Time) (map[int32]int64, error) {
	return r.edges(ctx, topic, func(ctx context.Context, topics ...string) (kadm.ListedOffsets, error) {
		return r.adm.ListOffsetsAfterMilli(ctx, t.UnixMilli(), topics...)
	})
}
