#!/usr/bin/env bash
# Expected: a string column of a Parquet file is the same text to every reader, also when it is annotated as JSON: the
# annotation says what the bytes are.
# Seen: ClickHouse makes its own JSON type of such a column, unless the query names the column's type. Members are sorted and
# those that are null are dropped, a key with a point becomes two levels, numbers become floats, and the document `null`
# becomes `{}`. A document that is a text, a number or an array, all of them valid, is an error, but only for queries that read
# the column. Without the annotation, or with `doc String` in the query, the text arrives as it was written.
#
# Installs pyarrow and chdb (ClickHouse in a process) from PyPI: about 600 MB in a temporary folder, some minutes. Exits 1 when
# that is no longer so.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check pyarrow==26.0.1 chdb==4.4.0 chdb-core==26.9.0
cat >"$work/documents.py" <<'PY'
import sys

import chdb
import pyarrow as pa
import pyarrow.parquet as pq

REFUSED = "refused"
seen_before = {
    '{"wallet":"w1","fee":null}': '{"wallet":"w1"}',
    '{"side":"buy","market":7}': '{"market":7,"side":"buy"}',
    '{"BTC.PERP":1}': '{"BTC":{"PERP":1}}',
    '{"fee":0.100000000000000003}': '{"fee":0.1}',
    "null": "{}",
    '"filled"': REFUSED,
    "42": REFUSED,
    "[1,2]": REFUSED,
}
folder = sys.argv[1]


def asked(query):
    try:
        return chdb.query(query, "TabSeparatedRaw").data().strip()
    except RuntimeError:
        return REFUSED


print(f"ClickHouse {asked('SELECT version()')}, pyarrow {pa.__version__}")
changed = 0
for document, expected in seen_before.items():
    for name, kind in (("annotated", pa.json_()), ("plain", pa.string())):
        pq.write_table(pa.table({"id": [5], "doc": pa.array([document], kind)}), f"{folder}/{name}.parquet")
    annotated = asked(f"SELECT doc FROM file('{folder}/annotated.parquet', Parquet)")
    others = [
        asked(f"SELECT doc FROM file('{folder}/annotated.parquet', Parquet, 'doc String')"),
        asked(f"SELECT doc FROM file('{folder}/plain.parquet', Parquet)"),
    ]
    print(f"  {document} annotated: {annotated}; named as String, and not annotated: {', '.join(others)}")
    if annotated != expected or others != [document, document]:
        print(f"    the behaviour changed: annotated it was {expected}, otherwise the same text")
        changed = 1
    if asked(f"SELECT id FROM file('{folder}/annotated.parquet', Parquet)") != "5":
        print("    the behaviour changed: another column of that file could be read")
        changed = 1
sys.exit(changed)
PY
"$work/venv/bin/python" "$work/documents.py" "$work"
