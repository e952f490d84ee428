//! What the API reads of the tables of disposal, newest first and in pages.

use serde::Deserialize;
use serde_json::Value;
use sqlx::PgPool;
use uuid::Uuid;

/// A row as its table has it: the column names are the API's.
pub(super) const DISPOSALS: &str = "\
    SELECT id, to_jsonb(d) FROM eidos_jobs_disposals d \
    WHERE ($1::text IS NULL OR source = $1) AND ($2::text IS NULL OR table_name = $2 OR table_name = 'public.' || $2) \
      AND ($3::text IS NULL OR job_name = $3) AND ($4::text IS NULL OR action = $4) \
      AND ($5::uuid IS NULL OR unit_id = $5) AND ($6::bigint IS NULL OR id < $6) \
    ORDER BY id DESC LIMIT $7";

pub(super) const UNITS: &str = "\
    SELECT unit_id, to_jsonb(u) FROM eidos_jobs_disposal_units u \
    WHERE ($1::text IS NULL OR source = $1) AND ($2::text IS NULL OR table_name = $2) \
      AND ($3::text IS NULL OR state = $3) AND ($4::uuid IS NULL OR unit_id < $4) \
    ORDER BY unit_id DESC LIMIT $5";

/// Which audit rows.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DisposalQuery {
    source: Option<String>,
    table: Option<String>,
    job: Option<String>,
    action: Option<String>,
    unit: Option<Uuid>,
    /// Older than this row: the `next` of the page before.
    before: Option<i64>,
    pub(crate) limit: Option<i64>,
}

/// Which units.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UnitQuery {
    source: Option<String>,
    table: Option<String>,
    pub(crate) state: Option<String>,
    /// Older than this unit: the `next` of the page before.
    before: Option<Uuid>,
    pub(crate) limit: Option<i64>,
}

/// One page.
#[derive(Debug)]
pub(crate) struct Page<K> {
    pub(crate) rows: Vec<Value>,
    /// What to ask the next page with; `None`: this is the last one.
    pub(crate) next: Option<K>,
}

/// Audit rows.
pub(crate) async fn disposals(
    pool: &PgPool,
    query: &DisposalQuery,
    limit: i64,
) -> Result<Page<i64>, sqlx::Error> {
    let rows = sqlx::query_as(DISPOSALS)
        .bind(&query.source)
        .bind(&query.table)
        .bind(&query.job)
        .bind(&query.action)
        .bind(query.unit)
        .bind(query.before)
        .bind(limit)
        .fetch_all(pool)
        .await?;
    Ok(page(rows, limit))
}

/// Units.
pub(crate) async fn units(pool: &PgPool, query: &UnitQuery, limit: i64) -> Result<Page<Uuid>, sqlx::Error> {
    let rows = sqlx::query_as(UNITS)
        .bind(&query.source)
        .bind(&query.table)
        .bind(&query.state)
        .bind(query.before)
        .bind(limit)
        .fetch_all(pool)
        .await?;
    Ok(page(rows, limit))
}

fn page<K: Copy>(rows: Vec<(K, Value)>, limit: i64) -> Page<K> {
    let is_full = i64::try_from(rows.len()).is_ok_and(|count| count == limit);
    let next = rows.last().map(|(key, _)| *key).filter(|_| is_full);
    Page {
        rows: rows.into_iter().map(|(_, row)| row).collect(),
        next,
    }
}
