//! The obvious way: for each market and interval, the candles that it is built from, folded here in exact decimals, and one
//! upsert.

use aggregator::domain::Level;
use anyhow::Context;
use eidos_market::{Candle, Interval};
use eidos_types::Amount;
use sqlx::{AssertSqlSafe, PgConnection, PgPool};

use crate::stage::{Cost, EXCHANGE, Stage, connect};

/// Its table, like the table of candles.
pub(crate) const TABLE: &str = "loop_klines";

const WRITE: &str = "\
    INSERT INTO loop_klines (market, interval, open_time, open, high, low, close, volume, quote_volume, trade_count, close_time) \
    SELECT $1, $2, t, o::numeric, h::numeric, l::numeric, c::numeric, v::numeric, q::numeric, n, t + $3 - 1 \
    FROM unnest($4::bigint[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::text[], $11::int[]) \
      AS r(t, o, h, l, c, v, q, n) \
    ON CONFLICT (market, interval, open_time) DO UPDATE SET open = EXCLUDED.open, high = EXCLUDED.high, low = EXCLUDED.low, \
      close = EXCLUDED.close, volume = EXCLUDED.volume, quote_volume = EXCLUDED.quote_volume, \
      trade_count = EXCLUDED.trade_count, close_time = EXCLUDED.close_time";

type Row = (i64, String, String, String, String, String, String, i32);

/// Builds the windows of `[from_ms, to_ms)` that are whole, of every market.
pub(crate) async fn measure(stage: &Stage, levels: &[Level], range: (i64, i64)) -> anyhow::Result<Cost> {
    let pool = connect(&stage.postgres.url(EXCHANGE)).await?;
    let work = async {
        build(&pool, levels, range).await?;
        pool.close().await;
        Ok(())
    };
    stage.measured_here(work).await
}

async fn build(pool: &PgPool, levels: &[Level], (from_ms, to_ms): (i64, i64)) -> anyhow::Result<()> {
    let mut conn = pool.acquire().await?;
    let markets: Vec<String> = sqlx::query_scalar("SELECT symbol::text FROM eidos_market_markets ORDER BY 1")
        .fetch_all(&mut *conn)
        .await?;
    for level in levels {
        let range = (level.interval.ceil_ms(from_ms), level.interval.floor_ms(to_ms));
        if range.0 >= range.1 {
            continue;
        }
        for market in &markets {
            let rows = read(&mut conn, market, level.source, range).await?;
            let windows = fold(&rows, level.interval)?;
            write(&mut conn, market, level.interval, &windows).await?;
        }
    }
    Ok(())
}

async fn read(
    conn: &mut PgConnection,
    market: &str,
    source: Interval,
    (from_ms, to_ms): (i64, i64),
) -> anyhow::Result<Vec<Row>> {
    let table = if source == Interval::M1 {
        "eidos_market_klines"
    } else {
        TABLE
    };
    let rows = sqlx::query_as(AssertSqlSafe(format!(
        "SELECT open_time, open::text, high::text, low::text, close::text, volume::text, quote_volume::text, trade_count \
         FROM {table} WHERE market = $1 AND interval = $2 AND open_time >= $3 AND open_time < $4 ORDER BY open_time"
    )))
    .bind(market)
    .bind(source.to_string())
    .bind(from_ms)
    .bind(to_ms);
    Ok(rows.fetch_all(conn).await?)
}

fn fold(rows: &[Row], interval: Interval) -> anyhow::Result<Vec<(i64, Candle)>> {
    let windows = rows.chunk_by(|one, next| interval.floor_ms(one.0) == interval.floor_ms(next.0));
    let windows = windows.map(|rows| {
        let candles = rows.iter().map(candle).collect::<anyhow::Result<Vec<_>>>()?;
        let folded = Candle::fold(&candles)?.context("a window without candles")?;
        Ok((interval.floor_ms(rows[0].0), folded))
    });
    windows.collect()
}

fn candle(row: &Row) -> anyhow::Result<Candle> {
    Ok(Candle {
        open: row.1.parse()?,
        high: row.2.parse()?,
        low: row.3.parse()?,
        close: row.4.parse()?,
        volume: row.5.parse()?,
        quote_volume: row.6.parse()?,
        trades: u64::try_from(row.7)?,
    })
}

async fn write(
    conn: &mut PgConnection,
    market: &str,
    interval: Interval,
    windows: &[(i64, Candle)],
) -> anyhow::Result<()> {
    let text = |value: fn(&Candle) -> Amount| -> Vec<String> {
        windows
            .iter()
            .map(|(_, candle)| value(candle).to_string())
            .collect()
    };
    let opens: Vec<i64> = windows.iter().map(|(open_ms, _)| *open_ms).collect();
    let trades = windows.iter().map(|(_, candle)| i32::try_from(candle.trades));
    sqlx::query(WRITE)
        .bind(market)
        .bind(interval.to_string())
        .bind(interval.width_ms())
        .bind(opens)
        .bind(text(|candle| candle.open))
        .bind(text(|candle| candle.high))
        .bind(text(|candle| candle.low))
        .bind(text(|candle| candle.close))
        .bind(text(|candle| candle.volume))
        .bind(text(|candle| candle.quote_volume))
        .bind(trades.collect::<Result<Vec<i32>, _>>()?)
        .execute(conn)
        .await?;
    Ok(())
}
