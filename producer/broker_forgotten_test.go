//go:build long

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Apache Kafka 4 (4.3.1 at least; KAFKA-20734) can forget a transaction that it has decided: killed after it has answered End and before
// the markers are written, the only broker starts, finds its partitions without a leader for a moment, takes them for deleted, and notes
// the transaction as complete. Its records stay undecided for ever, and every read_committed reader stops before them. What an operator
// has to do then, the tests do too: they write the markers, as the coordinator had decided. How often is part of the figures.

// forgotten is an open transaction of a partition of which its coordinator knows nothing.
type forgotten struct {
	topic      string
	partition  int32
	producerID int64
	epoch      int16
	start      int64
}

// completeForgotten completes what the coordinator has forgotten on the topics, and returns of how many transactions.
func (s *servers) completeForgotten(topics []string) (int, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	once, err := s.undecided(ctx, topics)
	if err != nil || len(once) == 0 {
		return 0, err
	}
	time.Sleep(2 * time.Second)
	twice, err := s.undecided(ctx, topics) // in the first look one may just have been completed
	if err != nil {
		return 0, err
	}
	all := map[int64]bool{}
	for f, epoch := range twice {
		if _, still := once[f]; !still {
			continue
		}
		commit, err := s.decision(ctx, f.producerID, f.epoch+1) // the end of a transaction raises its epoch
		if err != nil {
			return 0, err
		}
		rs, err := s.adm.WriteTxnMarkers(ctx, kadm.TxnMarkers{ProducerID: f.producerID, ProducerEpoch: f.epoch + 1, Commit: commit, CoordinatorEpoch: epoch,
			Topics: kadm.TopicsSet{f.topic: {f.partition: {}}}})
		rs.EachPartition(func(p kadm.TxnMarkersPartitionResponse) { err = errors.Join(err, p.Err) })
		if err != nil {
			return 0, fmt.Errorf("complete %+v: %w", f, err)
		}
		all[f.producerID] = true
		s.t.Logf("the broker has forgotten a transaction that it had decided (KAFKA-20734): %+v, commit %t", f, commit)
	}
	return len(all), nil
}

// undecided returns the open transactions of partitions which no coordinator has open, with the newest coordinator epoch of each.
func (s *servers) undecided(ctx context.Context, topics []string) (map[forgotten]int32, error) {
	md, err := s.adm.Metadata(ctx, topics...)
	if err != nil {
		return nil, err
	}
	set := kadm.TopicsSet{}
	for _, t := range md.Topics {
		for p := range t.Partitions {
			set.Add(t.Topic, p)
		}
	}
	producers, err := s.adm.DescribeProducers(ctx, set)
	if err != nil {
		return nil, err
	}
	out := map[forgotten]int32{}
	producers.EachPartition(func(part kadm.DescribedProducersPartition) {
		for _, p := range part.ActiveProducers {
			if p.CurrentTxnStartOffset >= 0 {
				out[forgotten{p.Topic, p.Partition, p.ProducerID, p.ProducerEpoch, p.CurrentTxnStartOffset}] = p.CoordinatorEpoch
			}
		}
	})
	listed, err := s.adm.ListTransactions(ctx, nil, nil)
	if err != nil {
		return nil, err
	}
	described, err := s.adm.DescribeTransactions(ctx, listed.TransactionalIDs()...)
	if err != nil {
		return nil, err
	}
	for _, d := range described {
		if d.Err != nil { // its coordinator may still be starting
			return nil, d.Err
		}
		for f := range out {
			if d.ProducerID == f.producerID && d.Topics.Lookup(f.topic, f.partition) {
				delete(out, f)
			}
		}
	}
	return out, nil
}

// decision returns what the coordinator's log says of the end of a transaction: it was decided to commit it, or to abort it.
func (s *servers) decision(ctx context.Context, producerID int64, epoch int16) (commit bool, err error) {
	const topic = "__transaction_state"
	ends, err := s.adm.ListEndOffsets(ctx, topic)
	if err != nil {
		return false, err
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(s.brokers...), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return false, err
	}
	defer cl.Close()
	left := map[int32]int64{}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			left[o.Partition] = o.Offset
		}
	})
	known := false
	for len(left) > 0 {
		fs := cl.PollFetches(ctx)
		if err := fs.Err(); err != nil {
			return false, err
		}
		for it := fs.RecordIter(); !it.Done(); {
			rec := it.Next()
			if rec.Offset+1 >= left[rec.Partition] {
				delete(left, rec.Partition)
			}
			var v kmsg.TxnMetadataValue
			if rec.Value == nil || v.ReadFrom(rec.Value) != nil || v.ProducerID != producerID || v.ProducerEpoch != epoch {
				continue
			}
			switch v.State {
			case kmsg.TransactionStatePrepareCommit:
				commit, known = true, true
			case kmsg.TransactionStatePrepareAbort:
				commit, known = false, true
			}
		}
	}
	if !known {
		return false, fmt.Errorf("nothing was decided for producer id %d, epoch %d", producerID, epoch)
	}
	return commit, nil
}
