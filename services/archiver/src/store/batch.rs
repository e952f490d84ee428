//! One batch, one fenced transaction.

use std::time::Duration;

use eidos_core::fence::{ExternalFence, ExternalStep};
use eidos_core::ident::SqlIdent;
use eidos_disposal::{DisposalError, catalogue};
use sqlx::PgConnection;

use crate::store::statement::{Pick, Statements};

pub(super) const LIMIT_WAIT: &str = "SELECT set_config('lock_timeout', $1, true)";

/// Where a run is in (completion, id).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Completion time, epoch ms.
    pub completed_ms: i64,
    /// The primary key.
    pub id: i64,
}

impl Position {
    /// Before every row that completed at `ms` or later.
    #[must_use]
    pub const fn before_ms(ms: i64) -> Self {
        Self {
            completed_ms: ms - 1,
            id: i64::MAX,
        }
    }
}

/// What a batch did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moved {
    /// This many rows; `last` is the position after them, `None` without rows.
    Rows {
        /// Rows moved.
        count: u64,
        /// The last of them.
        last: Option<Position>,
    },
    /// Some of the rows are in the archive already: see [`settle_copies`].
    CopyExists,
    /// The archive's partition is frozen: it is on its way out.
    Frozen,
    /// A row stayed locked for as long as we wait.
    Locked,
    /// The hot table has other columns than when the statement was made: what was added would be lost. Nothing moved.
    ColumnsChanged,
}

/// What one batch works with.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    /// The hot table's identity.
    pub table_oid: u32,
    /// `TableShape::columns_fingerprint` of the columns that the statements name.
    pub columns: &'a str,
    /// Rows completed before this move, epoch ms.
    pub before_ms: i64,
    /// Ids that stay.
    pub stay: &'a [i64],
    /// The time written to `archived_at`, epoch ms.
    pub now_ms: i64,
}

/// Moves the next `rows` rows after `from`, stepping over locked ones.
///
/// # Errors
/// [`DisposalError::Refused`] when picked, deleted and inserted differ: nothing is moved then. Otherwise what the
/// database said, or that this run was replaced.
pub async fn move_next(
    fence: &ExternalFence,
    statements: &Statements<'_>,
    batch: Batch<'_>,
    from: Position,
    rows: u32,
) -> Result<Moved, DisposalError> {
    let sql = statements.move_batch(Pick::Next);
    let mut step = fence.step().await?;
    let query = sqlx::query_as::<_, Counts>(sql)
        .bind(batch.before_ms)
        .bind(from.completed_ms)
        .bind(from.id)
        .bind(i64::from(rows))
        .bind(batch.stay)
        .bind(batch.now_ms);
    let outcome = query.fetch_one(step.conn()).await;
    finish(step, statements, batch, outcome).await
}

/// Moves the rows `ids` that may move, waiting for each lock up to `lock_timeout`.
///
/// # Errors
/// As [`move_next`].
pub async fn move_these(
    fence: &ExternalFence,
    statements: &Statements<'_>,
    batch: Batch<'_>,
    ids: &[i64],
    lock_timeout: Duration,
) -> Result<Moved, DisposalError> {
    let sql = statements.move_batch(Pick::These);
    let mut step = fence.step().await?;
    set_lock_timeout(step.conn(), lock_timeout).await?;
    let query = sqlx::query_as::<_, Counts>(sql)
        .bind(batch.before_ms)
        .bind(None::<i64>)
        .bind(None::<i64>)
        .bind(ids)
        .bind(batch.stay)
        .bind(batch.now_ms);
    let outcome = query.fetch_one(step.conn()).await;
    finish(step, statements, batch, outcome).await
}

/// picked, gone, stored; completion and id of the last picked.
type Counts = (i64, i64, i64, Option<i64>, Option<i64>);

async fn finish(
    mut step: ExternalStep,
    statements: &Statements<'_>,
    batch: Batch<'_>,
    outcome: Result<Counts, sqlx::Error>,
) -> Result<Moved, DisposalError> {
    let table = &statements.rule.table;
    let (picked, gone, stored, completed_ms, id) = match outcome {
        Ok(counts) => counts,
        Err(error) => {
            let answer = ended(error, table)?;
            // Its locks must be gone before the next statement steps over what is locked.
            step.rollback().await?;
            return Ok(answer);
        }
    };
    if picked != gone || gone != stored {
        return Err(DisposalError::refused(
            "counts",
            format!(
                "a batch of {table} picked {picked} rows, deleted {gone} and inserted {stored}; it was rolled back. \
             Something between PostgreSQL and the row (a trigger or rule on {table} or {}) swallows them: remove it, \
             the next run goes on",
                statements.rule.archive,
            ),
        ));
    }
    if picked > 0 {
        if columns_changed(&mut step, batch).await? {
            return Ok(Moved::ColumnsChanged);
        }
        step.commit().await?;
    }
    Ok(Moved::Rows {
        count: picked.unsigned_abs(),
        last: completed_ms
            .zip(id)
            .map(|(completed_ms, id)| Position { completed_ms, id }),
    })
}

