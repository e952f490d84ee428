//! What a service costs while it has nothing to do.

use std::time::Duration;

use anyhow::Context;
use eidos_testkit::{cpu_seconds, eventually, resident_mib};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::arena::Arena;

const WATCHED: Duration = Duration::from_mins(1);

pub(crate) async fn measure(arena: &Arena) -> anyhow::Result<Value> {
    let jobs = arena.jobs().await?;
    let hourly = "0 59 3 1 1 *".to_owned();
    let replica = arena.replica_with(
        0,
        &[
            ("EIDOS__JOBS__RECONCILIATION__CRON", hourly.clone()),
            ("EIDOS__JOBS__RECONCILIATION__FULL_CRON", hourly),
            // As a deployment has it, not as the fault run does.
            ("EIDOS__SCHEDULER__POLL_INTERVAL", "1s".to_owned()),
        ],
    )?;
    eventually("the service has settled", Duration::from_secs(30), async || {
        resident_mib(replica.pid()).map(drop).ok_or("it is not running")
    })
    .await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let (cpu, queries, commands) = (
        cpu_seconds(replica.pid()).context("the service ended")?,
        transactions(&jobs).await?,
        redis_commands(arena).await?,
    );
    // The measurement itself: a minute of doing nothing.
    tokio::time::sleep(WATCHED).await;
    let seconds = WATCHED.as_secs_f64();
    let cpu_percent = (cpu_seconds(replica.pid()).context("the service ended")? - cpu) / seconds * 100.0;
    let queries_per_s = (transactions(&jobs).await? - queries) / seconds;
    let commands_per_s = (redis_commands(arena).await? - commands) / seconds;
    let resident_mib = resident_mib(replica.pid()).context("the service ended")?;
    replica.terminate();
    replica.wait_exit(Duration::from_secs(30)).await;
    println!(
        "idle service, 60 s\n  cpu {cpu_percent:.2} % of a core   transactions {queries_per_s:.1}/s   \
         redis commands {commands_per_s:.1}/s   resident {resident_mib:.1} MiB\n"
    );
    Ok(json!({
        "cpu_percent": cpu_percent, "transactions_per_s": queries_per_s,
        "redis_commands_per_s": commands_per_s, "resident_mib": resident_mib,
    }))
}

async fn transactions(jobs: &PgPool) -> anyhow::Result<f64> {
    let count: i64 = sqlx::query_scalar(
        "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()",
    )
    .fetch_one(jobs)
    .await?;
    Ok(count as f64)
}

async fn redis_commands(arena: &Arena) -> anyhow::Result<f64> {
    let mut redis = redis::Client::open(arena.redis.url())?
        .get_multiplexed_async_connection()
        .await?;
    let info: String = redis::cmd("INFO").arg("stats").query_async(&mut redis).await?;
    let line = info
        .lines()
        .find(|line| line.starts_with("total_commands_processed:"))
        .unwrap_or_default();
    Ok(line.rsplit(':').next().unwrap_or_default().trim().parse()?)
}
