#!/usr/bin/env bash
# Expected: the candle of one week has the same trades and the same open time, whichever engine makes it and however "one week"
# is written.
# Seen: a week begins on Monday (Polars "1w", ClickHouse INTERVAL 1 WEEK, date_trunc), on Sunday (ClickHouse toStartOfWeek), on
# Thursday, since seven days are counted from 1970-01-01 (Polars "7d", ClickHouse INTERVAL 7 DAY, DataFusion date_bin), or on
# the day of the first trade in the frame (pandas "7D": other rows, other weeks). pandas "W" is named by the Sunday that ends
# it, and "W-MON", which reads like a week from Monday, puts a Monday's trades with the week before.
#
# Installs pandas, Polars, DataFusion and chdb (ClickHouse in a process) from PyPI: about 800 MB in a temporary folder, some
# minutes. Exits 1 when that is no longer so.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
  pandas==3.1.1 polars==2.1.0 datafusion==55.0.0 chdb==4.4.0 chdb-core==26.9.0 pyarrow==26.0.1
cat >"$work/weeks.py" <<'PY'
import sys
from datetime import datetime

import chdb
import datafusion
import pandas
import polars

TRADES = [datetime(2026, 9, 30, 12), datetime(2026, 10, 4), datetime(2026, 10, 4, 23, 59), datetime(2026, 10, 5)]
frame = polars.DataFrame({"t": TRADES, "n": 1})
series = pandas.Series(1, index=pandas.DatetimeIndex(TRADES))
frames = datafusion.SessionContext()


def day(time):
    return format(time, "%a %d %b")


def of_polars(every):
    return [(day(t), n) for t, n in frame.group_by_dynamic("t", every=every).agg(polars.col("n").sum()).rows()]


def of_pandas(rule, trades=series):
    return [(day(t), int(n)) for t, n in trades.resample(rule).sum().items()]


def of_clickhouse(week):
    values = ", ".join(f"('{t}')" for t in TRADES)
    query = f"SELECT toDate({week}) AS w, count() FROM values('t DateTime(\\'UTC\\')', {values}) GROUP BY w ORDER BY w"
    rows = [line.split("\t") for line in chdb.query(query, "TabSeparated").data().splitlines()]
    return [(day(datetime.fromisoformat(w)), int(n)) for w, n in rows]


def of_datafusion(week):
    values = ", ".join(f"(TIMESTAMP '{t}')" for t in TRADES)
    rows = frames.sql(f"SELECT {week} AS w, count(*) AS n FROM (VALUES {values}) AS x(t) GROUP BY 1 ORDER BY 1").to_pydict()
    return [(day(w), n) for w, n in zip(rows["w"], rows["n"])]


monday, thursday = [("Mon 28 Sep", 3), ("Mon 05 Oct", 1)], [("Thu 24 Sep", 1), ("Thu 01 Oct", 3)]
cases = [
    ('Polars "1w"', of_polars("1w"), monday),
    ("ClickHouse INTERVAL 1 WEEK", of_clickhouse("toStartOfInterval(t, INTERVAL 1 WEEK)"), monday),
    ("DataFusion date_trunc('week')", of_datafusion("date_trunc('week', t)"), monday),
    ("ClickHouse toStartOfWeek", of_clickhouse("toStartOfWeek(t)"), [("Sun 27 Sep", 1), ("Sun 04 Oct", 3)]),
    ('Polars "7d"', of_polars("7d"), thursday),
    ("ClickHouse INTERVAL 7 DAY", of_clickhouse("toStartOfInterval(t, INTERVAL 7 DAY)"), thursday),
    ("DataFusion date_bin 7 days", of_datafusion("date_bin(INTERVAL '7 days', t)"), thursday),
    ('pandas "7D"', of_pandas("7D"), [("Wed 30 Sep", 4)]),
    ('pandas "7D" without the first trade', of_pandas("7D", series[1:]), [("Sun 04 Oct", 3)]),
    ('pandas "W"', of_pandas("W"), [("Sun 04 Oct", 3), ("Sun 11 Oct", 1)]),
    ('pandas "W-MON"', of_pandas("W-MON"), [("Mon 05 Oct", 4)]),
]
server = chdb.query("SELECT version()", "TabSeparated").data().strip()
print(f"pandas {pandas.__version__}, Polars {polars.__version__}, ClickHouse {server}, DataFusion {datafusion.__version__}")
print(f"  trades: {', '.join(format(t, '%a %d %b %H:%M') for t in TRADES)}")
changed = 0
for name, seen, expected in cases:
    print(f"  {name}: " + ", ".join(f"{n} from {start}" for start, n in seen))
    if seen != expected:
        print(f"    the behaviour changed: it was {expected}")
        changed = 1
sys.exit(changed)
PY
"$work/venv/bin/python" "$work/weeks.py" "$work"
