"""pandas over the exports: pandas_reader.py INDEX default|pyarrow"""

import decimal
import sys

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from common import files, kinds, months, report, wallet

BACKEND = sys.argv[2]
OPTIONS = {} if BACKEND == "default" else {"dtype_backend": "pyarrow"}


def frame(*tables):
    return pd.concat([pd.read_parquet(file, **OPTIONS) for table in tables for file in files(table)])


def columns_of(table):
    read = frame(table)

    def values(name, kind):
        column = read[name]
        whole = kind in ("smallint", "integer", "bigint")
        floats = kind in ("real", "double precision")
        if BACKEND == "pyarrow":
            arrow = pa.array(column.array)
            if kind == "date":
                arrow = arrow.cast(pa.int32())
            if kind.startswith("timestamp"):
                arrow = arrow.cast(pa.int64())
            return arrow.to_pylist()
        missing = column.isna()
        if floats or whole:
            # Where NULL and NaN are one, NaN is what can be told.
            return [None if gone and not floats else value for gone, value in zip(missing, column.tolist())]
        return [None if gone else value for gone, value in zip(missing, column)]

    return {name: values(name, kind) for name, kind in kinds(table).items()}


def exact_sum(values):
    with decimal.localcontext() as context:
        context.prec = 100
        return sum(values, decimal.Decimal(0))


def product():
    trades = frame("trades")
    return (trades["price"] * trades["amount"]).sum()


def exact_product():
    trades = frame("trades")
    with decimal.localcontext() as context:
        context.prec = 100
        pairs = zip(trades["price"].tolist(), trades["amount"].tolist())
        return sum((price * amount for price, amount in pairs), decimal.Decimal(0))


def both_months():
    both = frame("months_1", "months_2")
    return months(len(both), exact_sum(both["amount"].tolist()), both["gone"].count(), both["extra"].sum())


def nullable_exact():
    trades = pd.concat([pd.read_parquet(file, dtype_backend="pyarrow") for file in files("trades")])
    return trades["filled_by"].sum()


def months_exact():
    read = [pd.read_parquet(file, dtype_backend="pyarrow") for month in ("months_1", "months_2") for file in files(month)]
    both = pd.concat(read)
    return months(len(both), exact_sum(both["amount"].tolist()), both["gone"].count(), both["extra"].sum())


naive = {
    "sum": lambda: frame("whales")["total"].sum(),
    "product": product,
    "literal": lambda: (frame("trades")["fee"] == 0.100000000000000003).sum(),
    "nullable": lambda: frame("trades")["filled_by"].sum(),
    "padded": lambda: (frame("every_type")["padded"] == "p1").sum(),
    "nan": lambda: frame("floats")["reading"].isna().sum(),
    "wallet": lambda: len(pd.concat([pd.read_parquet(file, filters=[("wallet", "==", wallet())]) for file in files("trades")])),
    "months": both_months,
}
right = naive | {
    "sum": lambda: exact_sum(frame("whales")["total"].tolist()),
    "product": exact_product,
    "literal": lambda: (frame("trades")["fee"] == decimal.Decimal("0.100000000000000003")).sum(),
    "nullable": nullable_exact,
    "padded": lambda: (frame("every_type")["padded"].str.rstrip(" ") == "p1").sum(),
    "nan": lambda: sum(pc.sum(pc.is_nan(pa.array(pd.read_parquet(file, dtype_backend="pyarrow")["reading"].array))).as_py()
                       for file in files("floats")),
    "months": months_exact,
}
report(f"pandas, {BACKEND} dtypes", pd.__version__, columns_of, naive, right)
