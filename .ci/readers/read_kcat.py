"""read_kcat.py EXPECTED SCHEMA.avsc PARTITIONS: checks what kcat writes to stdin with read_kcat's format. kcat knows no Avro: fastavro decodes.

The format: -f '%p %T %K %R%k%h\\n%R%s', that is "<partition> <timestamp> <key's length> ", 4 bytes of the value's length, the key,
the headers as name=value with commas between, a line feed, 4 bytes of the value's length, the value.
"""
import io
import json
import re
import struct
import sys

import fastavro
from check import HEADERS, Check

expected, schema, partitions = sys.argv[1], sys.argv[2], int(sys.argv[3])
with open(schema) as f:
    schema = fastavro.parse_schema(json.load(f))
check = Check(expected, partitions)
stdin = sys.stdin.buffer
border = re.compile("(?:^|,)(" + "|".join(map(re.escape, HEADERS)) + ")=")


def word():
    text = b""
    while (c := stdin.read(1)) not in (b" ", b""):
        text += c
    return text


while (first := word()):
    partition, timestamp, length = int(first), int(word()), int(word())
    stdin.read(4)
    key = stdin.read(length)
    names_and_values = border.split(stdin.readline()[:-1].decode())[1:]
    value = stdin.read(struct.unpack(">i", stdin.read(4))[0])
    schema_id, skip = None, 10  # C3 01 and the fingerprint
    if value[0] == 0:
        schema_id, skip = struct.unpack(">I", value[1:5])[0], 5
    body = io.BytesIO(value[skip:])
    fields = fastavro.schemaless_reader(body, schema)
    assert not body.read(), "bytes after the event"
    check.event(partition, timestamp, key, list(zip(names_and_values[::2], names_and_values[1::2])), fields, schema_id)
check.end()
