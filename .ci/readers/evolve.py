"""evolve.py BROKERS REGISTRY TOPIC SCHEMA.avsc: the day the schema gets a field for mediaRegion, which Microsoft has added.

The old event is one that the producer has published, with mediaRegion in extra; the new one is what its next release would publish
of such a row. Both are read with either schema by fastavro, which resolves them as Avro says. The registry, at the level FULL that
the producer has set, has to take the new schema, and to refuse others. Both events go to TOPIC-evolution for further readers.
"""
import io
import json
import struct
import sys
import urllib.error
import urllib.request

import fastavro
from check import murmur2
from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

brokers, registry, topic, avsc = sys.argv[1:]
VALUE = 'EMEA "west" ü'
faults = []


def expect(what, is_, want):
    if is_ != want:
        faults.append(f"{what}: {is_!r:.300}, want {want!r:.300}")


def ask(method, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(registry + path, data, {"Content-Type": "application/vnd.schemaregistry.v1+json"}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as e:
        return e.code, json.load(e)


def with_field(schema, **field):
    return schema | {"fields": schema["fields"] + [field]}


def published(row_id, key):
    """The value of the event, as it is on the topic."""
    consumer = Consumer({"bootstrap.servers": brokers, "group.id": topic + "-evolve", "enable.partition.eof": True, "enable.auto.commit": False})
    n = len(consumer.list_topics(topic, 10).topics[topic].partitions)
    consumer.assign([TopicPartition(topic, murmur2(key) % n, OFFSET_BEGINNING)])
    while (m := consumer.poll(20)) is not None and not m.error():
        if dict(m.headers())["ce_id"] == row_id.encode() + b"/0":
            consumer.close()
            return m.value()
    sys.exit(f"{row_id} is not on the topic")


def media_region(event):
    """How a reader has both: the field, and where that is null what extra holds, which is raw JSON."""
    value = event.get("mediaRegion")
    return json.loads(event["extra"].get("mediaRegion", "null")) if value is None else value


with open(avsc) as f:
    old = json.load(f)
new = with_field(old, name="mediaRegion", type=["null", "string"], default=None, doc="Region of the media relay.")
subject = f"/subjects/{topic}-value/versions"

# The registry.
expect("the level", ask("GET", f"/config/{topic}-value")[1].get("compatibilityLevel"), "FULL")
for what, schema in {
    "a field without a default": with_field(old, name="required", type=["null", "string"]),
    "another type of a field": old | {"fields": [f | {"type": "string"} if f["name"] == "revision" else f for f in old["fields"]]},
    "a field that has no default removed": old | {"fields": [f for f in old["fields"] if f["name"] != "rowId"]},
}.items():
    expect(what, ask("POST", subject, {"schema": json.dumps(schema)})[0], 409)
status, answer = ask("POST", subject, {"schema": json.dumps(new)})
expect("the new schema", status, 200)

# The events.
value = published("planted-new", b"new")
parsed_old, parsed_new = fastavro.parse_schema(old), fastavro.parse_schema(new)
before = fastavro.schemaless_reader(io.BytesIO(value[5:]), parsed_old)
after = before | {"rowId": "planted-next", "id": "planted-next", "mediaRegion": VALUE, "extra": {}}
out = io.BytesIO()
fastavro.schemaless_writer(out, parsed_new, after)
without = {k: v for k, v in after.items() if k != "mediaRegion"}
for what, body, writer, reader, want, region in (
    ("old event, old schema", value[5:], parsed_old, parsed_old, before, VALUE),
    ("old event, new schema", value[5:], parsed_old, parsed_new, before | {"mediaRegion": None}, VALUE),
    ("new event, old schema", out.getvalue(), parsed_new, parsed_old, without, None),  # the old schema has no place for it
    ("new event, new schema", out.getvalue(), parsed_new, parsed_new, after, VALUE),
):
    event = fastavro.schemaless_reader(io.BytesIO(body), writer, reader)
    expect(what, event, want)
    expect(what + ", mediaRegion", media_region(event), region)
expect("extra of the old event", before["extra"], {"mediaRegion": json.dumps(VALUE, ensure_ascii=False)})

admin = AdminClient({"bootstrap.servers": brokers})
admin.create_topics([NewTopic(topic + "-evolution", 1)])[topic + "-evolution"].result()
producer = Producer({"bootstrap.servers": brokers})
producer.produce(topic + "-evolution", value, b"new")
producer.produce(topic + "-evolution", struct.pack(">bI", 0, answer.get("id", 0)) + out.getvalue(), b"new")
expect("events that were not sent", producer.flush(20), 0)
print(*faults, sep="\n")
print(f"read=4 missing=0 doubled=0 wrong={len(faults)} aborted_seen=0")
sys.exit(bool(faults))
