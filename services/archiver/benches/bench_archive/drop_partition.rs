//! Dropping a partition under load: how long the table's readers and writers wait at most.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::ensure;
use eidos_testkit::Quantiles;
use eidos_types::{Clock, SystemClock};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use crate::stage::{Stage, pool, program};

const LOCK_TIMEOUT_MS: u32 = 300;
/// A run that takes longer hangs.
const WITHIN: Duration = Duration::from_mins(10);
const ROWS: i64 = 1_000_000;

pub(crate) async fn measure(stage: &Stage) -> anyhow::Result<Value> {
    println!(
        "\npartitions exported, detached and dropped while the table is read and written; lock_timeout {LOCK_TIMEOUT_MS} ms"
    );
    let (exchange, jobs) = (
        stage.exchange("drop_load").await?,
        stage.jobs("drop_load_jobs").await?,
    );
    fill_events(&exchange).await?;
    let settings = stage.settings(
        "drop_load",
        "drop_load_jobs",
        &format!(
            "disposal: {{ lock_timeout: {LOCK_TIMEOUT_MS}ms, lock_attempts: 50, quarantine_days: 0 }}
jobs:
  data-cleanup: {{ timeout: 20m, retry: {{ max_attempts: 1 }} }}
data_retention:
  partitioned_tables:
    eidos_chain_events: {{ retention_months: 1, archive_before_drop: true }}
"
        ),
    )?;
    let stop = CancellationToken::new();
    let url = stage.postgres.url("drop_load");
    let reading = tokio::spawn(short_reads(pool(&url).await?, stop.clone()));
    let writing = tokio::spawn(writes(pool(&url).await?, stop.clone()));
    let long = tokio::spawn(long_reads(pool(&url).await?, stop.clone()));
    for _slot in 0..2 {
        cleanup(&settings).await?;
    }
    stop.cancel();
    let (reads, inserts) = (reading.await??, writing.await??);
    long.await??;
    let dropped: i64 =
        sqlx::query_scalar("SELECT count(*) FROM eidos_jobs_disposal_units WHERE state = 'dropped'")
            .fetch_one(&jobs)
            .await?;
    ensure!(dropped > 0, "nothing was dropped: this measured nothing");
    println!("  partitions dropped {dropped}\n  short reads   {reads}\n  inserts       {inserts}");
    Ok(json!({ "dropped": dropped, "lock_timeout_ms": LOCK_TIMEOUT_MS, "reads": reads, "inserts": inserts }))
}

async fn cleanup(settings: &std::path::Path) -> anyhow::Result<()> {
    let child = Command::new(program("retention-manager")?)
        .args([
            "run",
            "data-cleanup",
            "--tables=[\"eidos_chain_events\"]",
            "--format",
            "json",
        ])
        .env("EIDOS_CONFIG", settings)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let output = tokio::time::timeout(WITHIN, child.wait_with_output()).await??;
    ensure!(
        output.status.success(),
        "retention-manager: {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// Rows in every month there is a partition for.
async fn fill_events(exchange: &PgPool) -> anyhow::Result<()> {
    sqlx::query(
        "INSERT INTO eidos_chain_events (chain_id, block_number, tx_hash, log_index, event_type, event_data, processed, created_at, updated_at)
         SELECT 31337, n, '0x' || md5(n::text), 0, 'Deposit', jsonb_build_object('data', repeat('ab', 50)), true, at, at
         FROM (SELECT n, (extract(epoch FROM now()) * 1000)::bigint - (n % 500) * 86400000 AS at FROM generate_series(1, $1) AS n) AS row",
    )
    .bind(ROWS)
    .execute(exchange)
    .await?;
    Ok(())
}

async fn short_reads(exchange: PgPool, stop: CancellationToken) -> anyhow::Result<Quantiles> {
    let mut durations = Vec::new();
    while !stop.is_cancelled() {
        let began = Instant::now();
        sqlx::query(
            "SELECT id FROM eidos_chain_events WHERE created_at > $1 ORDER BY created_at DESC LIMIT 1",
        )
        .bind(SystemClock::default().now_ms() - 86_400_000)
        .fetch_optional(&exchange)
        .await?;
        durations.push(began.elapsed());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(Quantiles::of(durations))
}

async fn writes(exchange: PgPool, stop: CancellationToken) -> anyhow::Result<Quantiles> {
    let mut durations = Vec::new();
    while !stop.is_cancelled() {
        let began = Instant::now();
        sqlx::query(
            "INSERT INTO eidos_chain_events (chain_id, block_number, tx_hash, log_index, event_type, event_data, processed, created_at, updated_at)
             VALUES (31337, 1, '0x', 0, 'Deposit', '{}', true, $1, $1)",
        )
        .bind(SystemClock::default().now_ms())
        .execute(&exchange)
        .await?;
        durations.push(began.elapsed());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(Quantiles::of(durations))
}

/// Queries over the whole table that hold their locks for half a second: what a drop has to get past.
async fn long_reads(exchange: PgPool, stop: CancellationToken) -> anyhow::Result<()> {
    while !stop.is_cancelled() {
        sqlx::query("SELECT count(*), pg_sleep(0.5) FROM eidos_chain_events")
            .execute(&exchange)
            .await?;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}
