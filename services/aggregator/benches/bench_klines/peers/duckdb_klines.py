"""Candles by DuckDB, read and written through its PostgreSQL scanner: duckdb_klines.py URL TABLE INTERVAL=SOURCE=WIDTH=ORIGIN...

One scan of the candles of one minute makes the first interval, which must be built from them; each further one is built from
the one that it names. TABLE is like the table of candles. Prints the types of the sums."""
import sys
import duckdb
from duckdb_extensions import import_extension

url, table = sys.argv[1:3]
import_extension("postgres_scanner")
db = duckdb.connect()
db.execute("LOAD postgres_scanner")
db.execute(f"ATTACH '{url}' AS pg (TYPE postgres)")
for level in sys.argv[3:]:
    interval, source, width, origin = level.split("=")
    read = "pg.public.eidos_market_klines WHERE \"interval\" = '1m'" if source == "1m" else f'"{source}"'
    traded = "FILTER (WHERE trade_count > 0)"
    db.execute(f"""CREATE TABLE "{interval}" AS SELECT market, w AS open_time,
        coalesce(arg_min(open, open_time) {traded}, arg_max(close, open_time)) AS open,
        coalesce(max(high) {traded}, arg_max(close, open_time)) AS high,
        coalesce(min(low) {traded}, arg_max(close, open_time)) AS low,
        coalesce(arg_max(close, open_time) {traded}, arg_max(close, open_time)) AS close,
        sum(volume) AS volume, sum(quote_volume) AS quote_volume, sum(trade_count)::INT AS trade_count
        FROM (SELECT *, open_time - (open_time - {origin}) % {width} AS w FROM {read}) AS minutes GROUP BY market, w
        HAVING count(*) * {{'1m': 60000, '1h': 3600000, '4h': 14400000, '1d': 86400000}}['{source}'] = {width}""")
    db.execute(f"""INSERT INTO pg.public.{table} SELECT market, '{interval}', open_time, open, high, low, close, volume,
        quote_volume, trade_count, open_time + {width} - 1 FROM "{interval}" """)
print(db.execute("""SELECT typeof(volume), typeof(open) FROM "1h" LIMIT 1""").fetchone())
