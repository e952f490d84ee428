//! `eidos_jobs_archive_progress`: how far a table is, for people. It decides nothing (ruling 31).

use eidos_core::CoreError;
use eidos_core::fence::Step;

use super::units::ours;

pub(super) const RECORD: &str = "\
    INSERT INTO eidos_jobs_archive_progress (table_name, last_id, started_at) VALUES ($1, $2, now()) \
    ON CONFLICT (table_name) DO UPDATE SET last_id = EXCLUDED.last_id, updated_at = now(), \
        started_at = coalesce(eidos_jobs_archive_progress.started_at, EXCLUDED.started_at)";

/// Notes the last moved row of a table.
///
/// # Errors
/// What the database said.
pub async fn record(step: &mut Step<'_>, table: &str, last_id: i64) -> Result<(), CoreError> {
    sqlx::query(RECORD)
        .bind(table)
        .bind(last_id)
        .execute(step.conn())
        .await
        .map_err(ours("record the archive's progress"))?;
    Ok(())
}
