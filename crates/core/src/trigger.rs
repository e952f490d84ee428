//! Manual triggers: idempotent requests that any replica may start.
//!
//! A request is a row of `eidos_jobs_triggers` (unique per job and idempotency key) and a `pending` execution,
//! written together. Starting it ([`crate::start::triggered`]) moves both in one transaction, so a crash before
//! leaves it pending and a crash after leaves a running row that the next epoch closes. Triggers never touch
//! the job's cursor.

use eidos_types::{ExecutionId, JobName, Slot};
use serde_json::Value;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgPool};

use crate::error::{call, column};
use crate::execution::{Trigger, job_name, names};
use crate::{CoreError, sql};

/// The channel of `LISTEN`/`NOTIFY` that carries the job's name when a trigger was inserted. A hint that saves
/// waiting for the next poll; a lost notification loses nothing.
pub const CHANNEL: &str = "eidos_jobs_triggers";

/// A run somebody asks for.
#[derive(Debug, Clone)]
pub struct TriggerRequest {
    /// The job.
    pub job: JobName,
    /// Chosen by the caller, at most 200 characters; the same key is the same request.
    pub idempotency_key: String,
    /// The id the execution gets if the request is new.
    pub execution: ExecutionId,
    /// [`Trigger::Manual`] or [`Trigger::Cli`].
    pub trigger: Trigger,
    /// Who asks.
    pub requested_by: String,
    /// Work for this slot.
    pub slot: Option<Slot>,
    /// Parameters, checked by the caller.
    pub params: Option<Value>,
    /// Change nothing, say what would be done.
    pub dry_run: bool,
    /// When it was asked for.
    pub now_ms: i64,
}

/// What a request led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Triggered {
    /// The execution of this key: new, or from the first request.
    pub execution: ExecutionId,
    /// Whether this request created it.
    pub created: bool,
    /// The key was used before for a *different* request (slot, parameters or dry run): a caller's mistake.
    pub differs: bool,
}

/// Inserts a trigger, or finds the one with the same key.
///
/// # Errors
/// [`CoreError::Sql`], [`CoreError::TimedOut`]: repeat it with the same key.
pub async fn insert(control: &PgPool, request: &TriggerRequest) -> Result<Triggered, CoreError> {
    let mut tx = call("begin a trigger", control.begin()).await?;
    let inserted = call(
        "insert a trigger",
        sqlx::query(sql::INSERT_TRIGGER)
            .bind(request.execution.as_uuid())
            .bind(request.job.as_str())
            .bind(&request.idempotency_key)
            .bind(request.trigger.as_str())
            .bind(&request.requested_by)
            .bind(request.now_ms)
            .bind(request.slot.map(Slot::ms))
            .bind(request.params.as_ref())
            .bind(request.dry_run)
            .execute(&mut *tx),
    )
    .await?;
    if inserted.rows_affected() == 0 {
        return existing(&mut tx, request).await;
    }
    insert_pending(&mut tx, request).await?;
    call("commit a trigger", tx.commit()).await?;
    Ok(Triggered {
        execution: request.execution,
        created: true,
        differs: false,
    })
}

async fn existing(conn: &mut PgConnection, request: &TriggerRequest) -> Result<Triggered, CoreError> {
    let (execution, same): (uuid::Uuid, bool) = call(
        "find the trigger of an idempotency key",
        sqlx::query_as(sql::EXISTING_TRIGGER)
            .bind(request.job.as_str())
            .bind(&request.idempotency_key)
            .bind(request.slot.map(Slot::ms))
            .bind(request.params.as_ref())
            .bind(request.dry_run)
            .fetch_one(conn),
    )
    .await?;
    Ok(Triggered {
        execution: ExecutionId::from_uuid(execution),
        created: false,
        differs: !same,
    })
}

async fn insert_pending(conn: &mut PgConnection, request: &TriggerRequest) -> Result<(), CoreError> {
    call(
        "insert a pending execution",
        sqlx::query(sql::INSERT_PENDING_EXECUTION)
            .bind(request.job.as_str())
            .bind(request.now_ms)
            .bind(request.execution.as_uuid())
            .bind(request.slot.map(Slot::ms))
            .bind(request.trigger.as_str())
            .bind(&request.idempotency_key)
            .bind(request.dry_run)
            .bind(request.params.as_ref())
            .execute(&mut *conn),
    )
    .await?;
    call(
        "announce a trigger",
        sqlx::query(sql::NOTIFY_TRIGGER)
            .bind(request.job.as_str())
            .execute(conn),
    )
    .await?;
    Ok(())
}

/// A request that waits to be started.
#[derive(Debug, Clone, PartialEq)]
pub struct PendingTrigger {
    /// The execution it will be.
    pub execution: ExecutionId,
    /// The job.
    pub job: JobName,
    /// The caller's key.
    pub idempotency_key: String,
    /// Manual or cli.
    pub trigger: Trigger,
    /// Who asked.
    pub requested_by: String,
    /// When, epoch ms.
    pub requested_at_ms: i64,
    /// Work for this slot.
    pub slot: Option<Slot>,
    /// Parameters.
    pub params: Option<Value>,
    /// Change nothing.
    pub dry_run: bool,
}

/// The pending requests of `jobs`, oldest first, at most `limit`. Looking takes nothing: a request is taken by
/// starting it under the job's lease.
///
/// # Errors
/// [`CoreError::Sql`], [`CoreError::TimedOut`], [`CoreError::Stored`].
pub async fn pending(pool: &PgPool, jobs: &[JobName], limit: u32) -> Result<Vec<PendingTrigger>, CoreError> {
    let rows = call(
        "look for pending triggers",
        sqlx::query(sql::PENDING_TRIGGERS)
            .bind(names(jobs))
            .bind(i64::from(limit))
            .fetch_all(pool),
    )
    .await?;
    rows.iter().map(from_row).collect()
}

fn from_row(row: &PgRow) -> Result<PendingTrigger, CoreError> {
    Ok(PendingTrigger {
        execution: ExecutionId::from_uuid(column(row, "execution_id")?),
        job: job_name(column(row, "job_name")?)?,
        idempotency_key: column(row, "idempotency_key")?,
        trigger: Trigger::from_stored(column(row, "trigger")?)?,
        requested_by: column(row, "requested_by")?,
        requested_at_ms: column(row, "requested_at")?,
        slot: column::<Option<i64>>(row, "slot_ms")?.and_then(Slot::from_ms),
        params: column(row, "params")?,
        dry_run: column(row, "dry_run")?,
    })
}

/// Withdraws a pending request; false when it is not pending (any more).
pub(crate) async fn withdraw(
    control: &PgPool,
    execution: ExecutionId,
    by: &str,
    now_ms: i64,
) -> Result<bool, CoreError> {
    let mut tx = call("begin withdrawing a trigger", control.begin()).await?;
    let cancelled = call(
        "withdraw a trigger",
        sqlx::query(sql::CANCEL_TRIGGER)
            .bind(execution.as_uuid())
            .execute(&mut *tx),
    )
    .await?;
    if cancelled.rows_affected() == 0 {
        return Ok(false);
    }
    call(
        "withdraw a pending execution",
        sqlx::query(sql::CANCEL_PENDING_EXECUTION)
            .bind(execution.as_uuid())
            .bind(by)
            .bind(now_ms)
            .execute(&mut *tx),
    )
    .await?;
    call("commit withdrawing a trigger", tx.commit()).await?;
    Ok(true)
}
