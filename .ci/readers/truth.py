"""truth.py TRUTH.jsonl SCHEMA.avsc FOLDER: what Graph shows, and what each event must then hold.

TRUTH is the simulator's /_truth: every version of every row, two days of corrections included. They are dealt out over three
stages: stage n shows each row's n-th version, or its last. Some rows lose their id or callId, and rows that a simulator would not
invent are planted. Written are

  rows.jsonl      {"start": […], "text": […]}: a row at each stage, where ranges find it and its JSON
  expected.jsonl  {"stage", "key", "fields"}: one line an event, each field in a canonical text (see canonical in check.py)

The mapping follows design and README: the schema's field types, money from the literal, times cut to the millisecond, what the schema
does not know raw in extra, the row id as internal/row/doc.go defines it. It shares no line with the producer.
"""
import hashlib
import json
import re
import struct
import sys
from datetime import datetime, timedelta, timezone
from decimal import ROUND_HALF_EVEN, Decimal

import xxhash

STAGES = 3
scan = json.JSONDecoder().raw_decode


def members(text):
    """The names and raw values of an object in compact JSON."""
    at = 1
    while text[at] != "}":
        name, at = scan(text, at + (text[at] == ","))
        begin = at + 1
        _, at = scan(text, begin)
        yield name, text[begin:at]


# ---- the event of a row ----

PRODUCERS_OWN = ("tenantId", "rowId", "revision", "observedAt", "extra")
STABLE = ("callId", "userId", "startDateTime", "callType", "callerNumber", "calleeNumber", "conferenceId")


class Unfit(Exception):
    """No event can hold the row."""


def kinds(avsc):
    """What each of Graph's properties holds: string, int, decimal, timestamp-millis, array."""
    found = {}
    for f in avsc["fields"]:
        if f["name"] not in PRODUCERS_OWN:
            t = f["type"][1]
            found[f["name"]] = t if isinstance(t, str) else t.get("logicalType", t["type"])
    return found


def instant(text):
    m = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)", text)
    if not m:
        raise Unfit
    if m[1].startswith("0001-"):
        return None  # Graph's "none"
    at = datetime.fromisoformat(m[1] + m[3].replace("Z", "+00:00")) - datetime(1970, 1, 1, tzinfo=timezone.utc)
    return str((at.days * 86400 + at.seconds) * 1000 + int(((m[2] or "") + "000")[:3]))


def money(literal):
    exact = Decimal(literal)
    rounded = exact.quantize(Decimal("0.000001"), ROUND_HALF_EVEN)
    if abs(rounded) >= 10**12:
        raise Unfit
    return format(rounded + 0 if rounded else Decimal("0.000000"), "f"), rounded == exact


def row_id(graph_id, values):
    if graph_id:
        return graph_id
    text = b"row"
    for name in STABLE:
        value, h = values.get(name), 0
        if value is not None:
            raw = name.encode()
            h = xxhash.xxh64_intdigest(struct.pack("<I", len(raw)) + raw + b"s" + value.encode())
        text += struct.pack("<Q", h)
    return "~" + hashlib.sha256(text).hexdigest()[:32]


def event(text, known):
    """The key and the fields of the row's event, without tenantId, revision and observedAt."""
    fields, extra, values = dict.fromkeys(known), {}, {}
    for name, raw in members(text):
        if raw == "null" or "@odata." in name:
            continue
        value, kind = json.loads(raw), known.get(name)
        values[name] = value
        if kind == "string":
            fields[name] = value
        elif kind == "int":
            fields[name] = str(value)
        elif kind == "timestamp-millis":
            fields[name] = instant(value)
        elif kind == "decimal":
            fields[name], exact = money(raw)
            if not exact:
                extra[name] = raw
        elif kind == "array":
            fields[name] = json.dumps([u["id"] for u in value], separators=(",", ":"))
        else:
            extra[name] = raw
    if fields["startDateTime"] is None:
        raise Unfit
    fields["rowId"] = row_id(fields["id"], values)
    fields["extra"] = "\n".join(f"{k}={v}" for k, v in sorted(extra.items()))
    return fields["callId"] or fields["rowId"], fields


# ---- what Graph shows ----

def shown(lines, now):
    """The simulator's rows that are over: (starts, texts), one a stage."""
    for line in lines:
        row = {name: raw for name, raw in members(line)}
        versions = []
        for v in json.loads(row["versions"]):
            versions.append(v["start"][:19])
        if max(versions) > now.isoformat()[:19]:
            continue
        at = row["versions"].index("{")
        texts = []
        for _ in versions:
            _, end = scan(row["versions"], at)
            texts.append(dict(members(row["versions"][at:end]))["json"])
            at = end + 1
        yield ([versions[min(n, len(versions) - 1)] for n in range(STAGES)],
               [texts[min(n, len(texts) - 1)] for n in range(STAGES)])


