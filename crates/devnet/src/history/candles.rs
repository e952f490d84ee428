//! Candles of all intervals for whole days at several ages: coarser ones are made from the minutes, a few are left out
//! or partial, and only what these would prove may be kept by a correct retention.

use anyhow::Context;
use serde::Serialize;
use sqlx::PgConnection;

const DAY_MS: i64 = 86_400_000;
const HOUR_MS: i64 = 3_600_000;
/// Ages of the filled days: each between two limits of the requirement (7, 30, 90, 180, 365, 730 days).
const AGES_DAYS: [i64; 7] = [1, 12, 60, 120, 250, 500, 800];
const MARKETS: [&str; 2] = ["BTC-USDC", "ETH-USDC"];

/// A window whose coarser candle does not prove the finer ones, so they must stay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BrokenWindow {
    /// The market.
    pub market: &'static str,
    /// The interval of the coarser candle.
    pub prover: &'static str,
    /// Finer intervals it would have to prove.
    pub finer: Vec<&'static str>,
    /// The window `[lower, upper)`, epoch ms.
    pub window_ms: (i64, i64),
    /// `missing` or `partial`.
    pub how: &'static str,
}

/// Minutes, and everything coarser as the minutes add up to it. `$1` day, `$2` market, `$3` seed.
const MINUTES: &str = "\
    INSERT INTO eidos_market_klines (market, interval, open_time, open, high, low, close, volume, quote_volume, trade_count, close_time)
    SELECT $2, '1m', $1::bigint + m * 60000, p, p + CASE WHEN t > 0 THEN 0.5 ELSE 0 END, p - CASE WHEN t > 0 THEN 0.25 ELSE 0 END,
           p + CASE WHEN t > 0 THEN 0.125 ELSE 0 END, t * 0.000000000000000003, t * 0.17, t, $1::bigint + m * 60000 + 59999
    FROM (SELECT m, 60000 + h % 1000 * 0.01 AS p, CASE WHEN m % 5 = 3 THEN 0 ELSE 1 + h % 9 END AS t
          FROM generate_series(0, 1439) AS m,
               LATERAL (SELECT ('x' || substr(md5($3 || $2 || $1::text || m), 1, 8))::bit(32)::bigint AS h) AS x) AS minute";

/// `$1` first instant, `$2` market, `$3` interval, `$4` its width in ms, `$5` first instant after.
const COARSER: &str = "\
    INSERT INTO eidos_market_klines (market, interval, open_time, open, high, low, close, volume, quote_volume, trade_count, close_time)
    SELECT $2, $3, w, (array_agg(open ORDER BY open_time) FILTER (WHERE trade_count > 0))[1], max(high) FILTER (WHERE trade_count > 0),
           min(low) FILTER (WHERE trade_count > 0), (array_agg(close ORDER BY open_time DESC) FILTER (WHERE trade_count > 0))[1],
           sum(volume), sum(quote_volume), sum(trade_count), w + $4::bigint - 1
    FROM (SELECT *, $1::bigint + (open_time - $1::bigint) / $4::bigint * $4::bigint AS w FROM eidos_market_klines
          WHERE market = $2 AND interval = '1m' AND open_time >= $1::bigint AND open_time < $5::bigint) AS minute
    GROUP BY w";

/// Fills the days and breaks some windows. The week candle of each day is made from that day alone: nothing needs it.
pub(super) async fn fill(
    conn: &mut PgConnection,
    seed: u64,
    until_ms: i64,
) -> anyhow::Result<Vec<BrokenWindow>> {
    let today = until_ms.div_euclid(DAY_MS) * DAY_MS;
    for age in AGES_DAYS {
        let day = today - age * DAY_MS;
        for market in MARKETS {
            sqlx::query(MINUTES)
                .bind(day)
                .bind(market)
                .bind(format!("{seed}:"))
                .execute(&mut *conn)
                .await
                .context("candles of a minute")?;
            for (interval, width) in [
                ("5m", 300_000),
                ("15m", 900_000),
                ("30m", 1_800_000),
                ("1h", HOUR_MS),
                ("4h", 4 * HOUR_MS),
                ("1d", DAY_MS),
            ] {
                sqlx::query(COARSER)
                    .bind(day)
                    .bind(market)
                    .bind(interval)
                    .bind(width)
                    .bind(day + DAY_MS)
                    .execute(&mut *conn)
                    .await
                    .with_context(|| format!("candles of {interval}"))?;
            }
        }
    }
    let broken = broken(today);
    for window in &broken {
        let statement = if window.how == "missing" {
            "DELETE FROM eidos_market_klines WHERE market = $1 AND interval = $2 AND open_time = $3"
        } else {
            "UPDATE eidos_market_klines SET volume = volume / 2, trade_count = trade_count - 1
             WHERE market = $1 AND interval = $2 AND open_time = $3"
        };
        let done = sqlx::query(statement)
            .bind(window.market)
            .bind(window.prover)
            .bind(window.window_ms.0)
            .execute(&mut *conn)
            .await?;
        anyhow::ensure!(done.rows_affected() == 1, "{window:?} is not a candle");
    }
    Ok(broken)
}

/// Each at an age at which the coarser candle itself is still kept, so that one broken window is one consequence.
fn broken(today: i64) -> Vec<BrokenWindow> {
    let minutes = || vec!["1m", "5m", "15m", "30m"];
    let window = |market, prover, finer, age: i64, hour: i64, hours: i64, how| {
        let lower = today - age * DAY_MS + hour * HOUR_MS;
        BrokenWindow {
            market,
            prover,
            finer,
            window_ms: (lower, lower + hours * HOUR_MS),
            how,
        }
    };
    vec![
        window("BTC-USDC", "1h", minutes(), 12, 5, 1, "missing"),
        window("ETH-USDC", "1h", minutes(), 250, 23, 1, "partial"),
        window("BTC-USDC", "4h", vec!["1h"], 500, 8, 4, "missing"),
        window("ETH-USDC", "1d", vec!["4h"], 800, 0, 24, "partial"),
    ]
}
