"""Whether a Parquet file holds a table's money exactly: exactness.py FILE... prints rows and the exact sums of its columns."""
import json
import sys
from decimal import Decimal, getcontext
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

getcontext().prec = 100
COLUMNS = ["price", "amount", "quote_amount", "maker_fee", "taker_fee"]
rows = 0
sums = {name: Decimal(0) for name in COLUMNS}
types = {}
for path in sys.argv[1:]:
    parquet = pq.ParquetFile(path)
    for batch in parquet.iter_batches(columns=COLUMNS):
        rows += batch.num_rows
        for name in COLUMNS:
            column = batch.column(name)
            types[name] = str(column.type)
            if pa.types.is_decimal(column.type):
                sums[name] += pc.sum(column).as_py() or 0  # exact, and raises on overflow
            else:
                for value in column:
                    sums[name] += Decimal(str(value.as_py()))
print(json.dumps({"rows": rows, "sums": {name: str(value) for name, value in sums.items()}, "types": types}))
