package verify_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/big"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"pstncalls/internal/verify"
)

// BenchmarkMemory proves 50 million events, or as many as PSTNCALLS_TEST_EVENTS says, of which no broker holds more than 20,000: an
// embedded one gives these again and again, each time with the offsets that follow. It holds them in this process, whose memory is
// what is reported. In the second round all days differ, so that as many events as may be are held to name their rows.
func BenchmarkMemory(b *testing.B) {
	const days, each = 20, 1000
	times := int64(countOf(b, 50_000_000) / (days * each))
	for _, differ := range []bool{false, true} {
		name := "proved"
		if differ {
			name = "all differ"
		}
		b.Run(name, func(b *testing.B) {
			fake := newFake(b)
			w := worldOn(b, fake.ListenAddrs())
			for d := today - days + 1; d <= today; d++ {
				w.scan(d, real(d, each))
			}
			w.settle(today)
			w.state, w.last = nil, nil
			view := w.read()
			for key, value := range view.State {
				if !differ && strings.Contains(key, "/month/") {
					view.State[key] = multiplied(b, value, times)
				}
			}
			repeat(b, fake, w.cluster.Topics().Events, times)
			for b.Loop() {
				runtime.GC()
				debug.FreeOSMemory()
				began := processor()
				peak := watchHeap()
				r, err := verify.Topics(context.Background(), w.cluster, view, verify.Options{})
				heap := peak()
				if err != nil {
					b.Fatal(err)
				}
				if v := r.Verdict; v.Rows != times*days*each || !differ && v.Proved != v.Days || differ && v.Differs != days {
					b.Fatal(v)
				}
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(float64(r.Records), "events")
				b.ReportMetric(float64(heap)/(1<<20), "heap-MiB")
				b.ReportMetric(float64(resident())/1024, "rss-MiB")
				b.ReportMetric((processor()-began).Seconds()*1e6/float64(r.Records), "cpu-µs/event")
			}
		})
	}
}

// multiplied is the record of a month whose events were all published so many times.
func multiplied(t testing.TB, value []byte, times int64) []byte {
	var m map[string]any
	if err := json.Unmarshal(value, &m); err != nil {
		t.Fatal(err)
	}
	days, _ := m["days"].(map[string]any)
	for _, day := range days {
		d := day.(map[string]any)
		for _, key := range []string{"rows", "events"} {
			d[key] = int64(d[key].(float64)) * times
		}
		sum, _ := new(big.Int).SetString(d["digest"].(string), 16)
		sum.Mul(sum, big.NewInt(times)).Mod(sum, new(big.Int).Lsh(big.NewInt(1), 128))
		d["digest"] = fmt.Sprintf("%032x", sum)
	}
	out, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// repeat makes a broker show the records of a topic so many times, one after the other.
func repeat(t testing.TB, fake *kfake.Cluster, topic string, times int64) {
	t.Helper()
	logs := map[int32][][]byte{} // by partition: the batches
	lengths := map[int32]int64{} // in offsets
	cl, err := kgo.NewClient(kgo.SeedBrokers(fake.ListenAddrs()...))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	meta, err := kadm.NewClient(cl).Metadata(context.Background(), topic)
	if err != nil {
		t.Fatal(err)
	}
	id := [16]byte(meta.Topics[topic].ID)
	for _, p := range meta.Topics[topic].Partitions {
		req, ft, fp := kmsg.NewPtrFetchRequest(), kmsg.NewFetchRequestTopic(), kmsg.NewFetchRequestTopicPartition()
		req.MaxBytes, req.SessionEpoch = 1<<30, -1
		fp.Partition, fp.PartitionMaxBytes = p.Partition, 1<<30
		ft.Topic, ft.TopicID, ft.Partitions = topic, id, append(ft.Partitions, fp)
		req.Topics = append(req.Topics, ft)
		resp, err := cl.Broker(int(p.Leader)).RetriableRequest(context.Background(), req)
		if err != nil {
			t.Fatal(err)
		}
		rp := resp.(*kmsg.FetchResponse).Topics[0].Partitions[0]
		for in := rp.RecordBatches; len(in) > 0; {
			n := 12 + binary.BigEndian.Uint32(in[8:])
			logs[p.Partition] = append(logs[p.Partition], in[:n])
			in = in[n:]
		}
		lengths[p.Partition] = rp.HighWatermark
	}
	fake.ControlKey(int16(kmsg.ListOffsets), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		fake.KeepControl()
		req := kreq.(*kmsg.ListOffsetsRequest)
		if len(req.Topics) != 1 || req.Topics[0].Topic != topic || req.Topics[0].Partitions[0].Timestamp != -1 {
			return nil, nil, false
		}
		resp, rt := req.ResponseKind().(*kmsg.ListOffsetsResponse), kmsg.NewListOffsetsResponseTopic()
		rt.Topic = topic
		for _, p := range req.Topics[0].Partitions {
			rp := kmsg.NewListOffsetsResponseTopicPartition()
			rp.Partition, rp.Offset = p.Partition, lengths[p.Partition]*times
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
		return resp, nil, true
	})
	fake.ControlKey(int16(kmsg.Fetch), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		fake.KeepControl()
		req := kreq.(*kmsg.FetchRequest)
		if len(req.Topics) != 1 || req.Topics[0].TopicID != id {
			return nil, nil, false
		}
		p := req.Topics[0].Partitions[0]
		length := lengths[p.Partition]
		resp, rt, rp := req.ResponseKind().(*kmsg.FetchResponse), kmsg.NewFetchResponseTopic(), kmsg.NewFetchResponseTopicPartition()
		rp.Partition, rp.HighWatermark, rp.LastStableOffset, rp.ErrorCode = p.Partition, length*times, length*times, 0
		round, from := p.FetchOffset/length, p.FetchOffset%length
		for ; round < times && len(rp.RecordBatches) < int(p.PartitionMaxBytes); round++ {
			for _, batch := range logs[p.Partition] {
				first := int64(binary.BigEndian.Uint64(batch))
				if first+int64(binary.BigEndian.Uint32(batch[23:])) < from || len(rp.RecordBatches) >= int(p.PartitionMaxBytes) {
					continue
				}
				at := len(rp.RecordBatches)
				rp.RecordBatches = append(rp.RecordBatches, batch...)
				binary.BigEndian.PutUint64(rp.RecordBatches[at:], uint64(first+round*length))
			}
			from = 0
		}
		if p.FetchOffset >= length*times {
			rp.ErrorCode = kerr.OffsetOutOfRange.Code
		}
		rt.Topic, rt.TopicID, rt.Partitions = topic, req.Topics[0].TopicID, append(rt.Partitions, rp)
		resp.Topics = append(resp.Topics, rt)
		return resp, nil, true
	})
}
