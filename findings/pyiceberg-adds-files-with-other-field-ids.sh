#!/usr/bin/env bash
# Expected: add_files of pyiceberg, which registers Parquet files as they are, refuses a file whose field ids name other
# columns than the table's, or goes by the names: names and types agree in each case here, and a table that is created from the
# file's own schema is that schema.
# Seen: create_table numbers the columns anew from 1, whatever ids the schema has. add_files then takes the file without a
# word, and a scan goes by its ids: where a column was dropped before the first file (ids 1 and 3), the price is NULL in every
# row; where two columns of one type are in another order, their values are exchanged. With columns that may not be NULL,
# add_files refuses the former. Files without ids are read right, by name.
#
# Installs pyiceberg and pyarrow from PyPI in a temporary folder. Exits 1 when that is no longer so.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check 'pyiceberg[sql-sqlite,pyarrow]==0.12.0' pyarrow==26.0.1
cat >"$work/add.py" <<'PY'
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pyiceberg
from pyiceberg.catalog.sql import SqlCatalog

folder = sys.argv[1]
catalog = SqlCatalog("local", uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{folder}/warehouse")
catalog.create_namespace("archive")


def schema(nullable=True, **ids):
    """Columns of integers with these field ids; an id of 0: none."""
    marked = {name: {"PARQUET:field_id": str(number)} if number else None for name, number in ids.items()}
    return pa.schema([pa.field(name, pa.int64(), nullable, metadata) for name, metadata in marked.items()])


def scanned(name, first, file):
    """What a table that was created from the schema `first` answers, after a file of the schema `file` was added."""
    table = catalog.create_table(f"archive.{name}", schema=first)
    path = f"{folder}/{name}.parquet"
    pq.write_table(pa.table({"order_id": [7], "price": [250]}).select(file.names).cast(file), path)
    try:
        table.add_files([path])
    except ValueError:
        return "refused"
    return table.scan().to_arrow().select(["order_id", "price"]).to_pylist()[0]


right = {"order_id": 7, "price": 250}
gap, swapped = schema(order_id=1, price=3), schema(price=1, order_id=2)
strict = schema(False, order_id=1, price=3)
cases = [
    ("ids 1 and 2, in the file as in the table", scanned("same", schema(order_id=1, price=2), schema(order_id=1, price=2)), right),
    ("no ids in the file", scanned("none", schema(order_id=0, price=0), schema(price=0, order_id=0)), right),
    ("ids 1 and 3, table created from the file's schema", scanned("gap", gap, gap), {"order_id": 7, "price": None}),
    ("the same, no column may be NULL", scanned("strict", strict, strict), "refused"),
    ("columns exchanged in the file", scanned("swapped", schema(order_id=1, price=2), swapped), {"order_id": 250, "price": 7}),
]
print(f"pyiceberg {pyiceberg.__version__}, pyarrow {pa.__version__}; in each file order_id is 7 and price is 250")
changed = 0
for name, seen, expected in cases:
    print(f"  {name}: {seen}")
    if seen != expected:
        print(f"    the behaviour changed: it was {expected}")
        changed = 1
sys.exit(changed)
PY
"$work/venv/bin/python" -W ignore "$work/add.py" "$work"
