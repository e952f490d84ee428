//! From a slot to the start of its run, with three replicas racing for it.

use std::time::Duration;

use eidos_testkit::{Quantiles, eventually};
use serde_json::{Value, json};

use crate::arena::Arena;

const SLOTS: i64 = 60;

pub(crate) async fn measure(arena: &Arena) -> anyhow::Result<Value> {
    let jobs = arena.jobs().await?;
    // All clocks are right here: a skewed one would only lose every race.
    let replicas = (0..3)
        .map(|index| Ok(arena.command(index, &[])?.spawn()))
        .collect::<anyhow::Result<Vec<_>>>()?;
    eventually("enough slots have run", Duration::from_mins(5), async || {
        let done: i64 = sqlx::query_scalar(STARTED)
            .fetch_one(&jobs)
            .await
            .map_err(|error| error.to_string())?;
        if done >= SLOTS {
            Ok(())
        } else {
            Err(format!("{done} of {SLOTS}"))
        }
    })
    .await;
    for replica in &replicas {
        replica.terminate();
    }
    for replica in &replicas {
        replica.wait_exit(Duration::from_secs(30)).await;
    }
    let delays_ms: Vec<i64> = sqlx::query_scalar(DELAYS).fetch_all(&jobs).await?;
    let delays = delays_ms
        .into_iter()
        .map(|ms| Duration::from_millis(u64::try_from(ms).unwrap_or_default()));
    let delays = Quantiles::of(delays.collect());
    println!("slot to start, 3 replicas, poll every 100 ms\n  {delays}\n");
    Ok(json!(delays))
}

const STARTED: &str =
    "SELECT count(*) FROM eidos_jobs_executions WHERE trigger = 'schedule' AND status = 'success'";
/// The first run is left out: it waits for the process to start.
const DELAYS: &str = "
SELECT started_at - slot_ms FROM eidos_jobs_executions
WHERE trigger = 'schedule' AND status = 'success' ORDER BY slot_ms OFFSET 1";
