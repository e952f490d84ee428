//! `./scripts/bench klines`: candles of one minute to candles of 1h, 4h, 1d and 1w by `kline-agg`, beside one query and upsert
//! for each market and interval, and beside DuckDB over the same database; then one hourly tick after another.
//!
//! `--markets N` and `--days N` set how many candles there are, `--ticks N` how many hours follow.
#![expect(
    clippy::print_stdout,
    clippy::float_arithmetic,
    reason = "a benchmark measures in floats and prints"
)]

mod market_loop;
mod minutes;
mod options;
mod ours;
mod peer_duckdb;
#[path = "../stage/mod.rs"]
mod stage;
mod ticks;

use eidos_testkit::write_result;
use serde_json::json;

use crate::minutes::at_ms;
use crate::options::Options;
use crate::stage::{Cost, MINUTE_MS, Stage, assert_same, document, print_costs, rows_written};

/// What a candle is.
const COLUMNS: &str =
    "market, interval, open_time, open, high, low, close, volume, quote_volume, trade_count, close_time";
/// What the job built.
const BUILT: &str = "eidos_market_klines WHERE interval <> '1m'";

fn main() -> anyhow::Result<()> {
    // Fails only when a provider is installed already, which is what is wanted.
    let _installed_before = rustls::crypto::ring::default_provider().install_default();
    let options = Options::from_args(std::env::args().skip(1))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(run(&options))
}

async fn run(options: &Options) -> anyhow::Result<()> {
    let stage = Stage::build().await?;
    let minutes = i64::from(options.days) * 1_440;
    let rows = minutes * i64::from(options.markets);
    println!("filling {rows} candles of {} markets", options.markets);
    minutes::fill(&stage.exchange, options.markets, minutes).await?;
    for table in [market_loop::TABLE, peer_duckdb::TABLE] {
        let like = format!("CREATE TABLE {table} (LIKE eidos_market_klines INCLUDING ALL)");
        minutes::run(&stage.exchange, &like).await?;
    }
    let slot_ms = at_ms(minutes) + MINUTE_MS;
    println!("building");
    let in_steps = stage.run("kline-agg", slot_ms, ours::IN_STEPS).await?;
    let range = (at_ms(0), at_ms(minutes));
    let in_loop = market_loop::measure(&stage, &ours::levels(&stage, ours::DEFAULTS)?, range).await?;
    let candles = assert_same(&stage.exchange, COLUMNS, (BUILT, market_loop::TABLE)).await?;
    forget(&stage).await?;
    let defaults = stage.run("kline-agg", slot_ms, ours::DEFAULTS).await?;
    let by_duckdb = peer_duckdb::measure(&stage, &ours::levels(&stage, ours::IN_STEPS)?).await?;
    for table in [market_loop::TABLE, peer_duckdb::TABLE] {
        assert_same(&stage.exchange, COLUMNS, (BUILT, table)).await?;
    }
    let again = run_again(&stage, slot_ms).await?;
    let ways = [
        ("ours, default intervals", defaults),
        ("ours, each from the next finer", in_steps),
        ("one query per market and interval", in_loop),
        ("DuckDB, PostgreSQL scanner", by_duckdb),
    ];
    println!("\n{candles} candles, equal in every way, compared by the database");
    print_costs(&ways);
    let ticks = ticks::measure(&stage, options, minutes).await?;
    let result = json!({
        "markets": options.markets, "days": options.days, "minutes": rows, "candles_equal": candles, "build": document(&ways),
        "rows_written_by_a_second_run": again.1, "second_run": again.0, "ticks": ticks,
    });
    println!(
        "written to {}",
        write_result("bench", "klines", &result).display()
    );
    Ok(())
}

/// Deletes what was built, and that it was.
async fn forget(stage: &Stage) -> anyhow::Result<()> {
    minutes::run(&stage.exchange, &format!("DELETE FROM {BUILT}")).await?;
    minutes::run(&stage.exchange, "VACUUM (ANALYZE)").await?;
    stage.forget_runs().await
}

/// A run that finds nothing new: what it costs, and how many candles it wrote.
async fn run_again(stage: &Stage, slot_ms: i64) -> anyhow::Result<(Cost, i64)> {
    let before = rows_written(&stage.exchange, "eidos_market_klines").await?;
    let cost = stage
        .run("kline-agg", slot_ms + MINUTE_MS, ours::DEFAULTS)
        .await?;
    let written = rows_written(&stage.exchange, "eidos_market_klines").await? - before;
    anyhow::ensure!(
        written == 0,
        "a run that finds nothing new wrote {written} candles"
    );
    Ok((cost, written))
}
