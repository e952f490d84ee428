"""fastparquet over the exports, which converts decimals to floats: fastparquet_reader.py INDEX"""

import fastparquet
import pandas as pd

from common import files, kinds, months, report, wallet


# This version crashes on the table, so it does not read it.
NOT_ASKED = "every_type"


def frame(*tables):
    if NOT_ASKED in tables:
        raise LookupError(f"{NOT_ASKED} is not asked for")
    return pd.concat([fastparquet.ParquetFile(file).to_pandas() for table in tables for file in files(table)])


def columns_of(table):
    read = frame(table)
    values = {}
    for name, kind in kinds(table).items():
        column = read[name]
        floats = kind in ("real", "double precision")
        missing = column.isna()
        values[name] = [None if gone and not floats else value for gone, value in zip(missing, column.tolist())]
    return values


answers = {
    "sum": lambda: float(frame("whales")["total"].sum()),
    "product": lambda: float((frame("trades")["price"] * frame("trades")["amount"]).sum()),
    "literal": lambda: (frame("trades")["fee"] == 0.100000000000000003).sum(),
    "nullable": lambda: frame("trades")["filled_by"].sum(),
    "padded": lambda: (frame("every_type")["padded"] == "p1").sum(),
    "nan": lambda: frame("floats")["reading"].isna().sum(),
    "wallet": lambda: (frame("trades")["wallet"] == wallet()).sum(),
}


report("fastparquet", fastparquet.__version__, columns_of, answers, {})