def without(n, starts, texts):
    """Every hundredth row has no id, every hundredth no callId: absent, null or empty."""
    for name, rest in ("id", 17), ("callId", 53):
        if n % 100 == rest and (name != "id" or texts[0] == texts[-1]):  # without an id a change would be another row
            new = ("", f'"{name}":null,', f'"{name}":"",')[n // 100 % 3]
            texts = [re.sub(f'"{name}":"[^"]*",', lambda _: new, t, count=1) for t in texts]
    return starts, texts


def planted(day):
    """Rows that the simulator does not invent; of one with several texts each is a version."""
    start = f'"startDateTime":"{day}T10:11:12.1239999Z"'
    utc = f'"startDateTime":"{day}T00:30:00.0009999+00:30"'
    texts = [
        [f'{{"id":"planted-nulls",{start}}}'],
        [f'{{"id":"planted-empty","callId":"","userId":"","userPrincipalName":"","userDisplayName":"","callType":"","currency":"",{start}}}'],
        [f'{{"id":"planted/text ü","callId":"a key, with=all ü/🙂","userDisplayName":"a\\u0000b\\n\\t\\"\\\\ \\ud83d\\ude42 \\u202e é 美\\u0301",{start}}}'],
        [f'{{"id":"planted-long","callId":"long","userDisplayName":"{"ü🙂x" * 4000}",{start}}}'],
        [f'{{"id":"planted-most","callId":"most","charge":999999999999.999999,"connectionCharge":-999999999999.999999,"duration":2147483647,{start}}}'],
        [f'{{"id":"planted-even","callId":"even","charge":0.0000005,"connectionCharge":-0.0000015,"duration":-1,{start}}}'],
        [f'{{"id":"planted-odd","callId":"odd","charge":1.5e-3,"connectionCharge":12E2,{start}}}'],
        [f'{{"id":"planted-digits","callId":"digits","charge":0.12345649999999999999999999999,"connectionCharge":0.030016,{start}}}'],
        [f'{{"id":"planted-zone","callId":"zone","endDateTime":"0001-01-01T00:00:00Z",{utc}}}'],
        [f'{{"id":"planted-old","callId":"old","endDateTime":"1969-12-31T23:59:59.9999999Z",{start}}}'],
        ['{"@odata.type":"#microsoft.graph.callRecords.pstnCallLogRow","id":"planted-extra","callId":"extra","größe":"\\u00e9é🙂",'
         f'"deep":{{"a":[1,1.10,1e3,null,true,"\\ud83d\\ude42"],"b":{{}}}},"CallId":"another name",{start}}}'],
        [f'{{"id":"planted-new","callId":"new","mediaRegion":"EMEA \\"west\\" ü",{start}}}'],  # see evolve.py
        [f'{{"id":"planted-moved","callId":"{c}",{start}}}' for c in ("moved", "elsewhere", "moved again")],  # other partitions
        [f'{{"id":"planted-units","callId":"units","administrativeUnitInfos":[{{"id":null}},{{"id":"b"}},{{"id":""}}],{start}}}'],
        [f'{{"id":"planted-back","callId":"back","charge":{c},{start}}}' for c in ("0.10", "0.20", "0.1")],
        [f'{{"id":"planted-same","callId":"same","charge":{c},"userId":null,{start}}}' for c in ("0.50", "0.5", "5e-1")],
        ['{"id":"reject-start","callId":"r","startDateTime":null}'],
        [f'{{"id":"reject-charge","callId":"r","charge":1234567890123.5,{start}}}'],
        [f'{{"id":"reject-mended","callId":"r","charge":{c},{start}}}' for c in ("1e12", "1", "1")],
        [f'{{"callId":"no id",{start}}}'],
        [f'{{"id":null,"callId":null,"calleeNumber":"+1 ü",{start}}}'],
    ]
    for t in texts:
        yield [f"{day}T{'00:00:00' if 'zone' in t[0] else '10:11:12'}"] * STAGES, [t[min(n, len(t) - 1)] for n in range(STAGES)]


def main(truth, schema, folder):
    now = datetime.now(timezone.utc) - timedelta(minutes=10)
    with open(schema) as f:
        known = kinds(json.load(f))
    with open(truth) as f:
        rows = [without(n, *row) for n, row in enumerate(shown(f, now))]
    rows += planted((now - timedelta(days=2)).strftime("%Y-%m-%d"))
    with open(f"{folder}/rows.jsonl", "w") as shows, open(f"{folder}/expected.jsonl", "w") as expects:
        for starts, texts in rows:
            print(json.dumps({"start": starts, "text": texts}), file=shows)
            last, revision = None, 0
            for stage, text in enumerate(texts):
                try:
                    key, fields = event(text, known)
                except Unfit:
                    continue
                if fields == last:
                    continue
                last, fields = fields, fields | {"tenantId": "contoso", "revision": str(revision)}
                revision += 1
                print(json.dumps({"stage": stage, "key": key, "fields": fields}), file=expects)


main(*sys.argv[1:])