/// Asked after rows were deleted: the lock on the table keeps every ALTER TABLE out until the step ends, and whatever was
/// altered before is seen.
async fn columns_changed(step: &mut ExternalStep, batch: Batch<'_>) -> Result<bool, DisposalError> {
    let now = catalogue::columns_fingerprint(step.conn(), batch.table_oid).await?;
    Ok(now != batch.columns)
}

/// Endings of the move statement that are answers.
fn ended(error: sqlx::Error, table: &SqlIdent) -> Result<Moved, DisposalError> {
    let code = error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code);
    match code.as_deref() {
        Some("23505") => Ok(Moved::CopyExists),
        Some("55000") => Ok(Moved::Frozen),
        Some("55P03") => Ok(Moved::Locked),
        _ => Err(sql_error("move a batch", table, error)),
    }
}

/// What became of rows whose copy is in the archive.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settled {
    /// The hot table has other columns than the statements name; nothing was removed.
    pub columns_changed: bool,
    /// Rows whose copy was equal in every byte: gone from the hot table.
    pub removed: Vec<i64>,
    /// Rows whose copy says something else: they stay.
    pub differing: Vec<i64>,
}

/// Looks at the next `rows` rows after `from` (or at `ids`) and settles those that have a copy (ruling 32).
///
/// # Errors
/// As [`move_next`].
pub async fn settle_copies(
    fence: &ExternalFence,
    statements: &Statements<'_>,
    batch: Batch<'_>,
    from: Position,
    rows: u32,
) -> Result<Settled, DisposalError> {
    let table = &statements.rule.table;
    let mut step = fence.step().await?;
    // Two statements: the second one's snapshot is younger than the locks of the first, so what is compared is what
    // is deleted.
    let ids: Vec<i64> = sqlx::query_scalar(statements.lock_batch(Pick::Next))
        .bind(batch.before_ms)
        .bind(from.completed_ms)
        .bind(from.id)
        .bind(i64::from(rows))
        .bind(batch.stay)
        .fetch_all(step.conn())
        .await
        .map_err(|error| sql_error("lock rows that have copies", table, error))?;
    let (removed, differing): (Vec<i64>, Vec<i64>) = sqlx::query_as(statements.settle_copies())
        .bind(&ids)
        .fetch_one(step.conn())
        .await
        .map_err(|error| sql_error("compare rows with their copies", table, error))?;
    if columns_changed(&mut step, batch).await? {
        return Ok(Settled {
            columns_changed: true,
            ..Settled::default()
        });
    }
    if !removed.is_empty() {
        step.commit().await?;
    }
    Ok(Settled {
        columns_changed: false,
        removed,
        differing,
    })
}

/// The next rows that may move, without locking them.
///
/// # Errors
/// What the database said.
pub async fn peek(
    conn: &mut PgConnection,
    statements: &Statements<'_>,
    batch: Batch<'_>,
    from: Position,
    rows: u32,
) -> Result<Vec<Position>, DisposalError> {
    let found: Vec<(i64, i64)> = sqlx::query_as(statements.peek())
        .bind(batch.before_ms)
        .bind(from.completed_ms)
        .bind(from.id)
        .bind(i64::from(rows))
        .bind(batch.stay)
        .fetch_all(conn)
        .await
        .map_err(|error| sql_error("look for finished rows", &statements.rule.table, error))?;
    Ok(found
        .into_iter()
        .map(|(completed_ms, id)| Position { completed_ms, id })
        .collect())
}

/// Bounds waiting for locks in this transaction.
pub(crate) async fn set_lock_timeout(conn: &mut PgConnection, limit: Duration) -> Result<(), DisposalError> {
    sqlx::query(LIMIT_WAIT)
        .bind(limit.as_millis().max(1).to_string())
        .execute(conn)
        .await
        .map_err(DisposalError::sql("set the lock timeout"))?;
    Ok(())
}

pub(crate) fn sql_error(doing: &'static str, table: &SqlIdent, cause: sqlx::Error) -> DisposalError {
    tracing::debug!(%table, doing, %cause, "a statement failed");
    DisposalError::sql(doing)(cause)
}
