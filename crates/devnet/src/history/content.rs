//! What a set of rows is, whatever tables they are in and in whatever order: how many, and a sum of their hashes.

use anyhow::Context;
use serde::{Deserialize, Serialize};
use sqlx::{AssertSqlSafe, PgConnection, PgExecutor, PgPool};

/// Rows and their digest: the sums of both halves of the MD5 of each row's text. A row that is there twice counts
/// twice.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Content {
    /// How many rows.
    pub rows: i64,
    /// What they are.
    pub digest: String,
}

/// The columns of a table as a list for statements, in its own order.
pub(crate) async fn columns(executor: impl PgExecutor<'_>, table: &str) -> anyhow::Result<String> {
    let columns: Option<String> = sqlx::query_scalar(
        "SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute
         WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped",
    )
    .bind(table)
    .fetch_one(executor)
    .await?;
    columns.with_context(|| format!("there is no table {table}"))
}

/// The content of `places` together: tables, or subqueries in parentheses, that have `columns`; of them the rows that
/// fulfil `predicate`.
pub(crate) async fn content(
    executor: impl PgExecutor<'_>,
    places: &[String],
    columns: &str,
    predicate: &str,
) -> anyhow::Result<Content> {
    if places.is_empty() {
        return Ok(Content {
            rows: 0,
            digest: "0/0".to_owned(),
        });
    }
    let parts: Vec<String> = places
        .iter()
        .map(|place| format!("SELECT md5(ROW({columns})::text) AS h FROM {place} AS place WHERE {predicate}"))
        .collect();
    let query = format!(
        "SELECT count(*), coalesce(sum(('x' || left(h, 15))::bit(60)::bigint), 0)::text || '/' ||
                coalesce(sum(('x' || right(h, 15))::bit(60)::bigint), 0)::text
         FROM ({}) AS hashes",
        parts.join(" UNION ALL ")
    );
    let (rows, digest) = sqlx::query_as(AssertSqlSafe(query)).fetch_one(executor).await?;
    Ok(Content { rows, digest })
}

/// Where the rows of a table are in its own database: the table, and what its interrupted detaches hid from it.
pub(crate) async fn places(conn: &mut PgConnection, table: &str) -> anyhow::Result<Vec<String>> {
    let pending: Vec<String> = sqlx::query_scalar(
        "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = to_regclass($1) AND inhdetachpending",
    )
    .bind(table)
    .fetch_all(conn)
    .await?;
    let hidden = pending.iter().map(|partition| format!("ONLY {partition}"));
    Ok(std::iter::once(table.to_owned()).chain(hidden).collect())
}

/// The content of a whole table, interrupted detaches included.
///
/// # Errors
/// If there is no such table.
pub async fn of_table(pool: &PgPool, table: &str, predicate: &str) -> anyhow::Result<Content> {
    let mut conn = pool.acquire().await?;
    let columns = columns(&mut *conn, table).await?;
    let places = places(&mut conn, table).await?;
    content(&mut *conn, &places, &columns, predicate).await
}
