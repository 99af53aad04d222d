"""tidy.py BROKERS REGISTRY PREFIX: deletes the topics and groups that begin with PREFIX, and the subjects of those topics."""
import sys
import urllib.error
import urllib.parse
import urllib.request

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

brokers, registry, prefix = sys.argv[1:]
admin = AdminClient({"bootstrap.servers": brokers})
topics = [t for t in admin.list_topics(timeout=10).topics if t.startswith(prefix)]
groups = [g.group_id for g in admin.list_consumer_groups().result().valid if g.group_id.startswith(prefix)]
for done in [*(admin.delete_topics(topics) if topics else {}).values(), *(admin.delete_consumer_groups(groups) if groups else {}).values()]:
    try:
        done.result()
    except KafkaException as e:  # a group of a reader that was killed lives on for some seconds
        print("tidy:", e, file=sys.stderr)
for t in topics:
    for kind in "", "?permanent=true":
        try:
            urllib.request.urlopen(urllib.request.Request(f"{registry}/subjects/{urllib.parse.quote(t)}-value{kind}", method="DELETE"), timeout=10)
        except urllib.error.HTTPError:
            pass  # without one
