"""Reads the parts of an export with DuckDB and with pyarrow, and prints what each sees as one JSON object."""

import json
import sys

import duckdb
import pyarrow.compute as pc
import pyarrow.parquet as pq

parts = sys.argv[1:]


def text(value):
    return None if value is None else str(value)


def with_duckdb():
    con = duckdb.connect()
    con.execute("SET TimeZone = 'UTC'")
    con.execute("CREATE VIEW t AS SELECT * FROM read_parquet(?)".replace("?", repr(parts)))
    names = [
        "rows", "amount", "big", "largest", "least", "amount_nulls", "small", "empty_words", "raw_bytes", "raw_nulls",
        "flags", "first_day", "last_doc",
    ]
    row = con.execute(
        """SELECT count(*), sum(amount), sum(big), max(amount), min(amount), count(*) FILTER (WHERE amount IS NULL),
                  sum(small), count(*) FILTER (WHERE words = ''), sum(octet_length(raw)),
                  count(*) FILTER (WHERE raw IS NULL), count(*) FILTER (WHERE flag), min(day),
                  max(json_extract_string(docb, '$.i')) FROM t"""
    ).fetchone()
    types = {name: kind for name, kind, *_ in con.execute("DESCRIBE t").fetchall()}
    return {"sums": dict(zip(names, map(plain, row))), "types": types}


def with_pyarrow():
    import pyarrow as pa

    table = pa.concat_tables([pq.read_table(part) for part in parts])
    column = {name: table.column(name) for name in table.column_names}
    docs = [json.loads(doc)["i"] for doc in column["docb"].to_pylist() if doc is not None]
    sums = {
        "rows": table.num_rows,
        "amount": sum(value for value in column["amount"].to_pylist() if value is not None),
        "big": sum(int(value) for value in column["big"].to_pylist() if value is not None),
        "largest": pc.max(column["amount"]).as_py(),
        "least": pc.min(column["amount"]).as_py(),
        "amount_nulls": column["amount"].null_count,
        "small": pc.sum(column["small"]).as_py(),
        "empty_words": sum(1 for value in column["words"].to_pylist() if value == ""),
        "raw_bytes": sum(len(value) for value in column["raw"].to_pylist() if value is not None),
        "raw_nulls": column["raw"].null_count,
        "flags": pc.sum(column["flag"]).as_py(),
        "first_day": min(value for value in column["day"].to_pylist() if value is not None),
        "last_doc": max(str(value) for value in docs),
    }
    types = {field.name: str(field.type) for field in table.schema}
    return {"sums": {name: plain(value) for name, value in sums.items()}, "types": types}


def plain(value):
    """A decimal without an exponent."""
    return format(value, "f") if hasattr(value, "as_tuple") else text(value)


if __name__ == "__main__":
    import decimal

    decimal.getcontext().prec = 60
    print(json.dumps({"duckdb": with_duckdb(), "pyarrow": with_pyarrow()}))
