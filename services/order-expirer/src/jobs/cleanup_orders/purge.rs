//! Unlinks the cache keys of cancelled orders that are old enough. An order's keys go only with a reading of the primary
//! that shows it as cancelled.

use eidos_runtime::{JobContext, JobError};
use eidos_telemetry::metric;

use super::{CleanupOrders, CleanupReport};
use crate::jobs::stored;
use crate::settings::ms;
use crate::store::orders::Position;

/// The last order whose keys were unlinked.
const POSITION: &str = "cache-after";

/// Unlinks keys, within the run's limits. The position moves after the keys are gone: a crash repeats a batch.
pub(super) async fn run(
    job: &CleanupOrders,
    ctx: &JobContext,
    report: &mut CleanupReport,
) -> Result<(), JobError> {
    let settings = &job.settings.cache;
    if !job.cache.is_on() {
        return Ok(());
    }
    let cutoff_ms = ctx.slot().ms().saturating_sub(ms(settings.after));
    let mut from: Position = ctx.load_checkpoint(POSITION).await?.unwrap_or_default();
    let mut session = None;
    let reserve = ctx.budget_left() / 10;
    while report.cache_orders < u64::from(settings.orders_per_run) && ctx.budget_left() > reserve {
        ctx.check_cancelled()?;
        let page = job
            .orders
            .cancelled(&job.primary, cutoff_ms, from, i64::from(settings.batch_orders))
            .await
            .map_err(stored("read cancelled orders"))?;
        let Some(last) = page.last() else { return Ok(()) };
        if session.is_none() {
            session = Some(job.cache.connect().await.map_err(JobError::retry)?);
        }
        let ids: Vec<&str> = page.iter().map(|order| order.order_id.as_str()).collect();
        if let Some(session) = &mut session {
            let keys = session.unlink(&ids).await.map_err(JobError::retry)?;
            report.cache_keys += keys;
            metric::expiry_cache_keys_unlinked(keys);
        }
        report.cache_orders += page.len() as u64;
        from = Position {
            at_ms: last.updated_at,
            id: last.id,
        };
        let mut step = ctx.step().await?;
        step.save_checkpoint(POSITION, &from).await?;
        step.commit().await?;
    }
    report.cut_short = true;
    Ok(())
}
