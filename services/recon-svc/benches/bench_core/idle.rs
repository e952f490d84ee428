//! What a service costs while it has nothing to do.

use std::time::Duration;

use eidos_testkit::eventually;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::arena::Arena;

const WATCHED: Duration = Duration::from_mins(1);
/// Linux counts process time in hundredths of a second (`getconf CLK_TCK`), on every architecture we run on.
const TICKS_PER_SECOND: f64 = 100.0;

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
        let path = format!("/proc/{}/status", replica.pid());
        std::fs::read_to_string(path)
            .map_err(|error| error.to_string())
            .and_then(|status| {
                if status.contains("VmRSS") {
                    Ok(())
                } else {
                    Err("it is not running".to_owned())
                }
            })
    })
    .await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let (cpu, queries, commands) = (
        cpu_ticks(replica.pid())?,
        transactions(&jobs).await?,
        redis_commands(arena).await?,
    );
    // The measurement itself: a minute of doing nothing.
    tokio::time::sleep(WATCHED).await;
    let seconds = WATCHED.as_secs_f64();
    let cpu_percent = (cpu_ticks(replica.pid())? - cpu) / TICKS_PER_SECOND / seconds * 100.0;
    let queries_per_s = (transactions(&jobs).await? - queries) / seconds;
    let commands_per_s = (redis_commands(arena).await? - commands) / seconds;
    let resident_mib = resident_kib(replica.pid())? / 1024.0;
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

/// User and system time so far (fields 14 and 15 of `/proc/<pid>/stat`, counted from behind the name).
fn cpu_ticks(pid: u32) -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    Ok(fields[11].parse::<f64>()? + fields[12].parse::<f64>()?)
}

fn resident_kib(pid: u32) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS"))
        .unwrap_or_default();
    Ok(line.split_whitespace().nth(1).unwrap_or_default().parse()?)
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
