//! The job's one plain row: cursor, epoch, holder, pause.

use eidos_types::{ExecutionId, JobName, NodeId, Slot};
use sqlx::PgPool;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::error::{call, column};
use crate::execution::job_name;
use crate::fence::Epoch;
use crate::{CoreError, sql};

/// What `eidos_jobs_state` says about a job. Times are epoch ms of the database's clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobState {
    /// The job.
    pub job: JobName,
    /// The newest epoch; a lease's token is never below it.
    pub epoch: Epoch,
    /// The newest claimed slot, from which the next due slot is derived.
    pub last_slot: Option<Slot>,
    /// Set while no slot may be claimed.
    pub pause: Option<Pause>,
    /// Who minted the current epoch. It may have ended since.
    pub holder: Option<Holder>,
}

/// Who minted a job's epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The process.
    pub node: NodeId,
    /// The execution it was for.
    pub execution: ExecutionId,
    /// Epoch ms.
    pub since_ms: i64,
}

/// Who paused a job, why and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pause {
    /// A person's or token's name.
    pub by: String,
    /// What they said.
    pub reason: String,
    /// Epoch ms.
    pub at_ms: i64,
}

/// The state of one job; `None` before its first sight.
///
/// # Errors
/// [`CoreError::Sql`], [`CoreError::TimedOut`], [`CoreError::Stored`].
pub async fn get(pool: &PgPool, job: &JobName) -> Result<Option<JobState>, CoreError> {
    let row = call(
        "read a job's state",
        sqlx::query(sql::GET_STATE)
            .bind(job.as_str())
            .fetch_optional(pool),
    )
    .await?;
    row.as_ref().map(from_row).transpose()
}

/// The state of every job that was ever seen, by name.
///
/// # Errors
/// As [`get`].
pub async fn list(pool: &PgPool) -> Result<Vec<JobState>, CoreError> {
    let rows = call(
        "list the jobs' states",
        sqlx::query(sql::LIST_STATES).fetch_all(pool),
    )
    .await?;
    rows.iter().map(from_row).collect()
}

/// First sight of a job: its cursor starts at `cursor`, so that no earlier slot is due. Does nothing when the
/// job is known already; the cursor never moves back. Returns whether the job was new.
///
/// A cursor beyond the *database's* clock is cut to it: a node with a fast clock would otherwise silence the job
/// until that moment, since nobody can claim the slots before it.
///
/// # Errors
/// [`CoreError::Sql`], [`CoreError::TimedOut`].
pub async fn register(pool: &PgPool, job: &JobName, cursor: Slot) -> Result<bool, CoreError> {
    let done = call(
        "register a job",
        sqlx::query(sql::REGISTER)
            .bind(job.as_str())
            .bind(cursor.ms())
            .execute(pool),
    )
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Stops claims of the job's slots until [`resume`]. Returns false, and keeps the first reason, when the job was
/// paused already.
///
/// # Errors
/// [`CoreError::Sql`], [`CoreError::TimedOut`]; waits for open steps, at most the session's lock timeout.
pub async fn pause(pool: &PgPool, job: &JobName, by: &str, reason: &str) -> Result<bool, CoreError> {
    let done = call(
        "pause a job",
        sqlx::query(sql::PAUSE)
            .bind(job.as_str())
            .bind(by)
            .bind(reason)
            .execute(pool),
    )
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Allows claims again. Returns false when the job was not paused.
///
/// # Errors
/// As [`pause`].
pub async fn resume(pool: &PgPool, job: &JobName) -> Result<bool, CoreError> {
    let done = call(
        "resume a job",
        sqlx::query(sql::RESUME).bind(job.as_str()).execute(pool),
    )
    .await?;
    Ok(done.rows_affected() == 1)
}

fn from_row(row: &PgRow) -> Result<JobState, CoreError> {
    let pause = if column(row, "paused")? {
        Some(Pause {
            by: column::<Option<String>>(row, "paused_by")?.unwrap_or_default(),
            reason: column::<Option<String>>(row, "paused_reason")?.unwrap_or_default(),
            at_ms: column::<Option<i64>>(row, "paused_at")?.unwrap_or_default(),
        })
    } else {
        None
    };
    let node: Option<Uuid> = column(row, "holder")?;
    let execution: Option<Uuid> = column(row, "holder_execution")?;
    let since_ms: Option<i64> = column(row, "holder_since")?;
    let holder = node
        .zip(execution)
        .zip(since_ms)
        .map(|((node, execution), since_ms)| Holder {
            node: NodeId::from_uuid(node),
            execution: ExecutionId::from_uuid(execution),
            since_ms,
        });
    Ok(JobState {
        job: job_name(column(row, "job_name")?)?,
        epoch: Epoch::from_stored(column(row, "epoch")?),
        last_slot: column::<Option<i64>>(row, "last_slot_ms")?.and_then(Slot::from_ms),
        pause,
        holder,
    })
}
