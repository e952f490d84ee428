#!/usr/bin/env bash
# Expected: `WHERE fee = 0.100000000000000003` on a DECIMAL(36,18) column finds the rows with that fee, as in DuckDB: SQL calls
# such a literal exact.
# Seen: it is a float before it meets the column. DataFusion finds the row with 0.1 and not the one that was asked for.
# ClickHouse turns the column into a float as well and finds three different fees, and so does pyarrow with a Python float; for
# 0.3, which is in the file, pyarrow finds no row at all. Text or a decimal in the literal's place finds the right row.
#
# Installs pyarrow, DataFusion, chdb (ClickHouse in a process) and DuckDB from PyPI: about 800 MB in a temporary folder, some
# minutes. Exits 1 when that is no longer so.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
  pyarrow==26.0.1 datafusion==55.0.0 chdb==4.4.0 chdb-core==26.9.0 duckdb==2.0.1
cat >"$work/literals.py" <<'PY'
import sys
from decimal import Decimal

import chdb
import datafusion
import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

FEES = ["0.1", "0.100000000000000003", "0.100000000000000006", "0.3"]
file = sys.argv[1] + "/fees.parquet"
pq.write_table(pa.table({"fee": pa.array(map(Decimal, FEES), pa.decimal128(36, 18))}), file)
frames = datafusion.SessionContext()
frames.register_parquet("fees", file)


def plain(values):
    return sorted(format(Decimal(value).normalize(), "f") for value in values)


def clickhouse(condition):
    query = f"SELECT toString(fee) FROM file('{file}', Parquet) WHERE {condition}"
    return plain(chdb.query(query, "TabSeparated").data().split())


def fusion(condition):
    return plain(frames.sql(f"SELECT fee FROM fees WHERE {condition}").to_pydict()["fee"])


def duck(condition):
    return plain(row[0] for row in duckdb.sql(f"SELECT fee FROM '{file}' WHERE {condition}").fetchall())


def arrow(value):
    return plain(ds.dataset(file).to_table(filter=pc.field("fee") == value)["fee"].to_pylist())


ONE, ALL = FEES[1], FEES[:3]
questions = [
    (f"DataFusion: fee = {ONE}", lambda: fusion(f"fee = {ONE}"), ["0.1"]),
    (f"ClickHouse: fee = {ONE}", lambda: clickhouse(f"fee = {ONE}"), ALL),
    (f"pyarrow: fee == float {ONE}", lambda: arrow(float(ONE)), ALL),
    ("pyarrow: fee == float 0.3", lambda: arrow(0.3), []),
    (f"DuckDB: fee = {ONE}", lambda: duck(f"fee = {ONE}"), [ONE]),
    (f"DataFusion: fee = arrow_cast('{ONE}', …)", lambda: fusion(f"fee = arrow_cast('{ONE}', 'Decimal128(36, 18)')"), [ONE]),
    (f"ClickHouse: fee = '{ONE}'", lambda: clickhouse(f"fee = '{ONE}'"), [ONE]),
    (f"pyarrow: fee == Decimal('{ONE}')", lambda: arrow(Decimal(ONE)), [ONE]),
]
server = chdb.query("SELECT version()", "TabSeparated").data().strip()
print(f"DataFusion {datafusion.__version__}, ClickHouse {server}, pyarrow {pa.__version__}, DuckDB {duckdb.__version__}")
print(f"  fees in the file: {', '.join(FEES)}")
changed = 0
for name, ask, expected in questions:
    seen = ask()
    print(f"  {name}: {', '.join(seen) or 'no row'}")
    if seen != expected:
        print(f"    the behaviour changed: it was {', '.join(expected) or 'no row'}")
        changed = 1
sys.exit(changed)
PY
"$work/venv/bin/python" "$work/literals.py" "$work"
