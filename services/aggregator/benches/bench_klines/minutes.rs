//! Candles of one minute, made by the database: the same for the same numbers.

use sqlx::PgPool;

use crate::stage::{MINUTE_MS, MONDAY_MS};

/// Mixed into every price and amount.
const SEED: i64 = 20_261_203;

/// Every 50th market trades once in three hours and so has windows without a trade; every other one trades in four minutes of
/// five. Prices and amounts have 18 decimals. `$1` markets, `$2` and `$3` the range of minutes, `$4` seed, `$5` beginning of
/// the first minute. Rows are in the order of time, as the market service writes them.
const FILL: &str = "\
    INSERT INTO eidos_market_klines (market, interval, open_time, open, high, low, close, volume, quote_volume, trade_count, close_time) \
    SELECT market, '1m', at, CASE WHEN traded THEN open ELSE close END, \
      CASE WHEN traded THEN greatest(open, close) + c * 0.000000000000000013 ELSE close END, \
      CASE WHEN traded THEN least(open, close) - d * 0.000000000000000011 ELSE close END, close, \
      CASE WHEN traded THEN volume ELSE 0 END, CASE WHEN traded THEN round(volume * open, 18) ELSE 0 END, \
      CASE WHEN traded THEN 1 + d % 100 ELSE 0 END, at + 59999 \
    FROM (SELECT 'M' || lpad(m::text, 4, '0') || '-USDC' AS market, $5::bigint + t * 60000 AS at, last = t AS traded, c, d, \
        100 + m % 900 + a * 0.000000059604644775 AS open, 100 + m % 900 + b * 0.000000059604644771 AS close, \
        (c + 1) * 0.000000000123456789 AS volume \
      FROM (SELECT m, t, last, h & 16777215 AS a, (h >> 24) & 16777215 AS b, g & 16777215 AS c, (g >> 24) & 16777215 AS d \
        FROM (SELECT m, t, last, hashint8extended(last * 10000 + m, $4) AS h, hashint8extended(last * 10000 + m, $4 + 1) AS g \
          FROM (SELECT m, t, t - CASE WHEN m % 50 = 0 THEN t % 180 ELSE t % 5 / 4 END AS last \
            FROM generate_series($2::bigint, $3::bigint - 1) AS t CROSS JOIN generate_series(1, $1::int) AS m) AS minutes \
          ) AS hashed) AS drawn) AS priced";

const LIST: &str = "\
    INSERT INTO eidos_market_markets (symbol, base_token, quote_token, min_size, max_size, min_notional, tick_size, created_at, updated_at) \
    SELECT 'M' || lpad(m::text, 4, '0') || '-USDC', 'M' || lpad(m::text, 4, '0'), 'USDC', 1, 1, 1, 1, 0, 0 \
    FROM generate_series(1, $1::int) AS m";

/// Lists the markets and writes their first days, with the indexes built afterwards.
pub(crate) async fn fill(exchange: &PgPool, markets: i32, minutes: i64) -> anyhow::Result<()> {
    sqlx::query(LIST).bind(markets).execute(exchange).await?;
    let (indexes, key): (Vec<String>, String) = sqlx::query_as(
        "SELECT array_agg(indexdef) FILTER (WHERE indexname NOT LIKE '%_pkey'), \
           (SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'eidos_market_klines_pkey') \
         FROM pg_indexes WHERE tablename = 'eidos_market_klines'",
    )
    .fetch_one(exchange)
    .await?;
    run(
        exchange,
        "ALTER TABLE eidos_market_klines DROP CONSTRAINT eidos_market_klines_pkey; \
         DROP INDEX idx_eidos_market_klines_market, idx_eidos_market_klines_open",
    )
    .await?;
    add(exchange, markets, (0, minutes)).await?;
    let indexes = indexes.join("; ");
    run(
        exchange,
        &format!(
            "SET maintenance_work_mem = '1GB'; \
             ALTER TABLE eidos_market_klines ADD CONSTRAINT eidos_market_klines_pkey {key}; {indexes}; \
             RESET maintenance_work_mem"
        ),
    )
    .await?;
    run(exchange, "VACUUM (ANALYZE)").await
}

/// Writes these minutes, numbered from the Monday.
pub(crate) async fn add(exchange: &PgPool, markets: i32, (from, to): (i64, i64)) -> anyhow::Result<()> {
    sqlx::query(FILL)
        .bind(markets)
        .bind(from)
        .bind(to)
        .bind(SEED)
        .bind(MONDAY_MS)
        .execute(exchange)
        .await?;
    Ok(())
}

/// Runs statements as they are.
pub(crate) async fn run(exchange: &PgPool, statements: &str) -> anyhow::Result<()> {
    sqlx::raw_sql(sqlx::AssertSqlSafe(statements.to_owned()))
        .execute(exchange)
        .await?;
    Ok(())
}

/// The beginning of a minute.
pub(crate) const fn at_ms(minute: i64) -> i64 {
    MONDAY_MS + minute * MINUTE_MS
}
