"""DataFusion over the exports: datafusion_reader.py INDEX"""

import os
import tempfile

import datafusion
import pyarrow as pa

from common import COMPARED, files, kinds, months, report, wallet


def session():
    """Each table as a folder of links: a registered table is one place."""
    context = datafusion.SessionContext()
    for table in COMPARED + ["both"]:
        folder = tempfile.mkdtemp()
        for number, file in enumerate(files("months_1") + files("months_2") if table == "both" else files(table)):
            os.symlink(os.path.abspath(file), f"{folder}/{number}.parquet")
        try:
            context.register_parquet(table, folder)
        except BaseException as error:
            failures[table] = error
    return context


failures = {}
context = session()


def rows(query):
    return pa.Table.from_batches(context.sql(query).collect())


def one(query):
    return rows(query).column(0)[0].as_py()


def columns_of(table):
    if table in failures:
        raise failures[table]

    def shown(name, kind):
        if kind == "date":
            return f"arrow_cast({name}, 'Int32') AS {name}"
        return f"arrow_cast({name}, 'Int64') AS {name}" if kind.startswith("timestamp") else name

    order = "moment, id" if table.startswith("months") else "id"
    picked = ", ".join(shown(name, kind) for name, kind in kinds(table).items())
    read = rows(f"SELECT {picked} FROM {table} ORDER BY {order}")
    return {name: read[name].to_pylist() for name in kinds(table)}


def both_months():
    if "both" in failures:
        raise failures["both"]
    read = rows("SELECT count(*) AS a, sum(amount) AS b, count(gone) AS c, sum(extra) AS d FROM both")
    return months(*(read[name][0].as_py() for name in "abcd"))


naive = {
    "sum": lambda: one("SELECT sum(total) FROM whales"),
    "product": lambda: one("SELECT sum(price * amount) FROM trades"),
    "literal": lambda: one("SELECT count(*) FROM trades WHERE fee = 0.100000000000000003"),
    "nullable": lambda: one("SELECT sum(filled_by) FROM trades"),
    "padded": lambda: one("SELECT count(*) FROM every_type WHERE padded = 'p1'"),
    "nan": lambda: one("SELECT count(*) FROM floats WHERE isnan(reading)"),
    "wallet": lambda: one(f"SELECT count(*) FROM trades WHERE wallet = '{wallet()}'"),
    "months": both_months,
}
right = naive | {
    "sum": lambda: one("SELECT sum(arrow_cast(total, 'Decimal256(76, 18)')) FROM whales"),
    "product": lambda: one(
        "SELECT sum(arrow_cast(price, 'Decimal256(36, 18)') * arrow_cast(amount, 'Decimal256(36, 18)')) FROM trades"
    ),
    "literal": lambda: one(
        "SELECT count(*) FROM trades WHERE fee = arrow_cast('0.100000000000000003', 'Decimal128(36, 18)')"
    ),
    "padded": lambda: one("SELECT count(*) FROM every_type WHERE rtrim(padded) = 'p1'"),
}
report("DataFusion", datafusion.__version__, columns_of, naive, right)
