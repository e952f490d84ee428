//! Batched moves: rows per second of the real archiver, what a point query notices, and whether an old snapshot slows it.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use eidos_testkit::Quantiles;
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use crate::bare_moves;
use crate::options::Options;
use crate::stage::{Stage, fill_trades, pool, program};

/// A run that takes longer hangs.
const WITHIN: Duration = Duration::from_mins(20);
/// Batches of 1000 rows, no pause, and an archive that keeps everything.
const UNTHROTTLED: &str = "jobs:
  archive-data: { batch_rows: 1000, sleep_ms: 0, archive_retention_months: 1200, timeout: 20m, retry: { max_attempts: 1 } }
";

pub(crate) async fn measure(stage: &Stage, options: &Options) -> anyhow::Result<Value> {
    let mut sizes = serde_json::Map::new();
    for &rows in &options.rows {
        println!("\nbatched moves of {rows} settled trades, 1000 rows a batch, no pause");
        // Beside each other: what else the machine does at the time meets both.
        let quiet = one(stage, rows, false).await?;
        let bare = bare_moves::measure(stage, rows).await?;
        let held = one(stage, rows, true).await?;
        println!(
            "  ours takes {:.2} times as long as the bare statement",
            bare / quiet.rows_per_s
        );
        sizes.insert(
            rows.to_string(),
            json!({ "quiet": quiet.shown, "old_snapshot_held": held.shown, "bare_statement_rows_per_s": bare }),
        );
    }
    Ok(Value::Object(sizes))
}

/// What one run showed.
struct Moved {
    rows_per_s: f64,
    shown: Value,
}

async fn one(stage: &Stage, rows: u64, old_snapshot: bool) -> anyhow::Result<Moved> {
    let name = &format!("move_{rows}_{}", if old_snapshot { "snapshot" } else { "quiet" });
    let jobs_name = format!("{name}_jobs");
    let (exchange, jobs) = (stage.exchange(name).await?, stage.jobs(&jobs_name).await?);
    fill_trades(&exchange, rows).await?;
    let settings = stage.settings(name, &jobs_name, UNTHROTTLED)?;
    let mut snapshot = exchange.begin().await?;
    if old_snapshot {
        sqlx::query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            .execute(&mut *snapshot)
            .await?;
        // The snapshot is taken by the first statement.
        sqlx::query("SELECT 1").execute(&mut *snapshot).await?;
    }
    let before = idle_query(&exchange, rows, Duration::from_secs(2)).await?;
    let stop = CancellationToken::new();
    let watcher = tokio::spawn(point_queries(
        pool(&stage.postgres.url(name)).await?,
        rows,
        stop.clone(),
    ));
    let mut child = Command::new(program("archiver")?)
        .args(["run", "archive-data", "--format", "json"])
        .env("EIDOS_CONFIG", &settings)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let status = tokio::time::timeout(WITHIN, child.wait()).await??;
    let words = child.wait_with_output().await?.stderr;
    ensure!(
        status.success(),
        "archiver: {status}: {}",
        String::from_utf8_lossy(&words)
    );
    stop.cancel();
    let during = watcher.await??;
    snapshot.rollback().await?;
    let result = judge(&exchange, &jobs, rows, (&before, &during), old_snapshot).await?;
    exchange.close().await;
    jobs.close().await;
    stage.postgres.drop_database(name).await?;
    Ok(result)
}

async fn judge(
    exchange: &PgPool,
    jobs: &PgPool,
    rows: u64,
    (before, during): (&Quantiles, &Quantiles),
    old_snapshot: bool,
) -> anyhow::Result<Moved> {
    let moved: i64 = sqlx::query_scalar("SELECT count(*) FROM eidos_trading_trades_archive")
        .fetch_one(exchange)
        .await?;
    ensure!(moved == i64::try_from(rows)?, "{moved} of {rows} rows were moved");
    let duration_ms: i32 = sqlx::query_scalar(
        "SELECT duration_ms FROM eidos_jobs_executions WHERE job_name = 'archive-data' AND status = 'success'",
    )
    .fetch_one(jobs)
    .await?;
    let (first, last) = batch_times(exchange).await?;
    let rows_per_s = rows as f64 / f64::from(duration_ms) * 1000.0;
    let situation = if old_snapshot {
        "old snapshot held open"
    } else {
        "nothing else"
    };
    println!(
        "  {situation:<24} {rows_per_s:>9.0} rows/s   batch, first tenth {first:.1} ms, last tenth {last:.1} ms\n\
         {:27}point query alone    {before}\n{:27}point query meanwhile {during}",
        "", ""
    );
    let shown = json!({
        "rows_per_s": rows_per_s, "batch_first_tenth_ms": first, "batch_last_tenth_ms": last,
        "point_query_alone": before, "point_query_meanwhile": during,
    });
    Ok(Moved { rows_per_s, shown })
}

/// The median time between two batches, in the first and the last tenth of them.
async fn batch_times(exchange: &PgPool) -> anyhow::Result<(f64, f64)> {
    let starts: Vec<i64> =
        sqlx::query_scalar("SELECT DISTINCT archived_at FROM eidos_trading_trades_archive ORDER BY 1")
            .fetch_all(exchange)
            .await?;
    let mut gaps: Vec<i64> = starts.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let tenth = (gaps.len() / 10).max(1);
    let median = |gaps: &mut [i64]| {
        gaps.sort_unstable();
        gaps.get(gaps.len() / 2).copied()
    };
    let end = gaps.len() - tenth;
    let last = median(&mut gaps[end..]).context("no batches")?;
    let first = median(&mut gaps[..tenth]).context("no batches")?;
    Ok((first as f64, last as f64))
}

/// What a point query takes while nothing else happens.
async fn idle_query(exchange: &PgPool, rows: u64, span: Duration) -> anyhow::Result<Quantiles> {
    let stop = CancellationToken::new();
    let watcher = tokio::spawn(point_queries(exchange.clone(), rows, stop.clone()));
    tokio::time::sleep(span).await;
    stop.cancel();
    watcher.await?
}

/// One trade by its id, again and again, as the exchange would ask.
async fn point_queries(exchange: PgPool, rows: u64, stop: CancellationToken) -> anyhow::Result<Quantiles> {
    let mut durations = Vec::new();
    let mut id: u64 = 1;
    while !stop.is_cancelled() {
        id = (id * 48_271) % 2_147_483_647;
        let began = Instant::now();
        sqlx::query("SELECT price FROM eidos_trading_trades WHERE trade_id = $1")
            .bind(format!("trade-{}", id % rows + 1))
            .fetch_optional(&exchange)
            .await?;
        durations.push(began.elapsed());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(Quantiles::of(durations))
}
