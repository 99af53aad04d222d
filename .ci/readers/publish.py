"""publish.py PRODUCER BROKERS REGISTRY PREFIX FOLDER: shows FOLDER/rows.jsonl as Graph would, stage by stage, to a producer that is
killed inside transactions, until all events are on the topic PREFIX-calls; the last of them is once more there, in a transaction that
was aborted. REGISTRY may be empty. Prints one line.
"""
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

from confluent_kafka import Consumer, IsolationLevel, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

producer, brokers, registry, prefix, folder = sys.argv[1:]
topic = prefix + "-calls"
PAGE = 500
HITS = (4, 1, 1)  # kills inside a transaction that each stage wants
KILLS = 15  # at most
PACE = 0.1  # seconds a page
SLOW = 0.8  # while a stage still wants kills: however fast the machine, it is not over before them


class Graph(BaseHTTPRequestHandler):
    """getPstnCalls over the stage's rows, times of day honoured, the end exclusive."""
    protocol_version = "HTTP/1.1"
    rows, stage, pace = [], 0, PACE

    def do_GET(self):
        url = urlsplit(self.path)
        m = re.search(r"getPstnCalls\((?:fromDateTime|from)=([^,]*),(?:toDateTime|to)=([^)]*)\)", unquote(url.path))
        begin, end = ((t + "T00:00:00")[:19] for t in m.groups())
        n, skip = self.stage, int(parse_qs(url.query).get("$skip", ["0"])[0])
        found = sorted((r["start"][n], i) for i, r in enumerate(self.rows) if begin <= r["start"][n] < end)
        page = [self.rows[i]["text"][n] for _, i in found[skip:skip + PAGE]]
        link = ""
        if len(found) > skip + PAGE:
            link = f'"@odata.nextLink":"http://{self.headers["Host"]}{url.path}?$skip={skip + PAGE}",'
        body = ('{"@odata.count":%d,%s"value":[%s]}' % (len(page), link, ",".join(page))).encode()
        time.sleep(self.pace)
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], ConnectionError):  # a killed client
            super().handle_error(request, client_address)


class Events:
    """What is on the topic."""

    def __init__(self):
        self.consumer = Consumer({"bootstrap.servers": brokers, "group.id": prefix + "-publish", "isolation.level": "read_committed",
                                  "enable.auto.commit": False, "auto.offset.reset": "earliest"})
        self.admin = AdminClient({"bootstrap.servers": brokers})
        self.committed, self.partitions, self.last = 0, [], None

    def found(self):
        if not self.partitions:
            t = self.consumer.list_topics(timeout=10).topics.get(topic)
            if t is None or not t.partitions:
                return False
            self.partitions = [TopicPartition(topic, p, 0) for p in t.partitions]
            self.consumer.assign(self.partitions)
        return True

    def count(self):
        """The committed events so far."""
        while self.found() and (batch := self.consumer.consume(2000, 0.2)):
            batch = [m for m in batch if not m.error()]
            self.committed += len(batch)
            self.last = batch[-1] if batch else self.last
        return self.committed

    def ends(self, isolation):
        if not self.found():
            return 0
        try:
            asked = self.admin.list_offsets({TopicPartition(topic, p.partition): OffsetSpec.latest() for p in self.partitions},
                                            isolation_level=isolation)
            return sum(f.result().offset for f in asked.values())
        except KafkaException:
            return 0  # a leader is not known yet

    def written(self):
        return self.ends(IsolationLevel.READ_UNCOMMITTED)

    def grows(self, want, deadline):
        """Waits until a record is written; False when all that the stage wants is there, or the deadline."""
        before, look = self.written(), time.time() + 1
        while self.written() == before:
            if time.time() > look:
                look += 1
                if self.count() >= want or time.time() > deadline:
                    return False
        return True

    def in_transaction(self):
        """Whether one is open, some time after the kill: one that was about to be committed is closed by then."""
        time.sleep(0.3)
        return self.written() > self.ends(IsolationLevel.READ_COMMITTED)

    def abort(self):
        """On a busy machine every kill may miss: one transaction with an event is aborted for certain, at a partition's end."""
        producer = Producer({"bootstrap.servers": brokers, "transactional.id": prefix + "-aborted"})
        producer.init_transactions(30)
        producer.begin_transaction()
        m = self.last
        producer.produce(topic, m.value(), m.key(), m.partition(), headers=m.headers())
        if producer.flush(30):
            sys.exit("the event to abort was not written")
        producer.abort_transaction(30)


def environment(endpoint):
    env = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "TMPDIR")}
    env |= {
        "GRAPH_AUTH": "none", "GRAPH_ENDPOINT": endpoint, "GRAPH_TENANTS": "contoso", "GRAPH_REQUESTS_PER_MINUTE": "100000",
        "POLL_INTERVAL": "1s", "POLL_START": "240h", "POLL_LOOKBACK": "720h", "ADMIN_ADDR": "127.0.0.1:0",
        "KAFKA_BROKERS": brokers, "KAFKA_GROUP": prefix,
        "KAFKA_GROUP_INSTANCE_ID": prefix + "-1",  # a killed member's place is taken at once
        "KAFKA_EVENTS_TOPIC": topic, "KAFKA_STATE_TOPIC": prefix + "-state", "KAFKA_DLQ_TOPIC": prefix + "-dlq",
        "KAFKA_WATERMARK_TOPIC": prefix + "-watermark",
    }
    return env | ({"SCHEMA_REGISTRY_URL": registry} if registry else {})


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))  # or the producer would go on alone
    with open(f"{folder}/rows.jsonl") as f:
        Graph.rows = [json.loads(line) for line in f]
    with open(f"{folder}/expected.jsonl") as f:
        stages = [json.loads(line)["stage"] for line in f]
    server = Server(("127.0.0.1", 0), Graph)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    env = environment(f"http://127.0.0.1:{server.server_port}")
    events, kills, hits, process = Events(), 0, 0, None
    with open(f"{folder}/{prefix}.log", "ab") as log:
        start = lambda: subprocess.Popen([producer, "run"], env=env, stdout=log, stderr=log)
        try:
            for stage, want_hits in enumerate(HITS):
                Graph.stage, want, hit = stage, sum(1 for s in stages if s <= stage), 0
                Graph.pace = SLOW
                deadline, process = time.time() + 240, process or start()
                while hit < want_hits and kills < KILLS and events.grows(want, deadline):
                    process.kill()
                    process.wait()
                    kills += 1
                    hit += events.in_transaction()
                    process = start()
                hits += hit
                Graph.pace = PACE
                while events.count() < want and time.time() < deadline:
                    if process.poll() is not None:
                        process = start()
                if events.committed < want:
                    sys.exit(f"stage {stage}: {events.committed} of {want} events after 240 s")
        finally:
            if process:
                process.terminate()
                process.wait()
    events.abort()
    print(f"{events.count()} events, {kills} kills, {hits} of them inside a transaction")


main()
