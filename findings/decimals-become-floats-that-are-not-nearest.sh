#!/usr/bin/env bash
# Expected: a reader of Parquet without a decimal type hands a DECIMAL column over as integers and a scale, or as text; or,
# where it makes floats, as the nearest ones: 0.3 is then equal to 0.3.
# Seen: fastparquet and hyparquet return floats, without a warning, and not the nearest ones. In fastparquet a DECIMAL(18,7) of
# 0.1 is 0.09999999999999999 and a DECIMAL(36,18) of 0.3 is 0.30000000000000004, so that a filter for the very price of an
# order finds nothing; hyparquet is off in the last digits of larger amounts.
#
# Installs fastparquet and pyarrow from PyPI and hyparquet from npm in a temporary folder; about 2 minutes. Exits 1 when that
# is no longer so.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check fastparquet==2026.9.0 pandas==3.1.1 pyarrow==26.0.1
npm install --prefix "$work" --silent --no-audit --no-fund --ignore-scripts hyparquet@1.33.0
cat >"$work/read.mjs" <<'JS'
import { readFileSync } from 'node:fs'
import { parquetReadObjects } from 'hyparquet'

const bytes = readFileSync(process.argv[2])
const file = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength)
console.log(JSON.stringify((await parquetReadObjects({ file })).map((row) => [row.fee, row.price])))
JS
cat >"$work/floats.py" <<'PY'
import json
import subprocess
import sys
from decimal import Decimal

import fastparquet
import pyarrow as pa
import pyarrow.parquet as pq

# The amount; as DECIMAL(18,7) and as DECIMAL(36,18) in fastparquet, then in hyparquet.
expected = {
    "0.1": (0.09999999999999999, 0.1, 0.1, 0.1),
    "0.3": (0.3, 0.30000000000000004, 0.3, 0.3),
    "4.35": (4.35, 4.3500000000000005, 4.35, 4.35),
    "12345678901.1234567": (12345678901.123455, 12345678901.123457, 12345678901.123455, 12345678901.123455),
}
file = sys.argv[1] + "/amounts.parquet"
amounts = [Decimal(amount) for amount in expected]
pq.write_table(pa.table({"fee": pa.array(amounts, pa.decimal128(18, 7)), "price": pa.array(amounts, pa.decimal128(36, 18))}), file)
fast = fastparquet.ParquetFile(file).to_pandas()
hyper = json.loads(subprocess.check_output(["node", f"{sys.argv[1]}/read.mjs", file], text=True))

print(f"fastparquet {fastparquet.__version__}, hyparquet 1.33.0, pyarrow {pa.__version__}")
changed = 0
for row, (amount, before) in enumerate(expected.items()):
    seen = (float(fast["fee"][row]), float(fast["price"][row]), *hyper[row])
    print(f"  {amount} (nearest float {float(amount)}): fastparquet {seen[0]} and {seen[1]}, hyparquet {seen[2]} and {seen[3]}")
    if seen != before:
        print(f"    the behaviour changed: it was {before}")
        changed = 1
sys.exit(changed)
PY
"$work/venv/bin/python" "$work/floats.py" "$work"
