//! Executions: the history of what ran, and the only code that moves a row from one state to another.
//!
//! ```text
//!            trigger                  start                    finish (id + epoch + running)
//!   (none) ───────────▶ pending ───────────────▶ running ───────────────▶ success | failed
//!      │                   │ cancelled before it started        ▲   │
//!      │                   └──────────────▶ skipped             │   └─▶ failed/orphaned  (a newer epoch)
//!      ├──────────────────────── start ─────────────────────────┘
//!      └──▶ skipped   (missed slots, once each, by whoever claimed them)
//! ```
//!
//! Every move is conditional on the state it leaves, and on the epoch once there is one: a process that was
//! replaced changes nothing, and learns it.

use std::fmt;

use eidos_types::{Clock, ExecutionId, JobName, NodeId, Slot};
use serde::Serialize;
use serde_json::Value;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::error::call;
use crate::fence::{Epoch, Fence};
use crate::{CoreError, sql};

mod listing;
mod words;

pub use listing::{Cursor, CursorError, Execution, Filter, Listing, PAGE_LIMIT, Page};
pub use listing::{Ending, abandoned, get, last, last_report, last_successes, list, recent_endings};
pub(crate) use listing::{job_name, names};
pub use words::{FailureKind, Status, Trigger, UnknownWord};

/// A run that starts now.
#[derive(Debug, Clone)]
pub struct OpenRequest {
    /// The job.
    pub job: JobName,
    /// The execution's id.
    pub execution: ExecutionId,
    /// The run's epoch; [`Epoch::NONE`] for jobs without a lock.
    pub epoch: Epoch,
    /// What it works for.
    pub slot: Option<Slot>,
    /// What started it.
    pub trigger: Trigger,
    /// From 1.
    pub attempt: u32,
    /// The process.
    pub node: NodeId,
    /// Of a manual trigger.
    pub idempotency_key: Option<String>,
    /// Whether it may change anything.
    pub dry_run: bool,
    /// Its parameters.
    pub params: Option<Value>,
    /// When it starts.
    pub now_ms: i64,
}

/// Writes the `running` row of a run.
///
/// # Errors
/// [`CoreError::Sql`], [`CoreError::TimedOut`].
pub async fn open(conn: &mut PgConnection, request: &OpenRequest) -> Result<(), CoreError> {
    call(
        "open an execution",
        sqlx::query(sql::OPEN_EXECUTION)
            .bind(request.job.as_str())
            .bind(request.now_ms)
            .bind(request.execution.as_uuid())
            .bind(request.slot.map(Slot::ms))
            .bind(request.trigger.as_str())
            .bind(request.epoch.get())
            .bind(i32::try_from(request.attempt).unwrap_or(i32::MAX))
            .bind(request.node.as_uuid())
            .bind(request.idempotency_key.as_deref())
            .bind(request.dry_run)
            .bind(request.params.as_ref())
            .execute(conn),
    )
    .await?;
    Ok(())
}

/// How a run ended.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// With a report.
    Success {
        /// The job's report.
        report: Value,
    },
    /// Without one, or with what it had.
    Failed {
        /// Why, for alerts.
        kind: FailureKind,
        /// Why, for people.
        message: String,
        /// A partial report.
        report: Option<Value>,
    },
}

/// Whether a conditional move found the row as expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finished {
    /// The row is now in its final state.
    Done {
        /// Its duration.
        duration_ms: i32,
    },
    /// The row is no longer running under this epoch: we were replaced. Nothing was written.
    Replaced,
}

/// Writes the final state of a run, if it is still running under its epoch.
///
/// # Errors
/// [`CoreError::Sql`], [`CoreError::TimedOut`] (call it again: a second write answers [`Finished::Replaced`] when
/// the first one did happen).
pub async fn finish(
    control: &PgPool,
    fence: &Fence,
    outcome: &Outcome,
    progress: Option<&Value>,
    now_ms: i64,
) -> Result<Finished, CoreError> {
    let (status, kind, message, report) = match outcome {
        Outcome::Success { report } => (Status::Success, None, None, Some(report)),
        Outcome::Failed {
            kind,
            message,
            report,
        } => (
            Status::Failed,
            Some(kind.as_str()),
            Some(message.as_str()),
            report.as_ref(),
        ),
    };
    let duration: Option<Option<i32>> = call(
        "finish an execution",
        sqlx::query_scalar(sql::FINISH_EXECUTION)
            .bind(fence.execution().as_uuid())
            .bind(fence.epoch().get())
            .bind(status.as_str())
            .bind(kind)
            .bind(message)
            .bind(report)
            .bind(progress)
            .bind(now_ms)
            .fetch_optional(control),
    )
    .await?;
    Ok(match duration {
        Some(duration_ms) => Finished::Done {
            duration_ms: duration_ms.unwrap_or_default(),
        },
        None => Finished::Replaced,
    })
}

