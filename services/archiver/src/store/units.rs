//! Units of disposal, as far as this service asks about them itself: which month is on its way out, which exports exist.

use chrono::{DateTime, Utc};
use eidos_core::CoreError;
use eidos_core::ident::SqlIdent;
use eidos_disposal::catalogue::Relation;
use eidos_pg::sql;
use eidos_runtime::{JobContext, JobError};
use eidos_types::{Month, TimeRange};
use serde::Serialize;
use sqlx::postgres::PgRow;
use sqlx::{FromRow, PgPool, Row};
use uuid::Uuid;

use crate::profile::MoveRule;

/// An export that was verified once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Exported {
    /// The unit; also the folder of the export.
    pub unit_id: Uuid,
    /// `databases.<source>`.
    pub source: String,
    /// Schema of the table it came from.
    pub schema: String,
    /// That table: the parent, for a partition.
    pub table: String,
    /// The partition's name, or `table@2024-03`.
    pub unit_name: String,
    /// First instant of its window, epoch ms.
    pub lower_ms: i64,
    /// First instant after it.
    pub upper_ms: i64,
    /// How far its disposal is.
    pub state: String,
    /// Where its manifest is.
    pub manifest_key: String,
    /// What the manifest's bytes hash to.
    pub manifest_sha256: String,
    /// What its rows hash to.
    pub content_digest: String,
    /// How many there are.
    pub rows: i64,
    /// When it was last read again.
    pub checked_at: Option<DateTime<Utc>>,
    /// What was wrong then.
    pub rot: Option<String>,
}

impl FromRow<'_, PgRow> for Exported {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            unit_id: row.try_get("unit_id")?,
            source: row.try_get("source")?,
            schema: row.try_get("schema_name")?,
            table: row.try_get("table_name")?,
            unit_name: row.try_get("unit_name")?,
            lower_ms: row.try_get("lower_ms")?,
            upper_ms: row.try_get("upper_ms")?,
            state: row.try_get("state")?,
            manifest_key: row.try_get("manifest_key")?,
            manifest_sha256: row.try_get("manifest_sha256")?,
            content_digest: row.try_get("content_digest")?,
            rows: row.try_get("row_count")?,
            checked_at: row.try_get("checked_at")?,
            rot: row.try_get("rot")?,
        })
    }
}

pub(super) const OPEN_STATE: &str = "\
    SELECT state FROM eidos_jobs_disposal_units \
    WHERE source = $1 AND table_name = $2 AND ($5::text IS NULL OR schema_name = $5) \
      AND lower_ms < $4 AND upper_ms > $3 AND state NOT IN ('planned', 'dropped', 'deleted', 'abandoned') LIMIT 1";

pub(super) const OPEN_NAMES: &str = "\
    SELECT unit_name FROM eidos_jobs_disposal_units \
    WHERE source = $1 AND table_name = $2 AND ($3::text IS NULL OR schema_name = $3) \
      AND state NOT IN ('dropped', 'deleted', 'abandoned')";

pub(super) const OF_PLAN: &str = "SELECT schema_name, unit_name FROM eidos_jobs_disposal_units WHERE plan_digest = $1 AND state <> 'abandoned'";

pub(super) const ROTTEN: &str =
    "SELECT count(*) FROM eidos_jobs_disposal_units WHERE rot IS NOT NULL AND state <> 'abandoned'";

pub(super) const EXPORTED: &str = "SELECT unit_id, source, schema_name, table_name, unit_name, lower_ms, upper_ms, state, \
     manifest_key, manifest_sha256, content_digest, row_count, checked_at, rot FROM eidos_jobs_disposal_units \
     WHERE archived AND manifest_key IS NOT NULL AND row_count IS NOT NULL \
     AND state IN ('verified', 'quarantined', 'dropping', 'dropped', 'deleting', 'deleted')";

/// The state of the unit of this month of the archive table, while it is on its way out.
///
/// # Errors
/// What the database said.
pub async fn open_state(ctx: &JobContext, rule: &MoveRule, month: Month) -> Result<Option<String>, JobError> {
    let state = sqlx::query_scalar(OPEN_STATE)
        .bind(rule.source.as_str())
        .bind(rule.archive.name())
        .bind(month.start_ms())
        .bind(month.end_ms())
        .bind(rule.archive.schema())
        .fetch_optional(ctx.jobs_db().read())
        .await
        .map_err(ours("look for the unit of a month"))?;
    Ok(state)
}

/// Names of the archive table's partitions that are on their way out.
///
/// # Errors
/// What the database said.
pub async fn open_names(ctx: &JobContext, rule: &MoveRule) -> Result<Vec<String>, JobError> {
    let names = sqlx::query_scalar(OPEN_NAMES)
        .bind(rule.source.as_str())
        .bind(rule.archive.name())
        .bind(rule.archive.schema())
        .fetch_all(ctx.jobs_db().read())
        .await
        .map_err(ours("list open units"))?;
    Ok(names)
}

