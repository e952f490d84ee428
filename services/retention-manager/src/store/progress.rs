//! `eidos_jobs_archive_progress`: how far a table is, for people. It decides nothing (ruling 31).

use eidos_core::fence::Step;
use eidos_disposal::DisposalError;
use eidos_pg::Relation;

pub(super) const NOTE: &str = "\
    INSERT INTO eidos_jobs_archive_progress (table_name, last_id, started_at) VALUES ($1, $2, now()) \
    ON CONFLICT (table_name) DO UPDATE SET last_id = EXCLUDED.last_id, updated_at = now(), \
        started_at = coalesce(eidos_jobs_archive_progress.started_at, EXCLUDED.started_at)";

/// Returns a table's name in the progress: with its schema where that is not `public`.
pub(crate) fn name_of(table: &Relation) -> String {
    if table.schema == "public" {
        table.name.clone()
    } else {
        table.plain()
    }
}

/// Notes how far a table is: `upto_ms` is the end of the last piece, epoch ms.
///
/// # Errors
/// [`DisposalError::Sql`].
pub(crate) async fn note(step: &mut Step<'_>, name: &str, upto_ms: i64) -> Result<(), DisposalError> {
    // The column is as long as a table's name with its schema; the interval of candles may not fit any more.
    let name: String = name.chars().take(260).collect();
    sqlx::query(NOTE)
        .bind(name)
        .bind(upto_ms)
        .execute(step.conn())
        .await
        .map_err(DisposalError::sql("note the progress of a table"))?;
    Ok(())
}
