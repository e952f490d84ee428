//! One unit, taken back by a person: under the lease and the fence of `data-cleanup`, so that no run is in the middle of it.

use eidos_disposal::partition::{DropQuota, PartitionDisposal, PartitionPolicy, UndoRequest, unit_to_undo};
use eidos_runtime::{JobContext, JobError};

use super::job::{DataCleanup, Fences};
use super::report::Report;

/// Does nothing but the undo.
///
/// # Errors
/// [`JobError`] says what is in the way, or what is gone already and how it is restored.
pub(crate) async fn undo(
    job: &DataCleanup,
    ctx: &JobContext,
    named: &str,
    request: &UndoRequest,
) -> Result<Report, JobError> {
    let unit = unit_to_undo(ctx, named).await?;
    job.pool(unit.source)?;
    let external = Fences::default().of(job, ctx, unit.source).await?;
    let policy = PartitionPolicy {
        source: unit.source,
        archive: unit.format,
        quarantine_days: job.disposal.quarantine_days,
        held_with: Vec::new(),
    };
    let disposal = PartitionDisposal {
        ctx,
        external: &external,
        store: job.store.as_ref(),
        settings: &job.disposal,
        policy,
        quota: &DropQuota::new(0),
    };
    let undone = Box::pin(disposal.undo(unit, request)).await?;
    Ok(Report::undone(ctx.slot(), undone)?)
}
