"""expected.py SCHEMA.avsc: the lines of `producer tail` on stdin as expected.jsonl, for check.py."""
import json
import sys
from datetime import datetime
from decimal import Decimal


def text(kind, v):
    if kind == "map":
        return "\n".join(f"{k}={raw}" for k, raw in sorted((v or {}).items()))
    if v is None or kind == "string":
        return v
    if kind == "decimal":
        return format(v.quantize(Decimal("0.000001")), "f")
    if kind == "timestamp-millis":
        return str(int(Decimal(str(datetime.fromisoformat(v.replace("Z", "+00:00")).timestamp())) * 1000))
    if kind == "array":
        return json.dumps([unit["id"] for unit in v], separators=(",", ":"))
    return str(v)


def kind(t):
    t = t[1] if isinstance(t, list) else t
    return t if isinstance(t, str) else t.get("logicalType", t["type"])


with open(sys.argv[1]) as f:
    kinds = {field["name"]: kind(field["type"]) for field in json.load(f)["fields"] if field["name"] != "observedAt"}
for line in sys.stdin:
    value = json.loads(line, parse_float=Decimal, parse_int=Decimal)["value"]
    print(json.dumps({"fields": {name: text(kinds[name], value.get(name)) for name in kinds}}))
