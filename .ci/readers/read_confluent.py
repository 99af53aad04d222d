"""read_confluent.py BROKERS REGISTRY TOPIC EXPECTED: confluent-kafka (librdkafka) and fastavro; the schema comes from the registry, by its id."""
import io
import json
import struct
import sys
import urllib.request

import fastavro
from check import Check
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

brokers, registry, topic, expected = sys.argv[1:]
consumer = Consumer({"bootstrap.servers": brokers, "group.id": topic + "-confluent", "isolation.level": "read_committed",
                     "enable.partition.eof": True, "enable.auto.commit": False})
partitions = list(consumer.list_topics(topic, 10).topics[topic].partitions)
consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in partitions])
check, schemas, ended = Check(expected, len(partitions)), {}, set()
while len(ended) < len(partitions):
    m = consumer.poll(20)
    if m is None:
        print("20 s without an event or an end")
        break
    if m.error():
        ended.add(m.partition())  # the end of a partition
        continue
    magic, schema_id = struct.unpack(">bI", m.value()[:5])
    assert magic == 0, "not Confluent's framing"
    if schema_id not in schemas:
        with urllib.request.urlopen(f"{registry}/schemas/ids/{schema_id}", timeout=10) as answer:
            schemas[schema_id] = fastavro.parse_schema(json.loads(json.load(answer)["schema"]))
    body = io.BytesIO(m.value()[5:])
    fields = fastavro.schemaless_reader(body, schemas[schema_id])
    assert not body.read(), "bytes after the event"
    check.event(m.partition(), m.timestamp()[1], m.key(), [(k, v.decode()) for k, v in m.headers()], fields, schema_id)
consumer.close()
check.end()
