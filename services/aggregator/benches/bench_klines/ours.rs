//! `kline-agg` as the program runs it, and whether a tick reads by an index.

use aggregator::AggregatorSettings;
use aggregator::domain::Level;
use aggregator::store::candles::Candles;
use anyhow::Context;
use eidos_settings::Input;
use sqlx::{AssertSqlSafe, PgPool};

use crate::stage::{HOUR_MS, MINUTE_MS, Stage};

/// As the reference has it: each interval from the finest that divides it.
pub(crate) const DEFAULTS: &str = "";
/// Each interval from the next finer one, as the peer in DuckDB does.
pub(crate) const IN_STEPS: &str = "kline-agg: { intervals: { 1h: 1m, 4h: 1h, 1d: 4h, 1w: 1d } }";

/// The levels of these settings.
pub(crate) fn levels(stage: &Stage, jobs: &str) -> anyhow::Result<Vec<Level>> {
    let levels = settings(stage, jobs)?.options.kline_agg.levels();
    levels.map_err(|wrong| anyhow::anyhow!("{wrong:?}"))
}

fn settings(stage: &Stage, jobs: &str) -> anyhow::Result<eidos_settings::Effective<AggregatorSettings>> {
    let file = stage.settings(jobs)?;
    let input = Input {
        file: Some(&file),
        env: Vec::new(),
    };
    Ok(eidos_settings::load(&input)?)
}

/// The plan of the statement that builds the hour that ends at `until_ms`, of all markets.
pub(crate) async fn plan_of_a_tick(stage: &Stage, until_ms: i64) -> anyhow::Result<String> {
    let schema = settings(stage, DEFAULTS)?.service.aggregation_profile.market();
    let schema = schema.map_err(|wrong| anyhow::anyhow!("{wrong:?}"))?;
    let candles = Candles::new(&schema);
    let markets = candles.markets(&stage.exchange).await?;
    let statements = candles.statements();
    let (_, write) = statements.first().context("there is no statement")?;
    let plan: Vec<String> = sqlx::query_scalar(AssertSqlSafe(format!("EXPLAIN {}", write.as_str())))
        .bind("1m")
        .bind("1h")
        .bind(HOUR_MS)
        .bind(MINUTE_MS)
        .bind(vec![1_i64])
        .bind(0_i64)
        .bind(true)
        .bind(i64::MIN)
        .bind(0_i64)
        .bind(0_i64)
        .bind(&markets)
        .bind(until_ms - HOUR_MS)
        .bind(until_ms)
        .fetch_all(&stage.exchange)
        .await?;
    Ok(plan.join("\n"))
}

/// Scans of the table of candles so far: rows that were read without an index, and scans by one.
pub(crate) async fn scans(exchange: &PgPool) -> anyhow::Result<(i64, i64)> {
    let scans =
        "SELECT seq_tup_read, idx_scan FROM pg_stat_user_tables WHERE relname = 'eidos_market_klines'";
    Ok(sqlx::query_as(scans).fetch_one(exchange).await?)
}
