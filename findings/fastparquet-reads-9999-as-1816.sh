#!/usr/bin/env bash
# Expected: a day that fits into Parquet's DATE and not into the reader's type is an error, or the reader takes another type:
# open ends ("valid until 9999-12-31") are common in books, and pyarrow and pandas read them.
# Seen: fastparquet makes nanoseconds of days and wraps. 9999-12-31 is read as a day of 1816, 2300-01-01 as one of 1715 and
# 0001-01-01 as one of 1754, each with a time of day. It reads the same days right from a TIMESTAMP column.
#
# Installs fastparquet and pyarrow from PyPI in a temporary folder; about 2 minutes. Exits 1 when that is no longer so.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check fastparquet==2026.9.0 pandas==3.1.1 pyarrow==26.0.1
cat >"$work/days.py" <<'PY'
import sys
from datetime import date, datetime

import fastparquet
import pandas
import pyarrow as pa
import pyarrow.parquet as pq

expected = {
    "2026-12-01": "2026-12-01 00:00:00",
    "9999-12-31": "1816-03-29 05:56:08",
    "2300-01-01": "1715-06-13 00:25:26",
    "0001-01-01": "1754-08-30 22:43:41",
}
file = sys.argv[1] + "/days.parquet"
days = [date.fromisoformat(day) for day in expected]
times = [datetime.fromisoformat(day) for day in expected]
pq.write_table(pa.table({"day": pa.array(days, pa.date32()), "time": pa.array(times, pa.timestamp("us"))}), file)

print(f"fastparquet {fastparquet.__version__}, pandas {pandas.__version__}, pyarrow {pa.__version__}")
fast = fastparquet.ParquetFile(file).to_pandas()
arrow = pandas.read_parquet(file, engine="pyarrow")
changed = 0
for row, (day, before) in enumerate(expected.items()):
    seen = fast["day"][row].isoformat(" ")[:19]
    others = [fast["time"][row].date().isoformat(), arrow["day"][row].isoformat()]
    print(f"  {day}: DATE in fastparquet {seen}; TIMESTAMP in fastparquet {others[0]}; DATE in pandas with pyarrow {others[1]}")
    if seen != before or others != [day, day]:
        print(f"    the behaviour changed: it was {before}, and {day} for the others")
        changed = 1
sys.exit(changed)
PY
"$work/venv/bin/python" "$work/days.py" "$work"
