//! Legal holds of a table, read together: for the plan, and for stepping over held candles.

use eidos_disposal::DisposalError;
use eidos_disposal::catalogue::Relation;
use eidos_plan::hold::{self, Hold};
use eidos_runtime::JobContext;
use eidos_settings::SourceName;

/// `[from, to)` in epoch ms; an open side is `None`.
pub(super) type Range = (Option<i64>, Option<i64>);

/// Every hold on a table that is in force now.
///
/// # Errors
/// [`DisposalError::Sql`].
pub(super) async fn of_table(
    ctx: &JobContext,
    source: SourceName,
    table: &Relation,
) -> Result<Vec<Hold>, DisposalError> {
    Ok(hold::active(ctx.jobs_db().control(), source, table, (i64::MIN, i64::MAX)).await?)
}

/// What they cover.
pub(super) fn ranges(holds: &[Hold]) -> Vec<Range> {
    holds.iter().map(|hold| (hold.from_ms, hold.to_ms)).collect()
}

/// The sentence of the first one that covers any part of `[lower, upper)`.
pub(super) fn blocking(holds: &[Hold], window: (i64, i64)) -> Option<String> {
    holds.iter().find(|hold| hold.covers(window)).map(Hold::sentence)
}