/// What a heartbeat found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heartbeat {
    /// Still ours.
    Alive {
        /// Set when somebody asked to cancel the run: their name.
        cancel_requested_by: Option<String>,
    },
    /// No longer running under this epoch: we were replaced.
    Replaced,
}

/// Says that the run is alive, how far it is, and asks whether it should stop.
///
/// # Errors
/// [`CoreError::Sql`], [`CoreError::TimedOut`].
pub async fn heartbeat(
    control: &PgPool,
    fence: &Fence,
    progress: Option<&Value>,
) -> Result<Heartbeat, CoreError> {
    let row: Option<Option<String>> = call(
        "write a heartbeat",
        sqlx::query_scalar(sql::HEARTBEAT)
            .bind(fence.execution().as_uuid())
            .bind(fence.epoch().get())
            .bind(progress)
            .fetch_optional(control),
    )
    .await?;
    Ok(match row {
        Some(cancel_requested_by) => Heartbeat::Alive { cancel_requested_by },
        None => Heartbeat::Replaced,
    })
}

/// Slots that will not run, recorded once each by whoever claimed them.
#[derive(Debug, Clone)]
pub struct SkipRequest {
    /// The job.
    pub job: JobName,
    /// The slots, one row each. Cut them to a limit and say the rest in `dropped`.
    pub slots: Vec<Slot>,
    /// How many further slots were missed without a row of their own.
    pub dropped: u64,
    /// Why.
    pub reason: String,
    /// The process.
    pub node: NodeId,
}

/// Writes the `skipped` rows of [`SkipRequest`], in the caller's transaction. Returns how many.
///
/// # Errors
/// [`CoreError::Sql`], [`CoreError::TimedOut`].
pub async fn skip(
    conn: &mut PgConnection,
    request: &SkipRequest,
    clock: &dyn Clock,
) -> Result<u64, CoreError> {
    if request.slots.is_empty() {
        return Ok(0);
    }
    let ids: Vec<Uuid> = request
        .slots
        .iter()
        .map(|_slot| ExecutionId::new(clock).as_uuid())
        .collect();
    let slots_ms: Vec<i64> = request.slots.iter().map(|slot| slot.ms()).collect();
    let dropped = (request.dropped > 0).then(|| serde_json::json!({ "dropped": request.dropped }));
    let done = call(
        "record skipped slots",
        sqlx::query(sql::RECORD_SKIPPED)
            .bind(request.job.as_str())
            .bind(&ids)
            .bind(&slots_ms)
            .bind(clock.now_ms())
            .bind(request.node.as_uuid())
            .bind(&request.reason)
            .bind(dropped)
            .execute(conn),
    )
    .await?;
    Ok(done.rows_affected())
}

/// What asking to cancel an execution did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CancelOutcome {
    /// It runs; its next heartbeat sees the request.
    Requested,
    /// It was pending and will not start.
    Withdrawn,
    /// It had ended before.
    AlreadyEnded,
}

/// Asks a running execution to stop, or withdraws a pending one.
///
/// # Errors
/// [`CoreError::NoSuchExecution`]; [`CoreError::Sql`], [`CoreError::TimedOut`].
pub async fn request_cancel(
    control: &PgPool,
    execution: ExecutionId,
    by: &str,
    now_ms: i64,
) -> Result<CancelOutcome, CoreError> {
    if crate::trigger::withdraw(control, execution, by, now_ms).await? {
        return Ok(CancelOutcome::Withdrawn);
    }
    let done = call(
        "request a cancellation",
        sqlx::query(sql::REQUEST_CANCEL)
            .bind(execution.as_uuid())
            .bind(by)
            .execute(control),
    )
    .await?;
    if done.rows_affected() > 0 {
        return Ok(CancelOutcome::Requested);
    }
    match get(control, execution).await? {
        Some(_ended) => Ok(CancelOutcome::AlreadyEnded),
        None => Err(CoreError::NoSuchExecution(execution)),
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Success { .. } => f.write_str("success"),
            Self::Failed { kind, message, .. } => write!(f, "failed ({kind}): {message}"),
        }
    }
}
