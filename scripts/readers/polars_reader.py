"""Polars over the exports: polars_reader.py INDEX"""

import decimal

import polars as pl

from common import files, kinds, months, report, wallet


def scan(*tables, **options):
    return pl.scan_parquet([file for table in tables for file in files(table)], **options)


def columns_of(table):
    read = scan(table).collect()

    def values(name, kind):
        column = read[name]
        if kind == "date":
            column = column.cast(pl.Int32)
        if kind.startswith("timestamp"):
            column = column.cast(pl.Int64)
        return column.to_list()

    return {name: values(name, kind) for name, kind in kinds(table).items()}


def one(frame):
    return frame.collect().item()


def count(table, condition):
    return one(scan(table).filter(condition).select(pl.len()))


def both_months(**options):
    both = scan("months_1", "months_2", **options)
    found = both.select(pl.len().alias("rows"), pl.col("amount").sum(), pl.col("gone").count(), pl.col("extra").sum())
    return months(*found.collect().row(0))


def month_by_month():
    both = pl.concat([scan("months_1"), scan("months_2")], how="diagonal")
    found = both.select(pl.len().alias("rows"), pl.col("amount").sum(), pl.col("gone").count(), pl.col("extra").sum())
    return months(*found.collect().row(0))


def exact(values):
    """Python's decimals have as many digits as they are told to have."""
    with decimal.localcontext() as context:
        context.prec = 100
        return sum(values, decimal.Decimal(0))


def exact_product():
    read = scan("trades").select("price", "amount").collect()
    with decimal.localcontext() as context:
        context.prec = 100
        return sum((price * amount for price, amount in read.iter_rows()), decimal.Decimal(0))


naive = {
    "sum": lambda: one(scan("whales").select(pl.col("total").sum())),
    "product": lambda: one(scan("trades").select((pl.col("price") * pl.col("amount")).sum())),
    "literal": lambda: count("trades", pl.col("fee") == 0.100000000000000003),
    "nullable": lambda: one(scan("trades").select(pl.col("filled_by").sum())),
    "padded": lambda: count("every_type", pl.col("padded") == "p1"),
    "nan": lambda: count("floats", pl.col("reading").is_nan()),
    "wallet": lambda: count("trades", pl.col("wallet") == wallet()),
    "months": both_months,
}
right = naive | {
    "sum": lambda: exact(scan("whales").select("total").collect()["total"].to_list()),
    "product": exact_product,
    "literal": lambda: count("trades", pl.col("fee") == pl.lit("0.100000000000000003").cast(pl.Decimal(36, 18))),
    "padded": lambda: count("every_type", pl.col("padded").str.strip_chars_end(" ") == "p1"),
    "months": month_by_month,
}
report("Polars", pl.__version__, columns_of, naive, right)
