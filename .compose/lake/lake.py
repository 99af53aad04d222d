"""lake.py [SQL…]: asks the lake in the folder LAKE (default /lake), in DuckDB's SQL: the table pstn_calls and the views of lake.sql."""
import os
import pathlib
import sys

import duckdb
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import NoSuchTableError


def table(folder):
    """The Iceberg table as it is now; None before the first event. Nothing is written, not even an empty catalog."""
    if not os.path.exists(f"{folder}/catalog.db"):
        return None
    # The name is part of what the sink has written.
    catalog = SqlCatalog("iceberg", uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{folder}/warehouse", init_catalog_tables="false")
    try:
        found = catalog.load_table("lake.pstn_calls")
    except NoSuchTableError:
        return None
    return found if found.current_snapshot() else None


def database(pstn_calls):
    """A DuckDB that reads the table's files where they lie, no more of them than it is asked for."""
    files = [task.file.file_path.removeprefix("file://") for task in pstn_calls.scan().plan_files()]
    db = duckdb.connect()
    db.execute("SET TimeZone = 'UTC'")
    db.read_parquet(files, union_by_name=True, hive_partitioning=False).create_view("pstn_calls")
    db.execute(pathlib.Path(__file__).with_name("lake.sql").read_text())
    return db


if __name__ == "__main__":
    found = table(os.environ.get("LAKE", "/lake"))
    if found is None:
        sys.exit("the lake is empty: nothing has been published yet, or Kafka Connect is not up")
    db = database(found)
    for sql in sys.argv[1:] or ["SELECT count(*) AS events FROM pstn_calls", "SELECT * FROM days"]:
        print(db.sql(sql))
