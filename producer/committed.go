package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// silence is the end of a topic whose last records, before an open transaction, were aborted: nobody is shown those.
const silence = 15 * time.Second

// committed yields what a read_committed consumer is shown of a topic up to its last stable offset as of now: a plain consumer, which
// shares nothing with the program's own reader, so that it can judge it. Control records are kept to see where a partition ends.
func committed(ctx context.Context, brokers []string, topic string) iter.Seq2[*kgo.Record, error] {
	return func(yield func(*kgo.Record, error) bool) {
		if err := consume(ctx, brokers, topic, func(rec *kgo.Record) bool { return yield(rec, nil) }); err != nil {
			yield(nil, fmt.Errorf("read topic %s: %w", topic, err))
		}
	}
}

func consume(ctx context.Context, brokers []string, topic string, yield func(*kgo.Record) bool) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics(topic), kgo.KeepControlRecords(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	if err != nil {
		return err
	}
	defer cl.Close()
	ends, err := kadm.NewClient(cl).ListCommittedOffsets(ctx, topic)
	if err == nil {
		err = ends.Error()
	}
	if errors.Is(err, kerr.UnknownTopicOrPartition) { // not created yet
		return nil
	}
	if err != nil {
		return err
	}
	left := map[int32]int64{}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			left[o.Partition] = o.Offset
		}
	})
	for len(left) > 0 {
		quiet, stop := context.WithTimeout(ctx, silence)
		fs := cl.PollFetches(quiet)
		stop()
		err := fs.Err()
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, context.DeadlineExceeded):
			return nil
		case err != nil:
			return err
		}
		for it := fs.RecordIter(); !it.Done(); {
			rec := it.Next()
			end, more := left[rec.Partition]
			if more && rec.Offset+1 >= end {
				delete(left, rec.Partition)
			}
			if more && rec.Offset < end && !rec.Attrs.IsControl() && !yield(rec) {
				return nil
			}
		}
	}
	return nil
}
