#!/usr/bin/env bash
# Expected: a query for NaN, or for what is larger than some number (NaN is the largest double in DuckDB, as in PostgreSQL), finds
# the same rows in a Parquet file as in a table made from it. Parquet says that minimum and maximum of floats leave NaN out, and
# that a reader that looks for NaN must ignore them.
# Seen: DuckDB skips row groups by the maximum that pyarrow wrote, and finds none of the rows: 1.1.3 for `v = 'NaN'` and
# `v > 5`, 2.0.1 for `isnan(v)` as well. A file without minimum and maximum of floats is read right by both.
# Exits 1 when that is no longer so.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check pyarrow==26.0.1

cat >"$work/write.py" <<'PY'
import sys

import pyarrow as pa
import pyarrow.parquet as pq

readings = [float("nan") if i % 100 == 7 else (i % 10) / 4 for i in range(1000)]
table = pa.table({"v": readings})
pq.write_table(table, f"{sys.argv[1]}/with.parquet")
pq.write_table(table, f"{sys.argv[1]}/without.parquet", write_statistics=False)
PY
cat >"$work/ask.py" <<'PY'
import sys

import duckdb

db = duckdb.connect()
print(f"DuckDB {duckdb.__version__}")
lost = 0
for question in ("isnan(v)", "v = 'NaN'::DOUBLE", "v > 5"):
    found = {}
    for kind in ("with", "without"):
        file = f"{sys.argv[1]}/{kind}.parquet"
        found[kind] = db.execute(f"SELECT count(*) FROM read_parquet('{file}') WHERE {question}").fetchall()[0][0]
    db.execute(f"CREATE OR REPLACE TABLE t AS SELECT * FROM read_parquet('{sys.argv[1]}/with.parquet')")
    table = db.execute(f"SELECT count(*) FROM t WHERE {question}").fetchall()[0][0]
    print(f"  {question:<20} table {table}, file with minimum and maximum {found['with']}, without {found['without']}")
    lost += found["with"] != table
    if found["without"] != table:
        sys.exit("  the file without statistics is read wrong too")
sys.exit(0 if lost else "  no rows are lost any more")
PY
"$work/venv/bin/python" "$work/write.py" "$work"
for version in 1.1.3 2.0.1; do
  "$work/venv/bin/pip" install --quiet --disable-pip-version-check "duckdb==$version"
  "$work/venv/bin/python" "$work/ask.py" "$work"
done
