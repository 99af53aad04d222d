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

// toKgo returns the records as the client's. They share their memory, for they live and die with their transaction.
func toKgo(ws []toWrite) []*kgo.Record {
	n := 0
	for i := range ws {
		n += len(ws[i].rec.Headers)
	}
	out, records, headers := make([]*kgo.Record, len(ws)), make([]kgo.Record, len(ws)), make([]kgo.RecordHeader, 0, n)
	for i := range ws {
		w, from := &ws[i], len(headers)
		for _, h := range w.rec.Headers {
			headers = append(headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
		}
		out[i] = &records[i]
		*out[i] = kgo.Record{Topic: w.topic, Key: w.rec.Key, Value: w.rec.Value, Timestamp: w.rec.Timestamp, Partition: w.partition}
		if len(headers) > from {
			out[i].Headers = headers[from:len(headers):len(headers)]
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
