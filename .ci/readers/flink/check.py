"""check.py EXPECTED: compares what Flink.java has printed, on stdin, with the truth."""
import json
import sys
from collections import Counter
from datetime import datetime, timezone
from decimal import Decimal

printed = []  # one list a query
for line in sys.stdin:
    if line.startswith("-- "):
        printed.append(Counter())
    elif line.startswith("["):
        printed[-1][tuple(json.loads(line))] += 1
    else:
        print(line, end="")
with open(sys.argv[1]) as f:
    expected = [json.loads(line)["fields"] for line in f]
now = {}
for e in expected:
    if int(e["revision"]) >= int(now.get(e["rowId"], e)["revision"]):
        now[e["rowId"]] = e
groups = {}
for e in now.values():
    day = datetime.fromtimestamp(int(e["startDateTime"]) / 1000, timezone.utc).strftime("%Y-%m-%d")
    calls, charge = groups.get((day, e["currency"]), (0, None))
    if e["charge"] is not None:
        charge = Decimal(e["charge"]) + (charge or 0)
    groups[day, e["currency"]] = calls + 1, charge
region = 'EMEA "west" ü'  # see evolve.py
want = [
    Counter((day, currency, str(calls), None if charge is None else format(charge, "f")) for (day, currency), (calls, charge) in groups.items()),
    Counter([(str(len(expected)),)]),
    Counter([("planted-new", region), ("planted-next", region)]),
]
missing = [row for n, rows in enumerate(want) for row in (rows - (printed[n] if n < len(printed) else Counter())).elements()]
strange = [row for n, rows in enumerate(printed) for row in (rows - (want[n] if n < len(want) else Counter())).elements()]
for row in missing[:5]:
    print("missing:", row)
for row in strange[:5]:
    print("not in the truth:", row)
print(f"read={sum(rows.total() for rows in printed)} missing={len(missing)} doubled=0 wrong={len(strange)} aborted_seen=0")
sys.exit(bool(missing or strange))
