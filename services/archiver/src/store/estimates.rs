//! What the planner and short counts say about the rows that may move.

use eidos_disposal::DisposalError;
use eidos_pg::{Sql, sql};
use sqlx::{PgConnection, Row};

use super::statement::Statements;
use crate::profile::{Child, MoveRule};

pub(super) const AVOID_SCANS: &str = "\
    SELECT set_config('enable_seqscan', 'off', true), set_config('enable_sort', 'off', true), \
        set_config('enable_incremental_sort', 'off', true)";

/// Checks whether an index gives finished rows in the order they move.
///
/// # Errors
/// [`DisposalError::Sql`].
pub(crate) async fn moves_by_index(conn: &mut PgConnection, rule: &MoveRule) -> Result<bool, DisposalError> {
    let finished = Statements::finished(rule, "s.");
    let completion = Statements::completion(rule, "s.");
    let in_order = sql!(
        "SELECT s.{id} FROM ONLY {table} s WHERE {finished} AND {completion} < 1 ORDER BY {completion}, s.{id} LIMIT 1000";
        finished, completion, id = rule.id, table = rule.table
    );
    uses_index(conn, &in_order).await
}

/// Checks whether an index finds the rows of a child table.
///
/// # Errors
/// [`DisposalError::Sql`].
pub(crate) async fn finds_by_index(conn: &mut PgConnection, child: &Child) -> Result<bool, DisposalError> {
    // Compared with a value of its own type that is never fetched.
    let probe = sql!(
        "SELECT 1 FROM {0} c WHERE c.{1} = (SELECT n.{1} FROM {0} n WHERE false)",
        child.table,
        child.column
    );
    uses_index(conn, &probe).await
}

/// Returns how many finished rows have no believable completion time.
///
/// # Errors
/// [`DisposalError::Sql`].
pub(crate) async fn implausible(conn: &mut PgConnection, rule: &MoveRule) -> Result<u64, DisposalError> {
    let counted: i64 = sqlx::query_scalar(Statements::implausible(rule))
        .fetch_one(conn)
        .await
        .map_err(DisposalError::sql("count rows without a completion time"))?;
    Ok(counted.unsigned_abs())
}

async fn uses_index(conn: &mut PgConnection, query: &Sql) -> Result<bool, DisposalError> {
    let explain = async |conn: &mut PgConnection| -> Result<String, sqlx::Error> {
        let mut tx = sqlx::Connection::begin(conn).await?;
        sqlx::query(AVOID_SCANS).execute(&mut *tx).await?;
        let rows = sqlx::query(sql!("EXPLAIN {query}"; query))
            .fetch_all(&mut *tx)
            .await?;
        tx.rollback().await?;
        let lines: Vec<String> = rows
            .iter()
            .map(|row| row.try_get::<String, _>(0))
            .collect::<Result<_, _>>()?;
        Ok(lines.join("\n"))
    };
    let plan = explain(conn)
        .await
        .map_err(DisposalError::sql("ask for a query plan"))?;
    Ok(!plan.contains("Seq Scan") && !plan.contains("Sort"))
}

/// Up to this many due rows are counted; beyond, the planner's estimate is good enough.
const COUNTED: i64 = 10_000;

/// Returns how many rows are due: few are counted, many estimated.
///
/// # Errors
/// [`DisposalError::Sql`].
pub(crate) async fn due(
    conn: &mut PgConnection,
    rule: &MoveRule,
    cutoff_ms: i64,
) -> Result<u64, DisposalError> {
    let due = sql!(
        "SELECT 1 FROM ONLY {} s WHERE {} AND {} < {cutoff_ms}",
        rule.table, Statements::finished(rule, "s."), Statements::completion(rule, "s.");
        cutoff_ms
    );
    let counted: i64 = sqlx::query_scalar(sql!(
        "SELECT count(*) FROM ({due} LIMIT {}) AS due",
        COUNTED + 1;
        due
    ))
    .fetch_one(&mut *conn)
    .await
    .map_err(DisposalError::sql("count the rows that are due"))?;
    if counted <= COUNTED {
        return Ok(counted.unsigned_abs());
    }
    let plan: serde_json::Value = sqlx::query_scalar(sql!("EXPLAIN (FORMAT JSON) {due}"; due))
        .fetch_one(conn)
        .await
        .map_err(DisposalError::sql("estimate the rows that are due"))?;
    let estimated = plan
        .pointer("/0/Plan/Plan Rows")
        .and_then(serde_json::Value::as_u64);
    Ok(estimated.unwrap_or_default().max(counted.unsigned_abs()))
}
