"""DuckDB's PostgreSQL scanner to Parquet: duckdb_export.py URL TABLE FILE"""
import sys
import time
import duckdb
from duckdb_extensions import import_extension

url, table, file = sys.argv[1:4]
began = time.perf_counter()
import_extension("postgres_scanner")
db = duckdb.connect()
db.execute("LOAD postgres_scanner")
db.execute(f"ATTACH '{url}' AS pg (TYPE postgres, READ_ONLY)")
db.execute(f"COPY (SELECT * FROM pg.public.{table}) TO '{file}' (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1)")
print(time.perf_counter() - began)
