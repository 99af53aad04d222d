"""check.py LAKE EXPECTED SECONDS: waits until the lake has as many rows as expected.jsonl, or gets none for SECONDS, and compares them.

Every field of every row, as DuckDB reads the files that are the table's by pyiceberg; the views of .compose/lake/lake.sql; the
column types and the partitions. Prints what is wrong, and a line each for table and views; exit code 1 if there is something.
(pyiceberg's own to_arrow gives an empty list for some of the nulls in administrativeUnitInfos.)
"""
import json
import pathlib
import sys
import time
from collections import Counter, defaultdict
from datetime import datetime, timedelta, timezone
from decimal import Decimal

ci = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ci.parent / ".compose/lake"), str(ci / "readers")]
from check import EPOCH, canonical  # noqa: E402  of the readers
from lake import database, table  # noqa: E402

TYPES = {"charge": "decimal(38, 6)", "connectionCharge": "decimal(38, 6)", "revision": "int", "duration": "int", "startDateTime": "timestamptz",
         "endDateTime": "timestamptz", "observedAt": "timestamptz", "extra": "map<string, string>", "administrativeUnitInfos": "list"}
DUCKDB = {"charge": "DECIMAL(18,6)", "connectionCharge": "DECIMAL(18,6)", "startDateTime": "TIMESTAMP WITH TIME ZONE", "revision": "INTEGER",
          "extra": "MAP(VARCHAR, VARCHAR)", "administrativeUnitInfos": "STRUCT(id VARCHAR)[]"}
said = 0


def say(what):
    global said
    said += 1
    if said <= 10:
        print(what[:600])


def arrived(lake, rows, seconds):
    """The table when it has so many rows, or has stopped growing."""
    before, end = 0, time.time() + seconds
    while True:
        found = table(lake)
        n = int(found.current_snapshot().summary.additional_properties["total-records"]) if found else 0
        if n > before:
            before, end = n, time.time() + seconds
        if n >= rows or time.time() > end:
            return found
        time.sleep(0.3)


def texts(row):
    return {name: canonical(v) for name, v in row.items()}


def faults(row, want):
    """What differs between a row and its event. When it was published the truth does not know: some time in this run."""
    fields = texts(row)
    at = fields.pop("observedAt", None)
    age = datetime.now(timezone.utc) - EPOCH - timedelta(milliseconds=int(at or 0))
    found = [] if timedelta(0) <= age < timedelta(hours=1) else [f"observedAt is {at}"]
    for name in sorted(fields.keys() | want.keys()):
        if name not in fields or name not in want or fields[name] != want[name]:
            found.append(f"{name} is {fields.get(name, 'absent')!r:.100}, want {want.get(name, 'absent')!r:.100}")
    return found


def identity(row):
    return row["tenantId"], row["rowId"], str(row["revision"])


def rows_of(db, sql):
    answer = db.sql(sql)
    return [dict(zip(answer.columns, row)) for row in answer.fetchall()]


def check_table(pstn_calls, db, expected):
    rows = rows_of(db, "SELECT * FROM pstn_calls")
    seen, wrong = Counter(map(identity, rows)), 0
    for row in rows:
        who = identity(row)
        found = faults(row, expected[who]) if who in expected else ["not in the truth"]
        if found:
            wrong += 1
            say(f"{who}: {'; '.join(found)}")
    doubled = sum(seen.values()) - len(seen)
    missing = expected.keys() - seen.keys()
    for who in sorted(missing)[:3]:
        say(f"{who}: missing")
    for who in [who for who, n in seen.items() if n > 1][:3]:
        say(f"{who}: {seen[who]} times")
    types = {f.name: str(f.field_type) for f in pstn_calls.schema().fields}
    for name, want in TYPES.items():
        if not types.get(name, "absent").startswith(want):
            say(f"column {name} is {types.get(name)}, want {want}")
    days = {int(want["startDateTime"]) // 86400000 for want in expected.values()}
    parts = {tuple(task.file.partition) for task in pstn_calls.scan().plan_files()}
    if parts != {(day,) for day in days}:
        say(f"partitions {sorted(parts)[:3]}…, want one a day of call: {sorted(days)[:3]}…")
    print(f"lake: rows={len(rows)} distinct={len(seen)} missing={len(missing)} doubled={doubled} wrong={wrong}")


def check_views(db, expected):
    now = {}
    for (tenant, row, revision), want in expected.items():
        if int(revision) >= int(now.get((tenant, row), want)["revision"]):
            now[tenant, row] = want
    types = {r["column_name"]: r["column_type"] for r in rows_of(db, "DESCRIBE calls")}
    for name, want in DUCKDB.items():
        if types.get(name) != want:
            say(f"calls: {name} is {types.get(name)}, want {want}")
    rows, wrong, seen = rows_of(db, "SELECT * FROM calls_now"), 0, set()
    for row in rows:
        who = row["tenantId"], row["rowId"]
        found = faults(row, now[who]) if who in now else ["not in the truth"]
        found += ["there twice"] if who in seen else []
        seen.add(who)
        if found:
            wrong += 1
            say(f"calls_now {who}: {'; '.join(found)}")
    print(f"calls_now: rows={len(rows)} missing={len(now.keys() - seen)} wrong={wrong}")
    if len(rows) != len(now):
        say("calls_now has another number of rows than the truth")

    calls, sums = Counter(), defaultdict(lambda: None)
    for want in now.values():
        key = want["tenantId"], EPOCH.date() + timedelta(days=int(want["startDateTime"]) // 86400000), want["currency"]
        calls[key] += 1
        if want["charge"] is not None:
            sums[key] = (sums[key] or 0) + Decimal(want["charge"])
    days = {(r["tenantId"], r["day"], r["currency"]): (r["calls"], r["charge"]) for r in rows_of(db, "SELECT * FROM days")}
    differ = [key for key in days.keys() | calls.keys() if days.get(key) != (calls[key], sums[key])]
    for key in differ[:3]:
        say(f"days {key}: {days.get(key)}, want {calls[key], sums[key]}")
    print(f"days: rows={len(days)} wrong={len(differ)}")


def main(lake, expected, seconds):
    with open(expected) as f:
        lines = [json.loads(line)["fields"] for line in f]
    expected = {identity(want): want for want in lines}
    found = arrived(lake, len(expected), float(seconds))
    if found is None:
        sys.exit("the lake is empty")
    db = database(found)
    check_table(found, db, expected)
    check_views(db, expected)
    sys.exit(said > 0)


main(*sys.argv[1:])
