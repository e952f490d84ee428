//! The statements of the transaction that makes a partition, besides those of [`eidos_pg::NewPartition`]: limits, locks, and
//! the move of rows out of the default partition.

use std::time::Duration;

use eidos_disposal::DisposalError;
use eidos_pg::{Relation, Sql, sql};
use eidos_types::TimeRange;
use eidos_types::ident::SqlIdent;
use sqlx::PgConnection;

use crate::partitions::parent::Parent;

/// Locks a table alone, against everybody.
///
/// # Errors
/// [`DisposalError::Sql`].
pub(crate) async fn lock(
    conn: &mut PgConnection,
    doing: &'static str,
    table: &Relation,
) -> Result<(), DisposalError> {
    let lock = sql!("LOCK TABLE ONLY {table} IN ACCESS EXCLUSIVE MODE"; table);
    execute(conn, doing, lock).await
}

/// Moves the rows of `span` out of a default partition. Returns how many were deleted and how many inserted.
///
/// # Errors
/// [`DisposalError::Sql`].
pub(crate) async fn drain(
    conn: &mut PgConnection,
    parent: &Parent,
    default: &Relation,
    into: &Relation,
    span: TimeRange,
) -> Result<(i64, i64), DisposalError> {
    let key = SqlIdent::quoting(&parent.key);
    let columns = Sql::join(parent.columns.iter().map(SqlIdent::quoting), ", ");
    sqlx::query_as(sql!(
        "WITH moved AS (DELETE FROM ONLY {default} WHERE {key} >= $1 AND {key} < $2 RETURNING {columns}), \
              put AS (INSERT INTO {into} ({columns}) SELECT {columns} FROM moved RETURNING 1) \
         SELECT (SELECT count(*) FROM moved), (SELECT count(*) FROM put)";
        default, key, columns, into
    ))
    .bind(span.lower_ms)
    .bind(span.upper_ms)
    .fetch_one(conn)
    .await
    .map_err(DisposalError::sql("move rows out of the default partition"))
}

/// Sets a time limit for the rest of the transaction.
///
/// # Errors
/// [`DisposalError::Sql`].
pub(crate) async fn limit(
    conn: &mut PgConnection,
    setting: &'static str,
    limit: Duration,
) -> Result<(), DisposalError> {
    // 0 would mean no limit.
    let set = sql!("SET LOCAL {setting} = {}", limit.as_millis().max(1); setting);
    execute(conn, "limit a transaction", set).await
}

/// Runs one statement.
///
/// # Errors
/// [`DisposalError::Sql`].
pub(crate) async fn execute(
    conn: &mut PgConnection,
    doing: &'static str,
    sql: Sql,
) -> Result<(), DisposalError> {
    sqlx::raw_sql(sql)
        .execute(conn)
        .await
        .map_err(DisposalError::sql(doing))?;
    Ok(())
}
