#!/usr/bin/env bash
# Expected: a sum or a product of decimals that does not fit into the 38 digits of the result's type is an error, or gets a
# wider type, as DuckDB and Polars show: money is kept in decimals so that nothing is lost without notice.
# Seen: pyarrow and DataFusion return decimal128(38, 18) for the sum of 200 values of DECIMAL(36,18) just below 10^18,
# ClickHouse Decimal(38, 18), and all three wrap: 200 positive amounts have a negative sum. pyarrow's mean is that sum divided.
# In ClickHouse price * amount has the scales added (36 digits after the point, two before it), so that a single product of
# ordinary size wraps already. Arguments of a wider type (decimal256, toDecimal256) give the right values.
#
# Installs pyarrow, DataFusion, chdb (ClickHouse in a process), DuckDB and Polars from PyPI: about 900 MB in a temporary
# folder, some minutes. Exits 1 when that is no longer so.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
  pyarrow==26.0.1 datafusion==55.0.0 chdb==4.4.0 chdb-core==26.9.0 duckdb==2.0.1 polars==2.1.0
cat >"$work/sums.py" <<'PY'
import decimal
import sys

import chdb
import datafusion
import duckdb
import polars
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

decimal.getcontext().prec = 100
D = decimal.Decimal
ROWS, TOTAL = 200, D("999999999999999999.000000000000000001")
PRICE, AMOUNT = D("123456.123456789012345678"), D("1000.000000000000000001")
TRUE_SUM, TRUE_PRODUCT = TOTAL * ROWS, PRICE * AMOUNT
WRAPPED, REFUSED = D("-140282366920938463663.374607431768211256"), "refused"

file = sys.argv[1] + "/orders.parquet"
columns = {"total": TOTAL, "price": PRICE, "amount": AMOUNT}
pq.write_table(pa.table({name: pa.array([value] * ROWS, pa.decimal128(36, 18)) for name, value in columns.items()}), file)
table = pq.read_table(file)
frames = datafusion.SessionContext()
frames.register_parquet("orders", file)


def clickhouse(expression):
    return D(chdb.query(f"SELECT {expression} FROM file('{file}', Parquet)", "TabSeparated").data().strip())


def fusion(expression):
    return frames.sql(f"SELECT {expression} AS x FROM orders").to_pydict()["x"][0]


questions = [
    ("sum, pyarrow", lambda: pc.sum(table["total"]).as_py(), WRAPPED),
    ("sum, DataFusion", lambda: fusion("sum(total)"), WRAPPED),
    ("sum, ClickHouse", lambda: clickhouse("sum(total)"), WRAPPED),
    ("sum, DuckDB", lambda: duckdb.sql(f"SELECT sum(total) FROM '{file}'").fetchall(), REFUSED),
    ("sum, Polars", lambda: polars.read_parquet(file)["total"].sum(), REFUSED),
    ("mean, pyarrow", lambda: pc.mean(table["total"]).as_py(), D("-701411834604692318.316873037158841056")),
    ("product of one row, ClickHouse", lambda: clickhouse("any(price * amount)"), D("-20.673962066891028168325825876944948402")),
    ("sum of decimal256, pyarrow", lambda: pc.sum(table["total"].cast(pa.decimal256(36, 18))).as_py(), TRUE_SUM),
    ("sum of decimal256, DataFusion", lambda: fusion("sum(arrow_cast(total, 'Decimal256(76, 18)'))"), TRUE_SUM),
    ("sum of decimal256, ClickHouse", lambda: clickhouse("sum(toDecimal256(total, 18))"), TRUE_SUM),
    ("product of decimal256, ClickHouse", lambda: clickhouse("any(toDecimal256(price, 18) * amount)"), TRUE_PRODUCT),
]
server = chdb.query("SELECT version()", "TabSeparated").data().strip()
print(f"pyarrow {pa.__version__}, DataFusion {datafusion.__version__}, ClickHouse {server},",
      f"DuckDB {duckdb.__version__}, Polars {polars.__version__}")
print(f"  true sum {TRUE_SUM}, true product {TRUE_PRODUCT}")
changed = 0
for name, ask, expected in questions:
    try:
        seen = ask()
    except Exception:
        seen = REFUSED
    print(f"  {name}: {seen}")
    if seen != expected:
        print(f"    the behaviour changed: it was {expected}")
        changed = 1
sys.exit(changed)
PY
"$work/venv/bin/python" "$work/sums.py" "$work"