/// The partitions, `schema.name`, that left on a plan's word.
///
/// # Errors
/// What the database said.
pub async fn of_plan(ctx: &JobContext, digest: &str) -> Result<Vec<String>, JobError> {
    let objects: Vec<(String, String)> = sqlx::query_as(OF_PLAN)
        .bind(digest)
        .fetch_all(ctx.jobs_db().read())
        .await
        .map_err(ours("list the units of a plan"))?;
    Ok(objects
        .into_iter()
        .map(|(schema, name)| Relation::new(schema, name).plain())
        .collect())
}

/// The schema and the name of a table as a person writes it. What is no name is looked for as it is, and not found.
pub(crate) fn parts(table: Option<&str>) -> (Option<String>, Option<String>) {
    let Some(table) = table else { return (None, None) };
    match table.parse::<SqlIdent>() {
        Ok(ident) => (ident.schema().map(str::to_owned), Some(ident.name().to_owned())),
        Err(_) => (None, Some(table.to_owned())),
    }
}

/// The exports of a table that share time with a range, oldest first; all tables without a name, all time without a
/// range.
///
/// # Errors
/// What the database said.
pub async fn exported(
    pool: &PgPool,
    table: Option<&str>,
    source: Option<&str>,
    range: Option<TimeRange>,
) -> Result<Vec<Exported>, CoreError> {
    let (schema, name) = parts(table);
    sqlx::query_as(sql!(
        "{EXPORTED} AND ($1::text IS NULL OR table_name = $1) AND ($2::text IS NULL OR schema_name = $2) \
         AND ($3::text IS NULL OR source = $3) AND ($4::bigint IS NULL OR (lower_ms < $5 AND upper_ms > $4)) \
         ORDER BY source, schema_name, table_name, lower_ms, unit_id";
        EXPORTED
    ))
    .bind(name)
    .bind(schema)
    .bind(source)
    .bind(range.map(|range| range.lower_ms))
    .bind(range.map(|range| range.upper_ms))
    .fetch_all(pool)
    .await
    .map_err(ours("list exports"))
}

/// The exports to read again, those that were not read for the longest time first.
///
/// # Errors
/// What the database said.
pub async fn to_check(
    pool: &PgPool,
    table: Option<&str>,
    since_ms: Option<i64>,
    before: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<Exported>, CoreError> {
    let (schema, name) = parts(table);
    sqlx::query_as(sql!(
        "{EXPORTED} AND ($1::text IS NULL OR table_name = $1) AND ($5::text IS NULL OR schema_name = $5) \
         AND ($2::bigint IS NULL OR upper_ms > $2) AND (checked_at IS NULL OR checked_at < $3) \
         ORDER BY checked_at NULLS FIRST, unit_id LIMIT $4";
        EXPORTED
    ))
    .bind(name)
    .bind(since_ms)
    .bind(before)
    .bind(limit)
    .bind(schema)
    .fetch_all(pool)
    .await
    .map_err(ours("list exports to read again"))
}

/// The tables that have exports, sorted.
///
/// # Errors
/// What the database said.
pub async fn exported_tables(pool: &PgPool) -> Result<Vec<(String, String)>, CoreError> {
    sqlx::query_as(sql!(
        "SELECT DISTINCT schema_name, table_name FROM ({EXPORTED}) AS exports ORDER BY 1, 2";
        EXPORTED
    ))
    .fetch_all(pool)
    .await
    .map_err(ours("list tables with exports"))
}

/// The sources and the names of the tables that have exports, sorted.
///
/// # Errors
/// What the database said.
pub async fn exported_from(pool: &PgPool) -> Result<Vec<(String, String)>, CoreError> {
    sqlx::query_as(sql!(
        "SELECT DISTINCT source, table_name FROM ({EXPORTED}) AS exports ORDER BY 1, 2";
        EXPORTED
    ))
    .fetch_all(pool)
    .await
    .map_err(ours("list sources of exports"))
}

/// How many exports are known to be rotten.
///
/// # Errors
/// What the database said.
pub async fn rotten(pool: &PgPool) -> Result<u64, CoreError> {
    let count: i64 = sqlx::query_scalar(ROTTEN)
        .fetch_one(pool)
        .await
        .map_err(ours("count rotten exports"))?;
    Ok(count.unsigned_abs())
}

/// The error of a statement on our own tables.
pub(crate) fn ours(doing: &'static str) -> impl FnOnce(sqlx::Error) -> CoreError {
    move |cause| CoreError::Sql { doing, cause }
}
