//! What lies in a default partition, and what keeps it from being moved.

use std::time::Duration;

use eidos_disposal::DisposalError;
use eidos_pg::sql;
use eidos_types::TimeRange;
use eidos_types::ident::SqlIdent;
use sqlx::{PgConnection, PgPool};

use crate::domain::layout::{AstrayRows, Rules};
use crate::partitions::parent::{DefaultPartition, Parent};

/// Triggers that would fire, and tables whose rows would lose theirs, if rows were moved out of the default partition
/// by deleting them there.
pub(super) const DELETE_TRIGGERS: &str = "\
    SELECT t.tgname::text FROM pg_trigger t LEFT JOIN pg_constraint c ON c.oid = t.tgconstraint \
    WHERE t.tgrelid = $1::bigint::oid AND (t.tgtype & 8) <> 0 AND t.tgenabled <> 'D' \
      AND (c.oid IS NULL OR c.contype = 't') AND (NOT t.tgisinternal OR t.tgparentid <> 0) ORDER BY 1";

/// Counts the rows of the default partition by month, those that can be drained and the others apart. Reads all of it:
/// `limit` is the statement's limit.
///
/// # Errors
/// [`DisposalError::Sql`].
pub(crate) async fn count(
    pool: &PgPool,
    parent: &Parent,
    rules: &Rules,
    limit: Duration,
) -> Result<AstrayRows, DisposalError> {
    let Some(default) = &parent.default else {
        return Ok(AstrayRows::default());
    };
    let failed = || DisposalError::sql("count the rows of the default partition");
    let span = rules.drainable();
    let (key, table) = (SqlIdent::quoting(&parent.key), &default.relation);
    let mut tx = pool.begin().await.map_err(failed())?;
    let within = sql!("SET LOCAL statement_timeout = {}", limit.as_millis().max(1));
    sqlx::raw_sql(within).execute(&mut *tx).await.map_err(failed())?;
    let days: Vec<(i64, i64)> = sqlx::query_as(sql!(
        "SELECT {key} / 86400000, count(*) FROM ONLY {table} WHERE {key} >= $1 AND {key} < $2 GROUP BY 1 ORDER BY 1";
        key, table
    ))
    .bind(span.lower_ms)
    .bind(span.upper_ms)
    .fetch_all(&mut *tx)
    .await
    .map_err(failed())?;
    let (outside, oldest, newest): (i64, Option<i64>, Option<i64>) = sqlx::query_as(sql!(
        "SELECT count(*), min({key}), max({key}) FROM ONLY {table} WHERE {key} IS NULL OR {key} < $1 OR {key} >= $2";
        key, table
    ))
    .bind(span.lower_ms)
    .bind(span.upper_ms)
    .fetch_one(&mut *tx)
    .await
    .map_err(failed())?;
    let days: Vec<(i64, u64)> = days
        .into_iter()
        .map(|(day, rows)| (day, rows.unsigned_abs()))
        .collect();
    Ok(AstrayRows {
        out_of_range: outside.unsigned_abs(),
        range_ms: oldest.zip(newest),
        ..AstrayRows::of_days(&days)
    })
}

/// Why rows may not be moved out of the default partition, if something stands against it: moving deletes them there.
///
/// # Errors
/// [`DisposalError::Sql`].
pub(crate) async fn obstacle(
    conn: &mut PgConnection,
    parent: &Parent,
    default: &DefaultPartition,
) -> Result<Option<String>, DisposalError> {
    if !parent.referenced_by.is_empty() {
        return Ok(Some(format!(
            "foreign keys of {} refer to it: deleting and inserting rows would fail or cascade",
            parent.referenced_by.join(", ")
        )));
    }
    let triggers: Vec<String> = sqlx::query_scalar(DELETE_TRIGGERS)
        .bind(i64::from(default.oid))
        .fetch_all(conn)
        .await
        .map_err(DisposalError::sql("look for triggers of the default partition"))?;
    Ok((!triggers.is_empty()).then(|| {
        format!(
            "trigger {} of {} would take the move for a deletion",
            triggers.join(", "),
            default.relation
        )
    }))
}

/// How many rows of the default partition lie in `span`, counted no further than `at_most` + 1.
pub(crate) async fn rows_in(
    conn: &mut PgConnection,
    parent: &Parent,
    default: &DefaultPartition,
    span: TimeRange,
    at_most: u64,
) -> Result<u64, DisposalError> {
    let (key, table) = (SqlIdent::quoting(&parent.key), &default.relation);
    let counted: i64 = sqlx::query_scalar(sql!(
        "SELECT count(*) FROM (SELECT FROM ONLY {table} WHERE {key} >= $1 AND {key} < $2 LIMIT $3) some_rows";
        table, key
    ))
    .bind(span.lower_ms)
    .bind(span.upper_ms)
    .bind(i64::try_from(at_most).unwrap_or(i64::MAX).saturating_add(1))
    .fetch_one(conn)
    .await
    .map_err(DisposalError::sql(
        "count the rows of a month in the default partition",
    ))?;
    Ok(counted.unsigned_abs())
}

/// The beginning of `span` that holds at most `at_most` of its rows: it ends where the next row begins. `None` if more
/// rows than that share its first instant.
pub(crate) async fn prefix(
    conn: &mut PgConnection,
    parent: &Parent,
    default: &DefaultPartition,
    span: TimeRange,
    at_most: u64,
) -> Result<Option<TimeRange>, DisposalError> {
    let (key, table) = (SqlIdent::quoting(&parent.key), &default.relation);
    let next: Option<i64> = sqlx::query_scalar(sql!(
        "SELECT {key} FROM ONLY {table} WHERE {key} >= $1 AND {key} < $2 ORDER BY {key} OFFSET $3 LIMIT 1";
        key, table
    ))
    .bind(span.lower_ms)
    .bind(span.upper_ms)
    .bind(i64::try_from(at_most).unwrap_or(i64::MAX))
    .fetch_optional(conn)
    .await
    .map_err(DisposalError::sql("cut a month of the default partition"))?;
    Ok(TimeRange::new(span.lower_ms, next.unwrap_or(span.upper_ms)))
}
