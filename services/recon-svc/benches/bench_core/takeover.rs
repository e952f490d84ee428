//! How long until another replica works when the one that holds the lease is killed, or stopped.

use std::time::{Duration, Instant};

use eidos_testkit::{ChildProcess, Quantiles, eventually};
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use crate::arena::{Arena, LEASE_TTL};

const TIMES: usize = 10;

#[derive(Debug, Clone, Copy)]
enum Strike {
    Kill,
    Stop,
}

pub(crate) async fn measure(arena: &Arena) -> anyhow::Result<Value> {
    let killed = Quantiles::of(repeat(arena, Strike::Kill).await?);
    let stopped = Quantiles::of(repeat(arena, Strike::Stop).await?);
    println!("takeover, lease {} s, a slot every 2 s", LEASE_TTL.as_secs());
    println!("  after SIGKILL       {killed}\n  after SIGSTOP       {stopped}\n");
    Ok(json!({ "lease_ttl_ms": LEASE_TTL.as_millis(), "after_sigkill": killed, "after_sigstop": stopped }))
}

async fn repeat(arena: &Arena, how: Strike) -> anyhow::Result<Vec<Duration>> {
    let jobs = arena.jobs().await?;
    let mut durations = Vec::new();
    for _ in 0..TIMES {
        let victim = working_replica(arena, 0)?;
        let node = running_node(&jobs, None).await;
        let heir = working_replica(arena, 2)?;
        let begun = Instant::now();
        match how {
            Strike::Kill => {
                victim.kill();
            }
            Strike::Stop => victim.pause().await,
        }
        running_node(&jobs, Some(node)).await;
        durations.push(begun.elapsed());
        victim.kill();
        heir.kill();
    }
    Ok(durations)
}

/// A replica whose runs last, because suspects rest before they are read again.
fn working_replica(arena: &Arena, index: usize) -> anyhow::Result<ChildProcess> {
    arena.replica_with(
        index,
        &[("EIDOS__RECONCILIATION__RECHECK_DELAY", "10s".to_owned())],
    )
}

/// Waits for an execution that is running now, and not on `other`; returns its node.
async fn running_node(jobs: &PgPool, other: Option<Uuid>) -> Uuid {
    eventually("a replica runs the job", Duration::from_mins(2), async || {
        let node: Option<Uuid> = sqlx::query_scalar(
            "SELECT e.node_id FROM eidos_jobs_executions e JOIN eidos_jobs_state s USING (job_name, epoch)
             WHERE e.status = 'running' AND e.node_id IS DISTINCT FROM $1 AND e.node_id IS NOT NULL
               AND e.started_at > (extract(epoch FROM now()) * 1000 - 20000)",
        )
        .bind(other)
        .fetch_optional(jobs)
        .await
        .map_err(|error| error.to_string())?;
        node.ok_or_else(|| "none is running".to_owned())
    })
    .await
}
