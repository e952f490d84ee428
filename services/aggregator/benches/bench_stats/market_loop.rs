//! The obvious way: for each market a query for its trades, its fees and its orders, and an upsert for each figure; then the
//! same for all markets together.

use sqlx::{AssertSqlSafe, PgConnection, PgPool};

use crate::hour::FROM_MS;
use crate::stage::{Cost, EXCHANGE, HOUR_MS, Stage, connect};

/// Its table, like the table of statistics.
pub(crate) const TABLE: &str = "loop_statistics";

/// `$1` and `$2` the hour, `$3` the market; NULL: all. Name and value of each figure.
const QUESTIONS: [&str; 4] = [
    "SELECT f.name, f.value FROM (SELECT sum(amount) AS amount, sum(quote_amount) AS quote, count(*)::numeric AS trades \
       FROM eidos_trading_trades WHERE {market} AND matched_at >= $1 AND matched_at < $2 AND settlement_status <> 5) AS t, \
       LATERAL (VALUES ('trade_volume' || CASE WHEN $3::text IS NULL THEN ':USDC' ELSE '' END, \
           CASE WHEN $3 IS NULL THEN quote ELSE amount END), \
         ('quote_volume' || CASE WHEN $3 IS NULL THEN ':USDC' ELSE '' END, quote), ('trade_count', trades)) AS f(name, value)",
    "SELECT 'fee_total:' || fee_token, sum(maker_fee + taker_fee) FROM eidos_trading_trades \
     WHERE {market} AND matched_at >= $1 AND matched_at < $2 AND settlement_status <> 5 GROUP BY fee_token",
    "SELECT 'order_count', count(*)::numeric FROM eidos_trading_orders WHERE {market} AND created_at >= $1 AND created_at < $2",
    "SELECT 'cancel_count', count(*)::numeric FROM eidos_trading_orders \
     WHERE {market} AND status = 4 AND updated_at >= $1 AND updated_at < $2",
];
/// Of all markets only.
const MOVED: [&str; 2] = [
    "SELECT 'deposit_volume:' || token, sum(amount) FROM eidos_trading_deposits \
     WHERE status = 2 AND credited_at >= $1 AND credited_at < $2 AND $3::text IS NULL GROUP BY token",
    "SELECT 'withdraw_volume:' || token, sum(amount) FROM eidos_trading_withdrawals \
     WHERE status = 3 AND confirmed_at >= $1 AND confirmed_at < $2 AND $3::text IS NULL GROUP BY token",
];
const WRITE: &str = "\
    INSERT INTO loop_statistics (stat_type, stat_date, stat_hour, market, metric_name, metric_value) \
    VALUES ('hourly', '2026-03-02', 10, $1, $2, $3::numeric) \
    ON CONFLICT (stat_type, stat_date, stat_hour, market, metric_name) DO UPDATE SET metric_value = EXCLUDED.metric_value";

pub(crate) async fn measure(stage: &Stage) -> anyhow::Result<Cost> {
    let (reading, writing) = (connect(&stage.postgres.url(EXCHANGE)).await?, stage.jobs().await?);
    let work = async {
        add_up(&reading, &mut *writing.acquire().await?).await?;
        reading.close().await;
        writing.close().await;
        Ok(())
    };
    stage.measured_here(work).await
}

async fn add_up(pool: &PgPool, writing: &mut PgConnection) -> anyhow::Result<()> {
    let markets: Vec<String> = sqlx::query_scalar("SELECT symbol::text FROM eidos_market_markets ORDER BY 1")
        .fetch_all(pool)
        .await?;
    let mut reading = pool.acquire().await?;
    for market in markets.iter().map(Some).chain([None]) {
        let of_all = if market.is_none() { MOVED.as_slice() } else { &[] };
        for question in QUESTIONS.iter().chain(of_all) {
            let condition = market.map_or("$3::text IS NULL", |_| "market = $3");
            let figures: Vec<(String, String)> = sqlx::query_as(AssertSqlSafe(format!(
                "SELECT name, value::text FROM ({}) AS figures(name, value)",
                question.replace("{market}", condition)
            )))
            .bind(FROM_MS)
            .bind(FROM_MS + HOUR_MS)
            .bind(market)
            .fetch_all(&mut *reading)
            .await?;
            for (name, value) in figures {
                sqlx::query(WRITE)
                    .bind(market)
                    .bind(name)
                    .bind(value)
                    .execute(&mut *writing)
                    .await?;
            }
        }
    }
    Ok(())
}
