"""check.py: compares events with expected.jsonl, for the readers in Python. The ones in Java have Check.java; the two share no code."""
import json
import re
import struct
import sys
from datetime import datetime, timedelta, timezone
from decimal import Decimal

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
HEADERS = ("ce_specversion", "ce_id", "ce_type", "ce_source", "ce_time", "ce_subject", "ce_dataschema", "content-type",
           "pstn-fingerprint", "pstn-owner", "pstn-commit")


def millis(t):
    return (t - EPOCH) // timedelta(milliseconds=1)


def canonical(v):
    """A field's text: None stays, times are milliseconds, amounts have six places, units are the JSON array of their ids, extra is
    sorted lines name=JSON."""
    if v is None or isinstance(v, str):
        return v
    if isinstance(v, datetime):
        return str(millis(v))
    if isinstance(v, Decimal):
        return format(v, "f")
    if isinstance(v, list):
        return json.dumps([unit["id"] for unit in v], separators=(",", ":"))
    if isinstance(v, dict):
        return "\n".join(f"{k}={raw}" for k, raw in sorted(v.items()))
    return str(v)


def murmur2(data):
    """Kafka's, as a number that is not negative."""
    m, mask = 0x5BD1E995, 0xFFFFFFFF
    h = 0x9747B28C ^ len(data)
    whole = len(data) // 4 * 4
    for (k,) in struct.iter_unpack("<I", data[:whole]):
        k = k * m & mask
        h = h * m & mask ^ (k ^ k >> 24) * m & mask
    if rest := data[whole:]:
        h = (h ^ int.from_bytes(rest, "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    return (h ^ h >> 15) & 0x7FFFFFFF


class Check:
    def __init__(self, expected, partitions):
        self.partitions = partitions
        self.read = self.doubled = self.wrong = self.strange = self.said = 0
        self.revisions = {}  # by partition and row: the last one
        with open(expected) as f:
            lines = map(json.loads, f)
            self.expected = {(e["fields"]["rowId"], e["fields"]["revision"]): e for e in lines}
        self.seen = set()

    def say(self, what):
        self.said += 1
        if self.said <= 5:
            print(what)

    def event(self, partition, timestamp, key, headers, fields, schema_id=None):
        """headers is a list of pairs, fields the decoded value, schema_id what Confluent's framing says."""
        self.read += 1
        fields = {name: canonical(v) for name, v in fields.items()}
        who = fields.get("rowId"), fields.get("revision")
        want = self.expected.get(who)
        if want is None:
            self.strange += 1
            self.say(f"{who}: not in the truth")
            return
        if who in self.seen:
            self.doubled += 1
            return
        self.seen.add(who)
        faults = []
        if fields.pop("observedAt", None) != str(timestamp):
            faults.append("observedAt is not the record's timestamp")
        for name in sorted(fields.keys() | want["fields"].keys()):
            if name not in fields or name not in want["fields"] or fields[name] != want["fields"][name]:
                faults.append(f"{name} is {fields.get(name, 'absent')!r:.200}, want {want['fields'].get(name, 'absent')!r:.200}")
        if key != want["key"].encode():
            faults.append(f"key {key!r}, want {want['key']!r}")
        if murmur2(key) % self.partitions != partition:
            faults.append(f"on partition {partition}")
        at = self.revisions.get((partition, who[0]), -1)
        if at >= int(who[1]):
            faults.append(f"after revision {at}")
        self.revisions[partition, who[0]] = int(who[1])
        faults += self.header_faults(dict(headers), len(headers), who, timestamp, want["key"], schema_id)
        if faults:
            self.wrong += 1
            self.say(f"{who}: {'; '.join(faults)}")

    @staticmethod
    def header_faults(h, n, who, timestamp, key, schema_id):
        when = (EPOCH + timedelta(milliseconds=timestamp)).strftime("%Y-%m-%dT%H:%M:%S.") + f"{timestamp % 1000:03}Z"
        patterns = {
            "ce_specversion": r"1\.0", "ce_id": re.escape("/".join(who)), "ce_type": r"pstncalls\.PstnCall\.v1",
            "ce_source": "http://[^/]+/beta/contoso/getPstnCalls", "ce_time": re.escape(when), "ce_subject": re.escape(key),
            "content-type": "application/avro", "pstn-fingerprint": "[0-9a-f]{16}", "pstn-owner": r"\d{4}-\d\d-\d\d", "pstn-commit": r"\d+/\d+",
        }
        if schema_id is not None:
            patterns["ce_dataschema"] = rf"http.*/schemas/ids/{schema_id}"
        faults = [f"header {k} is {h.get(k)!r}, want {p}" for k, p in patterns.items() if not re.fullmatch(p, h.get(k, ""))]
        return faults + ([f"{n} headers: {sorted(h)}"] if n != len(patterns) else [])

    def end(self):
        missing = self.expected.keys() - self.seen
        for who in sorted(missing)[:5]:
            self.say(f"{who}: missing")
        print(f"read={self.read} missing={len(missing)} doubled={self.doubled} wrong={self.wrong} aborted_seen={self.strange + self.doubled}")
        sys.exit(bool(missing or self.doubled or self.wrong or self.strange))
