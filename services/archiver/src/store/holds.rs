//! Legal holds on the hot tables, as ranges of completion time. A hold on an archive table is its partitions' matter
//! (eidos-disposal); it does not keep rows out.

use eidos_disposal::DisposalError;
use eidos_disposal::catalogue::Relation;
use eidos_disposal::hold;
use eidos_runtime::JobContext;
use eidos_settings::SourceName;

/// What holds on a table cover, [from, to) in epoch ms.
///
/// # Errors
/// What the database said.
pub async fn ranges(
    ctx: &JobContext,
    source: SourceName,
    table: &Relation,
) -> Result<Vec<(i64, i64)>, DisposalError> {
    let holds = hold::active(ctx.jobs_db().control(), source, table, (i64::MIN, i64::MAX)).await?;
    Ok(holds
        .iter()
        .map(|hold| (hold.from_ms.unwrap_or(i64::MIN), hold.to_ms.unwrap_or(i64::MAX)))
        .collect())
}

/// The first hold on a table that covers a part of a window, in words.
///
/// # Errors
/// What the database said.
pub async fn covering(
    ctx: &JobContext,
    source: SourceName,
    table: &Relation,
    window: (i64, i64),
) -> Result<Option<String>, DisposalError> {
    let holds = hold::active(ctx.jobs_db().control(), source, table, window).await?;
    Ok(holds.first().map(hold::Hold::sentence))
}
