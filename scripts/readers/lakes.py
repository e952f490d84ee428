"""Delta and Iceberg tables over the exports in place; no file is copied or changed: lakes.py INDEX FOLDER"""

import json
import os
import pathlib
import sys

import pyarrow.compute as pc
import pyarrow.parquet as pq

from common import files, months, plain, tried

FOLDER = sys.argv[2]


def with_delta():
    """A log in the table's folder, which names the parts by their paths below it."""
    import deltalake
    from deltalake.transaction import AddAction, create_table_with_add_actions

    parts = [pathlib.Path(file) for file in files("trades")]
    folder = parts[0].parents[2]
    schema = deltalake.Schema.from_arrow(pq.read_schema(parts[0]).remove_metadata())
    actions = [
        AddAction(
            path=str(part.relative_to(folder)),
            size=part.stat().st_size,
            partition_values={},
            modification_time=int(part.stat().st_mtime * 1000),
            data_change=True,
            stats=json.dumps({"numRecords": pq.read_metadata(part).num_rows}),
        )
        for part in parts
    ]
    create_table_with_add_actions(str(folder), schema, actions, mode="error")
    read = deltalake.DeltaTable(str(folder)).to_pyarrow_table()
    return f"{read.num_rows} {plain(pc.sum(read['fee']).as_py())}"


def with_iceberg():
    from pyiceberg.catalog.sql import SqlCatalog

    os.makedirs(f"{FOLDER}/iceberg", exist_ok=True)
    catalog = SqlCatalog("local", uri=f"sqlite:///{FOLDER}/iceberg/catalog.db", warehouse=f"file://{FOLDER}/iceberg")
    catalog.create_namespace("archive")
    first, second = files("months_1"), files("months_2")
    table = catalog.create_table("archive.months", schema=pq.read_schema(first[0]))
    table.add_files(["file://" + os.path.abspath(file) for file in first])
    with table.update_schema() as update:
        update.union_by_name(pq.read_schema(second[0]))
    table.add_files(["file://" + os.path.abspath(file) for file in second])
    read = table.scan().to_arrow()
    gone = len(read) - read["gone"].null_count
    return months(len(read), pc.sum(read["amount"]).as_py(), gone, pc.sum(read["extra"]).as_py())


if __name__ == "__main__":
    print(json.dumps({"delta": tried(with_delta), "iceberg": tried(with_iceberg)}))
