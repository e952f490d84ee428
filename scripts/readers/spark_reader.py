"""Spark over the exports: spark_reader.py INDEX"""

import decimal
import os
import sys

import pyspark
from pyspark.sql import SparkSession, functions as f

from common import files, kinds, months, report, wallet

os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
spark = (
    SparkSession.builder.master("local[1]")
    .config("spark.ui.enabled", "false")
    .config("spark.sql.session.timeZone", "UTC")
    .config("spark.driver.bindAddress", "127.0.0.1")
    .config("spark.driver.host", "127.0.0.1")
    .getOrCreate()
)
spark.sparkContext.setLogLevel("OFF")


def frame(*tables, **options):
    return spark.read.options(**options).parquet(*[file for table in tables for file in files(table)])


def columns_of(table):
    def shown(name, kind):
        column = f.col(name)
        if kind == "date":
            return f.unix_date(column).alias(name)
        if kind == "timestamp without time zone":
            return f.unix_micros(column.cast("timestamp")).alias(name)
        return f.unix_micros(column).alias(name) if kind.startswith("timestamp") else column

    order = ["moment", "id"] if table.startswith("months") else ["id"]
    rows = frame(table).orderBy(*order).select(*[shown(name, kind) for name, kind in kinds(table).items()]).collect()
    return {name: [row[name] for row in rows] for name in kinds(table)}


def one(table, expression, condition="true"):
    return frame(table).where(condition).select(f.expr(expression)).collect()[0][0]


def both_months(**options):
    row = frame("months_1", "months_2", **options).select(
        f.count("*"), f.sum("amount"), f.count("gone"), f.sum("extra")
    ).collect()[0]
    return months(*row)


def exact(values):
    with decimal.localcontext() as context:
        context.prec = 100
        return sum(values, decimal.Decimal(0))


FIT = "price = CAST(price AS DECIMAL(18,8)) AND amount = CAST(amount AS DECIMAL(18,8))"
naive = {
    "sum": lambda: one("whales", "sum(total)"),
    "product": lambda: one("trades", "sum(price * amount)"),
    "literal": lambda: one("trades", "count(*)", "fee = 0.100000000000000003"),
    "nullable": lambda: one("trades", "sum(filled_by)"),
    "padded": lambda: one("every_type", "count(*)", "padded = 'p1'"),
    "nan": lambda: one("floats", "count(*)", "isnan(reading)"),
    "wallet": lambda: one("trades", "count(*)", f"wallet = '{wallet()}'"),
    "months": both_months,
}
right = naive | {
    # Whole and fraction apart: each sum has at most 38 digits.
    "sum": lambda: exact(
        frame("whales").select(f.expr("sum(CAST(total - total % 1 AS DECIMAL(18,0)))"), f.expr("sum(total % 1)"))
        .collect()[0]
    ),
    "product": lambda: one("trades", "sum(CAST(price AS DECIMAL(18,8)) * CAST(amount AS DECIMAL(18,8)))", FIT),
    "padded": lambda: one("every_type", "count(*)", "rtrim(padded) = 'p1'"),
    "months": lambda: both_months(mergeSchema="true"),
}
report("Spark", pyspark.__version__, columns_of, naive, right)
spark.stop()
