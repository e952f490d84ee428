//! What an approved plan has done already: no later survey finds it.

use std::collections::BTreeSet;

use eidos_disposal::DisposalError;
use eidos_pg::Relation;
use eidos_types::TimeRange;
use sqlx::PgPool;

pub(super) const UNITS_OF_PLAN: &str = "\
    SELECT schema_name, table_name, unit_name FROM eidos_jobs_disposal_units \
    WHERE plan_digest = $1 AND state NOT IN ('planned', 'abandoned')";

pub(super) const DELETED_BY_PLAN: &str = "\
    SELECT DISTINCT table_name, object_name FROM eidos_jobs_disposals WHERE plan_digest = $1 AND action = 'delete'";

pub(super) const CREATED_BY_PLAN: &str = "\
    SELECT source::text, table_name::text, (evidence ->> 'lower_ms')::bigint, (evidence ->> 'upper_ms')::bigint \
    FROM eidos_jobs_disposals WHERE plan_digest = $1 AND job_name = $2 AND evidence ? 'lower_ms'";

/// Returns the table and the object of all that a plan has removed or begun to remove: units and candles.
///
/// # Errors
/// [`DisposalError::Sql`].
pub(crate) async fn removed_by(
    pool: &PgPool,
    digest: &str,
) -> Result<BTreeSet<(String, String)>, DisposalError> {
    let failed = || DisposalError::sql("look for what a plan has done already");
    let units: Vec<(String, String, String)> = sqlx::query_as(UNITS_OF_PLAN)
        .bind(digest)
        .fetch_all(pool)
        .await
        .map_err(failed())?;
    let candles: Vec<(String, String)> = sqlx::query_as(DELETED_BY_PLAN)
        .bind(digest)
        .fetch_all(pool)
        .await
        .map_err(failed())?;
    let units = units
        .into_iter()
        .map(|(schema, table, unit)| (Relation::new(schema, table).plain(), unit));
    Ok(units.chain(candles).collect())
}

/// A stretch of time that got its partition: source, table, and which.
pub(crate) type Created = (String, String, TimeRange);

/// Returns the stretches of time that got their partitions by a plan of `job`.
///
/// # Errors
/// [`DisposalError::Sql`].
pub(crate) async fn created_by(
    pool: &PgPool,
    job: &str,
    digest: &str,
) -> Result<Vec<Created>, DisposalError> {
    let rows: Vec<(String, String, i64, i64)> = sqlx::query_as(CREATED_BY_PLAN)
        .bind(digest)
        .bind(job)
        .fetch_all(pool)
        .await
        .map_err(DisposalError::sql("look what a plan has done"))?;
    let created = rows
        .into_iter()
        .filter_map(|(source, table, lower, upper)| Some((source, table, TimeRange::new(lower, upper)?)));
    Ok(created.collect())
}
