//! The market service's tables.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use eidos_market::{Candle, Interval};
use eidos_types::Amount;
use sqlx::{PgPool, Row};

use super::{DAY_MS, Tape};

/// Lists a market since this time.
///
/// # Errors
/// If the database refuses.
pub async fn list_market(market_db: &PgPool, market: &str, since_ms: i64) -> anyhow::Result<()> {
    sqlx::query(
        "INSERT INTO eidos_market_markets (symbol, base_token, quote_token, min_size, max_size, min_notional, tick_size, \
         created_at, updated_at) VALUES ($1, split_part($1, '-', 1), split_part($1, '-', 2), 1, 1, 1, 1, $2, $2)",
    )
    .bind(market)
    .bind(since_ms)
    .execute(market_db)
    .await
    .with_context(|| format!("listing {market}"))?;
    Ok(())
}

/// Stores the candles of one minute of `[from_ms, to_ms)`, replacing what is there.
///
/// # Errors
/// If the market has no trade before the first of them, or the database refuses.
pub async fn store_minutes(
    market_db: &PgPool,
    tape: &Tape,
    market: &str,
    (from_ms, to_ms): (i64, i64),
) -> anyhow::Result<()> {
    let mut at_ms = from_ms;
    while at_ms < to_ms {
        let until_ms = to_ms.min(at_ms + DAY_MS);
        let minutes = tape.minutes(market, (at_ms, until_ms))?;
        upsert(market_db, market, &minutes)
            .await
            .with_context(|| format!("candles of {market}"))?;
        at_ms = until_ms;
    }
    Ok(())
}

async fn upsert(market_db: &PgPool, market: &str, minutes: &[(i64, Candle)]) -> anyhow::Result<()> {
    let text = |value: fn(&Candle) -> Amount| -> Vec<String> {
        let values = minutes.iter().map(|(_, candle)| value(candle).to_string());
        values.collect()
    };
    let counts: Result<Vec<i32>, _> = minutes
        .iter()
        .map(|(_, candle)| i32::try_from(candle.trades))
        .collect();
    sqlx::query(
        "INSERT INTO eidos_market_klines (market, interval, open_time, open, high, low, close, volume, quote_volume, \
           trade_count, close_time) \
         SELECT $1, '1m', t, o::numeric, h::numeric, l::numeric, c::numeric, v::numeric, q::numeric, n, t + 59999 \
         FROM unnest($2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::int[]) \
           AS r(t, o, h, l, c, v, q, n) \
         ON CONFLICT (market, interval, open_time) DO UPDATE SET open = EXCLUDED.open, high = EXCLUDED.high, \
           low = EXCLUDED.low, close = EXCLUDED.close, volume = EXCLUDED.volume, \
           quote_volume = EXCLUDED.quote_volume, trade_count = EXCLUDED.trade_count",
    )
    .bind(market)
    .bind(minutes.iter().map(|(open_ms, _)| *open_ms).collect::<Vec<_>>())
    .bind(text(|candle| candle.open))
    .bind(text(|candle| candle.high))
    .bind(text(|candle| candle.low))
    .bind(text(|candle| candle.close))
    .bind(text(|candle| candle.volume))
    .bind(text(|candle| candle.quote_volume))
    .bind(counts?)
    .execute(market_db)
    .await?;
    Ok(())
}

/// How long after it happened a trade is stored.
const AT_ONCE_MS: i64 = 25;

/// Stores the public trades of `[from_ms, to_ms)`. `stored_ms`: when they were stored; `None`: as soon as they happened.
pub(super) async fn store_trades(
    market_db: &PgPool,
    tape: &Tape,
    market: &str,
    range: (i64, i64),
    stored_ms: Option<i64>,
) -> anyhow::Result<()> {
    let trades: Vec<_> = tape.timed(market, range).enumerate().collect();
    for chunk in trades.chunks(5_000) {
        let ids: Vec<String> = chunk
            .iter()
            // The number within the range keeps trades of one millisecond apart, and in their order.
            .map(|(number, (at_ms, _))| format!("{market}-{at_ms}-{number:06}"))
            .collect();
        let text = |value: fn(&eidos_market::Trade) -> Amount| -> Vec<String> {
            let values = chunk.iter().map(|(_, (_, trade))| value(trade).to_string());
            values.collect()
        };
        let times: Vec<i64> = chunk.iter().map(|(_, (at_ms, _))| *at_ms).collect();
        sqlx::query(
            "INSERT INTO eidos_market_trades (trade_id, market, price, amount, quote_amount, side, timestamp, created_at) \
             SELECT id, $1, p::numeric, a::numeric, q::numeric, t % 2 + 1, t, coalesce($6, t + $7) \
             FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $8::bigint[]) AS r(id, p, a, q, t)",
        )
        .bind(market)
        .bind(ids)
        .bind(text(|trade| trade.price))
        .bind(text(|trade| trade.amount))
        .bind(text(|trade| trade.quote_amount))
        .bind(stored_ms)
        .bind(AT_ONCE_MS)
        .bind(times)
        .execute(market_db)
        .await
        .with_context(|| format!("public trades of {market}"))?;
    }
    Ok(())
}

/// Returns the stored candles of an interval by their beginnings.
///
/// # Errors
/// If the database refuses, or a candle does not end where its interval does.
pub async fn stored_candles(
    market_db: &PgPool,
    market: &str,
    interval: Interval,
) -> anyhow::Result<BTreeMap<i64, Candle>> {
    let rows = sqlx::query(
        "SELECT open_time, open::text, high::text, low::text, close::text, volume::text, quote_volume::text, trade_count, \
           close_time FROM eidos_market_klines WHERE market = $1 AND interval = $2",
    )
    .bind(market)
    .bind(interval.to_string())
    .fetch_all(market_db)
    .await?;
    let mut candles = BTreeMap::new();
    for row in &rows {
        let amount = |name| anyhow::Ok(row.try_get::<String, _>(name)?.parse::<Amount>()?);
        let (open_ms, close_ms): (i64, i64) = (row.try_get("open_time")?, row.try_get("close_time")?);
        ensure!(
            close_ms == open_ms + interval.width_ms() - 1,
            "{market} {interval} at {open_ms} ends at {close_ms}"
        );
        let candle = Candle {
            open: amount("open")?,
            high: amount("high")?,
            low: amount("low")?,
            close: amount("close")?,
            volume: amount("volume")?,
            quote_volume: amount("quote_volume")?,
            trades: u64::try_from(row.try_get::<i32, _>("trade_count")?)?,
        };
        candles.insert(open_ms, candle);
    }
    Ok(candles)
}
