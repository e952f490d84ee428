"""ConnectorX into an Arrow table, then pyarrow's writer: connectorx_export.py URL TABLE FILE"""
import sys
import time
import connectorx
import pyarrow.parquet as pq

url, table, file = sys.argv[1:4]
began = time.perf_counter()
arrow = connectorx.read_sql(url, f"SELECT * FROM public.{table}", return_type="arrow")
pq.write_table(arrow, file, compression="zstd", compression_level=1)
print(time.perf_counter() - began)
