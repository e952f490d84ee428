"""fastparquet over the exports, which makes floats of decimals: fastparquet_reader.py INDEX"""

from concurrent.futures import ProcessPoolExecutor

import fastparquet
import pandas as pd

from common import files, kinds, months, report, wallet


def frame(*tables):
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


def answer(name):
    return answers[name]()


def apart(function, argument):
    """Calls it in a process of its own: a process that dies is an answer too."""
    with ProcessPoolExecutor(1) as pool:
        return pool.submit(function, argument).result()


naive = {name: lambda name=name: apart(answer, name) for name in answers}
report("fastparquet", fastparquet.__version__, lambda table: apart(columns_of, table), naive, {})
