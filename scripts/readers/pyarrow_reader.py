"""pyarrow over the exports: pyarrow_reader.py INDEX"""

import decimal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from common import files, kinds, months, report, wallet


def table_of(name):
    return pa.concat_tables([pq.read_table(file) for file in files(name)])


def columns_of(table):
    read = table_of(table)

    def values(name, kind):
        column = read[name]
        if kind == "date":
            column = column.cast(pa.int32())
        if kind.startswith("timestamp"):
            column = column.cast(pa.int64())
        return column.to_pylist()

    return {name: values(name, kind) for name, kind in kinds(table).items()}


def wide(column):
    return column.cast(pa.decimal256(column.type.precision, column.type.scale))


def where(table, condition):
    return ds.dataset(files(table), format="parquet").count_rows(filter=condition)


def both_months(schema):
    both = ds.dataset(files("months_1") + files("months_2"), schema=schema, format="parquet").to_table()
    return months(both.num_rows, pc.sum(both["amount"]).as_py(), both["gone"].length() - both["gone"].null_count,
                  pc.sum(both["extra"]).as_py())


def unified():
    return pa.unify_schemas([pq.read_schema(files(month)[0]).remove_metadata() for month in ("months_1", "months_2")])



trades = lambda: table_of("trades")
naive = {
    "sum": lambda: pc.sum(table_of("whales")["total"]).as_py(),
    "product": lambda: pc.sum(pc.multiply(trades()["price"], trades()["amount"])).as_py(),
    "literal": lambda: where("trades", pc.field("fee") == 0.100000000000000003),
    "nullable": lambda: pc.sum(trades()["filled_by"]).as_py(),
    "padded": lambda: where("every_type", pc.field("padded") == "p1"),
    "nan": lambda: where("floats", pc.is_nan(pc.field("reading"))),
    "wallet": lambda: where("trades", pc.field("wallet") == wallet()),
    "months": lambda: both_months(None),
}
right = naive | {
    "sum": lambda: pc.sum(wide(table_of("whales")["total"])).as_py(),
    "product": lambda: pc.sum(pc.multiply(wide(trades()["price"]), wide(trades()["amount"]))).as_py(),
    "literal": lambda: where("trades", pc.field("fee") == pa.scalar(decimal.Decimal("0.100000000000000003"), pa.decimal128(36, 18))),
    "padded": lambda: where("every_type", pc.utf8_rtrim(pc.field("padded"), " ") == "p1"),
    "months": lambda: both_months(unified()),
}
report("pyarrow", pa.__version__, columns_of, naive, right)
