"""ClickHouse, in this process as chdb, over the exports: clickhouse_reader.py INDEX"""

import json
import struct

import chdb

from common import files, kinds, months, report, wallet


def query(text):
    return json.loads(chdb.query(text, "JSONCompact").bytes())["data"]


def one(text):
    return query(text)[0][0]


def scan(*tables):
    names = ", ".join(f"'{file}'" for table in tables for file in files(table))
    return f"file([{names}], Parquet)"


def columns_of(table):
    def shown(name, kind):
        if kind == "date":
            return f"toInt32(toDate32({name}))"
        if kind.startswith("timestamp"):
            return f"toString(toUnixTimestamp64Micro({name}))"
        if kind == "real":
            return f"lower(hex(reinterpretAsFixedString(reinterpretAsUInt32({name}))))"
        if kind == "double precision":
            return f"toString(reinterpretAsUInt64({name}))"
        if kind in ("bytea", "uuid"):
            return f"lower(hex({name}))"
        return f"toString({name})"

    order = "moment, id" if table.startswith("months") else "id"
    picked = ", ".join(shown(name, kind) for name, kind in kinds(table).items())
    rows = query(f"SELECT {picked} FROM {scan(table)} ORDER BY {order}")

    def value(found, kind):
        if found is None:
            return None
        if kind in ("bytea", "uuid"):
            return bytes.fromhex(found)
        if kind == "real":
            return bytes_as(">f", bytes.fromhex(found)[::-1])
        if kind == "double precision":
            return bytes_as(">d", int(found).to_bytes(8, "big"))
        if kind == "boolean":
            return found == "true"
        return found

    return {
        name: [value(row[place], kind) for row in rows]
        for place, (name, kind) in enumerate(kinds(table).items())
    }


def bytes_as(form, raw):
    return struct.unpack(form, raw)[0]


def both_months(settings=""):
    both = scan("months_1", "months_2")
    return months(*query(f"SELECT count(), toString(sum(amount)), count(gone), sum(extra) FROM {both} {settings}")[0])


naive = {
    "sum": lambda: one(f"SELECT toString(sum(total)) FROM {scan('whales')}"),
    "product": lambda: one(f"SELECT toString(sum(price * amount)) FROM {scan('trades')}"),
    "literal": lambda: one(f"SELECT toString(count()) FROM {scan('trades')} WHERE fee = 0.100000000000000003"),
    "nullable": lambda: one(f"SELECT toString(sum(filled_by)) FROM {scan('trades')}"),
    "padded": lambda: one(f"SELECT toString(count()) FROM {scan('every_type')} WHERE padded = 'p1'"),
    "nan": lambda: one(f"SELECT toString(count()) FROM {scan('floats')} WHERE isNaN(reading)"),
    "wallet": lambda: one(f"SELECT toString(count()) FROM {scan('trades')} WHERE wallet = '{wallet()}'"),
    "months": both_months,
}
right = naive | {
    "sum": lambda: one(f"SELECT toString(sum(toDecimal256(total, 18))) FROM {scan('whales')}"),
    "product": lambda: one(
        f"SELECT toString(sum(toDecimal256(price, 18) * toDecimal256(amount, 18))) FROM {scan('trades')}"
    ),
    "literal": lambda: one(
        f"SELECT toString(count()) FROM {scan('trades')} WHERE fee = toDecimal128('0.100000000000000003', 18)"
    ),
    "padded": lambda: one(f"SELECT toString(count()) FROM {scan('every_type')} WHERE trimRight(padded) = 'p1'"),
    "months": lambda: both_months("SETTINGS schema_inference_mode = 'union'"),
}
report("ClickHouse (chdb)", one("SELECT version()"), columns_of, naive, right)
