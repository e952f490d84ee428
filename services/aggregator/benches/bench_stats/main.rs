//! `./scripts/bench stats`: one hour with a million trades added up by `stats-agg`, beside a loop over the markets; and both a
//! second time, when there is nothing to write.
//!
//! `--trades N` sets how many trades the hour has (and with them orders, deposits and withdrawals), `--markets N` of how many
//! markets.
#![expect(
    clippy::print_stdout,
    clippy::float_arithmetic,
    reason = "a benchmark measures in floats and prints"
)]

mod hour;
mod market_loop;
mod options;
#[path = "../stage/mod.rs"]
mod stage;

use anyhow::ensure;
use eidos_testkit::write_result;
use serde_json::json;
use sqlx::PgPool;

use crate::options::Options;
use crate::stage::{Cost, HOUR_MS, MINUTE_MS, Stage, assert_same, document, print_costs, rows_written};

/// The goal of the hour, with the start of the program.
const GOAL_S: f64 = 2.0;
const TABLE: &str = "eidos_jobs_statistics";
/// The figures of the hour that is measured.
const MEASURED: &str = "eidos_jobs_statistics WHERE stat_date = '2026-03-02' AND stat_hour = 10";
const COLUMNS: &str = "stat_type, stat_date, stat_hour, market, metric_name, metric_value";

fn main() -> anyhow::Result<()> {
    // Fails only when a provider is installed already, which is what is wanted.
    let _installed_before = rustls::crypto::ring::default_provider().install_default();
    let options = Options::from_args(std::env::args().skip(1))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(run(&options))
}

async fn run(options: &Options) -> anyhow::Result<()> {
    let stage = Stage::build().await?;
    println!("filling an hour with {} trades", options.trades);
    let rows = hour::fill(&stage.exchange, options).await?;
    let jobs = stage.jobs().await?;
    let like = format!("CREATE TABLE {} (LIKE {TABLE} INCLUDING ALL)", market_loop::TABLE);
    sqlx::raw_sql(sqlx::AssertSqlSafe(like)).execute(&jobs).await?;
    // The hours before, which have nothing, are the first run's.
    let slot_ms = hour::FROM_MS + 5 * MINUTE_MS;
    stage.run("stats-agg", slot_ms, "").await?;
    let slot_ms = slot_ms + HOUR_MS;
    let ours = ours(&stage, &jobs, slot_ms).await?;
    let in_loop = in_loop(&stage, &jobs).await?;
    let figures = assert_same(&jobs, COLUMNS, (MEASURED, market_loop::TABLE)).await?;
    let ours_again = self::ours(&stage, &jobs, slot_ms + MINUTE_MS).await?;
    let loop_again = self::in_loop(&stage, &jobs).await?;
    ensure!(
        ours_again.1 == 0,
        "a run that finds nothing new wrote {} figures",
        ours_again.1
    );
    let ways = [
        ("ours", ours.0),
        ("loop over the markets", in_loop.0),
        ("ours, a second time", ours_again.0),
        ("loop over the markets, a second time", loop_again.0),
    ];
    println!("\n{rows:?}\n{figures} figures, equal both ways, compared by the database");
    print_costs(&ways);
    println!(
        "rows written by a second time: ours {}, loop {}",
        ours_again.1, loop_again.1
    );
    let met = ours.0.wall_s <= GOAL_S;
    println!(
        "goal, the hour within {GOAL_S} s: {}",
        if met { "met" } else { "NOT MET" }
    );
    let rows: serde_json::Map<_, _> = rows
        .into_iter()
        .map(|(what, count)| (what.to_owned(), json!(count)))
        .collect();
    let result = json!({
        "rows": rows, "figures_equal": figures, "ways": document(&ways), "goal_met": met,
        "rows_written_by_a_second_time": { "ours": ours_again.1, "loop": loop_again.1 },
    });
    println!("written to {}", write_result("bench", "stats", &result).display());
    Ok(())
}

/// A run of the job, and how many figures it wrote.
async fn ours(stage: &Stage, jobs: &PgPool, slot_ms: i64) -> anyhow::Result<(Cost, i64)> {
    let before = rows_written(jobs, TABLE).await?;
    let cost = stage.run("stats-agg", slot_ms, "").await?;
    Ok((cost, rows_written(jobs, TABLE).await? - before))
}

/// The loop, and how many figures it wrote.
async fn in_loop(stage: &Stage, jobs: &PgPool) -> anyhow::Result<(Cost, i64)> {
    let before = rows_written(jobs, market_loop::TABLE).await?;
    let cost = market_loop::measure(stage).await?;
    Ok((cost, rows_written(jobs, market_loop::TABLE).await? - before))
}
