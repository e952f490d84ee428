"""DuckDB over the exports: duckdb_reader.py INDEX"""

import duckdb

from common import files, kinds, months, report, wallet

db = duckdb.connect()
db.execute("SET TimeZone = 'UTC'")


def scan(*tables):
    names = ", ".join(f"'{file}'" for table in tables for file in files(table))
    return f"read_parquet([{names}])"


def one(query):
    return db.execute(query).fetchone()[0]


def columns_of(table):
    def shown(name, kind):
        if kind == "date":
            return f"({name} - DATE '1970-01-01') AS {name}"
        return f"epoch_us({name}) AS {name}" if kind.startswith("timestamp") else name

    order = "moment, id" if table.startswith("months") else "id"
    picked = ", ".join(shown(name, kind) for name, kind in kinds(table).items())
    rows = db.execute(f"SELECT {picked} FROM {scan(table)} ORDER BY {order}").fetchall()
    return {name: [row[place] for row in rows] for place, name in enumerate(kinds(table))}


def both_months(union_by_name):
    both = scan("months_1", "months_2")[:-1] + f", union_by_name = {union_by_name})"
    return months(*db.execute(f"SELECT count(*), sum(amount), count(gone), sum(extra) FROM {both}").fetchone())


naive = {
    "sum": lambda: one(f"SELECT sum(total) FROM {scan('whales')}"),
    "product": lambda: one(f"SELECT sum(price * amount) FROM {scan('trades')}"),
    "literal": lambda: one(f"SELECT count(*) FROM {scan('trades')} WHERE fee = 0.100000000000000003"),
    "nullable": lambda: one(f"SELECT sum(filled_by) FROM {scan('trades')}"),
    "padded": lambda: one(f"SELECT count(*) FROM {scan('every_type')} WHERE padded = 'p1'"),
    "nan": lambda: one(f"SELECT count(*) FROM {scan('floats')} WHERE isnan(reading)"),
    "wallet": lambda: one(f"SELECT count(*) FROM {scan('trades')} WHERE wallet = '{wallet()}'"),
    "months": lambda: both_months(False),
}
right = naive | {
    # Beyond 38 digits: whole and fraction apart, both as HUGEINT, put together as text.
    "sum": lambda: one(
        f"""SELECT (whole + fraction // 1000000000000000000) || '.' || lpad((fraction % 1000000000000000000)::VARCHAR, 18, '0')
            FROM (SELECT sum(trunc(total)::HUGEINT) AS whole,
                         sum(((total - trunc(total)) * 1000000000000000000)::HUGEINT) AS fraction FROM {scan('whales')})"""
    ),
    "product": lambda: one(
        f"""SELECT sum(price::DECIMAL(18,8) * amount::DECIMAL(18,8)) FROM {scan('trades')}
            WHERE price = price::DECIMAL(18,8) AND amount = amount::DECIMAL(18,8)"""
    ),
    "padded": lambda: one(f"SELECT count(*) FROM {scan('every_type')} WHERE rtrim(padded, ' ') = 'p1'"),
    "months": lambda: both_months(True),
}
report("DuckDB", duckdb.__version__, columns_of, naive, right)
