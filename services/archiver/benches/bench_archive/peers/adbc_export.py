"""ADBC's PostgreSQL driver, streamed batch by batch into pyarrow's writer: adbc_export.py URL TABLE FILE"""
import sys
import time
import adbc_driver_postgresql.dbapi as dbapi
import pyarrow.parquet as pq

url, table, file = sys.argv[1:4]
began = time.perf_counter()
with dbapi.connect(url) as connection, connection.cursor() as cursor:
    cursor.execute(f"SELECT * FROM public.{table}")
    reader = cursor.fetch_record_batch()
    with pq.ParquetWriter(file, reader.schema, compression="zstd", compression_level=1) as writer:
        for batch in reader:
            writer.write_batch(batch)
print(time.perf_counter() - began)
