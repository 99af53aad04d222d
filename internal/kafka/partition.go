package kafka

import "github.com/twmb/franz-go/pkg/kgo"

// partitioner puts state records where they belong (their partition is the shard) and all others where Java's default
// partitioner would: murmur2 of the key, so that Kafka Streams can join on it.
type partitioner struct{ state string }

func (p partitioner) ForTopic(topic string) kgo.TopicPartitioner {
	if topic == p.state {
		return kgo.ManualPartitioner().ForTopic(topic)
	}
	return kgo.StickyKeyPartitioner(nil).ForTopic(topic)
}

// ShardOf returns the shard of a tenant: murmur2 of its name over the partitions of the state topic.
func ShardOf(tenant string, partitions int32) int32 {
	r := &kgo.Record{Key: []byte(tenant)}
	return int32(kgo.StickyKeyPartitioner(nil).ForTopic("").Partition(r, int(partitions)))
}
