package kafka

import (
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"pstncalls/schema"
)

// Record is one Kafka record. A nil Value is a tombstone.
type Record struct {
	Key, Value []byte
	Headers    []schema.Header
	Timestamp  time.Time

	// Partition and Offset are set on records that were read, and ignored on records to be written.
	Partition int32
	Offset    int64
}

// recordOverhead bounds what Kafka's record format adds to the bytes of key, value and headers: lengths, deltas, the batch header.
const recordOverhead = 256

// Size returns an upper bound of the record's size in a batch of its own, in bytes, before compression.
func (r *Record) Size() int {
	n := recordOverhead + len(r.Key) + len(r.Value)
	for _, h := range r.Headers {
		n += len(h.Key) + len(h.Value) + 10
	}
	return n
}

func (r *Record) toKgo(topic string) *kgo.Record {
	out := &kgo.Record{Topic: topic, Key: r.Key, Value: r.Value, Timestamp: r.Timestamp}
	if len(r.Headers) > 0 {
		out.Headers = make([]kgo.RecordHeader, len(r.Headers))
		for i, h := range r.Headers {
			out.Headers[i] = kgo.RecordHeader{Key: h.Key, Value: h.Value}
		}
	}
	return out
}

func fromKgo(r *kgo.Record) Record {
	out := Record{Key: r.Key, Value: r.Value, Timestamp: r.Timestamp.UTC(), Partition: r.Partition, Offset: r.Offset}
	if len(r.Headers) > 0 {
		out.Headers = make([]schema.Header, len(r.Headers))
		for i, h := range r.Headers {
			out.Headers[i] = schema.Header{Key: h.Key, Value: h.Value}
		}
	}
	return out
}
