//! Legal holds, as ranges of completion time. One on a hot table keeps its rows there and in the archive; one on an archive
//! table keeps that table's months, but no rows out of it.

use eidos_disposal::DisposalError;
use eidos_disposal::catalogue::Relation;
use eidos_plan::hold;
use eidos_runtime::JobContext;
use eidos_settings::SourceName;

use crate::jobs::archive_data::survey::MovedTable;

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

/// The first hold on a table or its archive that covers a part of a window, in words.
///
/// # Errors
/// What the database said.
pub async fn covering(
    ctx: &JobContext,
    table: &MovedTable,
    window: (i64, i64),
) -> Result<Option<String>, DisposalError> {
    let archive = table.archive.as_ref().map(|shape| &shape.relation);
    for relation in std::iter::once(&table.relation).chain(archive) {
        let holds = hold::active(ctx.jobs_db().control(), table.rule.source, relation, window).await?;
        if let Some(hold) = holds.first() {
            return Ok(Some(format!("{} on {}", hold.sentence(), relation.plain())));
        }
    }
    Ok(None)
}
