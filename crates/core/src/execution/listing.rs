//! Reading the history: one execution, pages of them, the last of each job.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use eidos_types::{ExecutionId, JobName, JobNameError, NodeId, Slot};
use serde::Serialize;
use serde_json::Value;
use sqlx::PgPool;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::words::{FailureKind, Status, Trigger, stored};
use crate::error::{call, column};
use crate::fence::Epoch;
use crate::{CoreError, sql};

/// A row of the history. Times are epoch ms.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Execution {
    /// Its id.
    pub execution_id: ExecutionId,
    /// The job.
    pub job: JobName,
    /// Its state.
    pub status: Status,
    /// What started it.
    pub trigger: Trigger,
    /// What it works for.
    pub slot: Option<Slot>,
    /// When it started; of a pending one, when it was requested.
    pub started_at_ms: i64,
    /// When it ended.
    pub finished_at_ms: Option<i64>,
    /// How long it took.
    pub duration_ms: Option<i32>,
    /// Why it failed or was skipped, for people.
    pub error_message: Option<String>,
    /// Why it failed, for alerts.
    pub failure_kind: Option<FailureKind>,
    /// The job's report.
    pub result: Option<Value>,
    /// When the row was written first.
    pub created_at_ms: i64,
    /// The run's epoch.
    pub epoch: Epoch,
    /// From 1.
    pub attempt: i32,
    /// The process that ran it.
    pub node: Option<NodeId>,
    /// Of a manual trigger.
    pub idempotency_key: Option<String>,
    /// Whether it was allowed to change anything.
    pub dry_run: bool,
    /// Its parameters.
    pub params: Option<Value>,
    /// `{"done": n, "total": n|null}`.
    pub progress: Option<Value>,
    /// The last sign of life, by the database's clock.
    pub heartbeat_at_ms: Option<i64>,
    /// Who asked to cancel it.
    pub cancel_requested_by: Option<String>,
    #[serde(skip)]
    id: i64,
}

/// Which executions to list; an empty filter lists all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of this job.
    pub job: Option<JobName>,
    /// In this state.
    pub status: Option<Status>,
    /// Started by this.
    pub trigger: Option<Trigger>,
    /// Failed for this reason.
    pub failure_kind: Option<FailureKind>,
    /// Started at or after, epoch ms.
    pub from_ms: Option<i64>,
    /// Started before, epoch ms.
    pub until_ms: Option<i64>,
}

/// Most executions on one page.
pub const PAGE_LIMIT: u32 = 200;

/// Which part of a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// 1 to [`PAGE_LIMIT`]; other values are moved into that range.
    pub limit: u32,
    /// [`Listing::next`] of the page before.
    pub after: Option<Cursor>,
}

impl Default for Page {
    fn default() -> Self {
        Self {
            limit: 50,
            after: None,
        }
    }
}

/// The place after the last row of a page. As text: `<started_at_ms>.<row id>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    started_at_ms: i64,
    id: i64,
}

/// The text is not a cursor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a page cursor: pass the `next` of the page before as it was given")]
pub struct CursorError(String);

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.started_at_ms, self.id)
    }
}

impl FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let parsed = text
            .split_once('.')
            .and_then(|(started_at_ms, id)| Some((started_at_ms.parse().ok()?, id.parse().ok()?)));
        parsed.map_or_else(
            || Err(CursorError(text.chars().take(80).collect())),
            |(started_at_ms, id)| Ok(Self { started_at_ms, id }),
        )
    }
}

/// One page, newest first.
#[derive(Debug, Clone, PartialEq)]
pub struct Listing {
    /// The executions.
    pub executions: Vec<Execution>,
    /// Where the next page starts; `None` on the last.
    pub next: Option<Cursor>,
}

/// A page of the history, newest first, stable while rows are added.
///
/// # Errors
/// [`CoreError::Sql`], [`CoreError::TimedOut`], [`CoreError::Stored`].
pub async fn list(pool: &PgPool, filter: &Filter, page: &Page) -> Result<Listing, CoreError> {
    let limit = page.limit.clamp(1, PAGE_LIMIT);
    let rows = call(
        "list executions",
        sqlx::query(sql::LIST_EXECUTIONS)
            .bind(filter.job.as_ref().map(JobName::as_str))
            .bind(filter.status.map(Status::as_str))
            .bind(filter.trigger.map(Trigger::as_str))
            .bind(filter.from_ms)
            .bind(filter.until_ms)
            .bind(filter.failure_kind.map(FailureKind::as_str))
            .bind(page.after.map(|cursor| cursor.started_at_ms))
            .bind(page.after.map(|cursor| cursor.id))
            .bind(i64::from(limit) + 1)
            .fetch_all(pool),
    )
    .await?;
    let mut executions = rows.iter().map(from_row).collect::<Result<Vec<_>, _>>()?;
    let more = executions.len() > limit as usize;
    executions.truncate(limit as usize);
    let next = executions.last().filter(|_last| more).map(|last| Cursor {
        started_at_ms: last.started_at_ms,
        id: last.id,
    });
    Ok(Listing { executions, next })
}

/// One execution.
///
/// # Errors
/// As [`list`].
pub async fn get(pool: &PgPool, execution: ExecutionId) -> Result<Option<Execution>, CoreError> {
    one(call(
        "read an execution",
        sqlx::query(sql::GET_EXECUTION)
            .bind(execution.as_uuid())
            .fetch_optional(pool),
    )
    .await?
    .as_ref())
}

/// The newest execution of a job, in the given state if one is given: its last report, or its last failure.
///
/// # Errors
/// As [`list`].
pub async fn last(
    pool: &PgPool,
    job: &JobName,
    status: Option<Status>,
) -> Result<Option<Execution>, CoreError> {
    one(call(
        "read a job's last execution",
        sqlx::query(sql::LAST_EXECUTION)
            .bind(job.as_str())
            .bind(status.map(Status::as_str))
            .fetch_optional(pool),
    )
    .await?
    .as_ref())
}

/// When each job last succeeded (dry runs do not count), epoch ms; jobs that never did are left out. Loaded at
/// start, so that a rollout does not reset `job_last_success_timestamp` (ruling 12).
///
/// # Errors
/// [`CoreError::Sql`], [`CoreError::TimedOut`].
pub async fn last_successes(pool: &PgPool, jobs: &[JobName]) -> Result<Vec<(JobName, i64)>, CoreError> {
    let rows: Vec<(String, Option<i64>)> = call(
        "read the jobs' last successes",
        sqlx::query_as(sql::LAST_SUCCESSES)
            .bind(names(jobs))
            .fetch_all(pool),
    )
    .await?;
    Ok(rows
        .into_iter()
        .filter_map(|(name, finished_at_ms)| Some((name.parse().ok()?, finished_at_ms?)))
        .collect())
}

/// The newest end of one kind that was not a success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// The job.
    pub job: JobName,
    /// Why it failed; `None`: its slot was skipped.
    pub failure: Option<FailureKind>,
    /// Whether a later attempt for the same slot exists, which then speaks for the slot.
    pub retried: bool,
    /// When it ended, epoch ms.
    pub at_ms: i64,
}

/// Returns, for runs of `jobs` that started since `since_ms`, the newest end of each kind that was not a success. Runs of
/// every process count, those of a terminal too; dry runs do not.
///
/// # Errors
/// As [`list`].
pub async fn recent_endings(
    pool: &PgPool,
    jobs: &[JobName],
    since_ms: i64,
) -> Result<Vec<Ending>, CoreError> {
    let rows: Vec<(String, String, bool, i64)> = call(
        "read how recent runs ended",
        sqlx::query_as(sql::RECENT_ENDINGS)
            .bind(names(jobs))
            .bind(since_ms)
            .fetch_all(pool),
    )
    .await?;
    rows.into_iter()
        .map(|(name, ended, retried, at_ms)| {
            let failure = (ended != Status::Skipped.as_str())
                .then(|| stored("eidos_jobs_executions.failure_kind", &ended))
                .transpose()?;
            Ok(Ending {
                job: job_name(&name)?,
                failure,
                retried,
                at_ms,
            })
        })
        .collect()
}

/// The report of a job's newest run that has one; dry runs do not count, failed ones do.
///
/// # Errors
/// [`CoreError::Sql`], [`CoreError::TimedOut`].
pub async fn last_report(pool: &PgPool, job: &JobName) -> Result<Option<Value>, CoreError> {
    call(
        "read a job's last report",
        sqlx::query_scalar(sql::LAST_REPORT)
            .bind(job.as_str())
            .fetch_optional(pool),
    )
    .await
}

/// Running executions of `jobs` without a sign of life for `silence`, oldest first. Candidates only: take the
/// job's lease to learn whether the run is dead, then mint an epoch, which closes it.
///
/// # Errors
/// As [`list`].
pub async fn abandoned(
    pool: &PgPool,
    jobs: &[JobName],
    silence: Duration,
) -> Result<Vec<Execution>, CoreError> {
    let rows = call(
        "look for abandoned executions",
        sqlx::query(sql::ABANDONED)
            .bind(names(jobs))
            .bind(i64::try_from(silence.as_millis()).unwrap_or(i64::MAX / 4))
            .fetch_all(pool),
    )
    .await?;
    rows.iter().map(from_row).collect()
}

pub(crate) fn names(jobs: &[JobName]) -> Vec<&str> {
    jobs.iter().map(JobName::as_str).collect()
}

fn one(row: Option<&PgRow>) -> Result<Option<Execution>, CoreError> {
    row.map(from_row).transpose()
}

fn from_row(row: &PgRow) -> Result<Execution, CoreError> {
    let failure_kind: Option<String> = column(row, "failure_kind")?;
    Ok(Execution {
        execution_id: ExecutionId::from_uuid(column(row, "execution_id")?),
        job: job_name(&column::<String>(row, "job_name")?)?,
        status: stored("eidos_jobs_executions.status", column(row, "status")?)?,
        trigger: Trigger::from_stored(column(row, "trigger")?)?,
        slot: column::<Option<i64>>(row, "slot_ms")?.and_then(Slot::from_ms),
        started_at_ms: column(row, "started_at")?,
        finished_at_ms: column(row, "finished_at")?,
        duration_ms: column(row, "duration_ms")?,
        error_message: column(row, "error_message")?,
        failure_kind: failure_kind
            .map(|kind| stored("eidos_jobs_executions.failure_kind", &kind))
            .transpose()?,
        result: column(row, "result")?,
        created_at_ms: column(row, "created_at")?,
        epoch: Epoch::from_stored(column(row, "epoch")?),
        attempt: column(row, "attempt")?,
        node: column::<Option<Uuid>>(row, "node_id")?.map(NodeId::from_uuid),
        idempotency_key: column(row, "idempotency_key")?,
        dry_run: column(row, "dry_run")?,
        params: column(row, "params")?,
        progress: column(row, "progress")?,
        heartbeat_at_ms: column(row, "heartbeat_at")?,
        cancel_requested_by: column(row, "cancel_requested_by")?,
        id: column(row, "id")?,
    })
}

/// A stored job name.
pub(crate) fn job_name(text: &str) -> Result<JobName, CoreError> {
    text.parse()
        .map_err(|_error: JobNameError| CoreError::stored("job_name", text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_and_nonsense_is_refused() {
        let cursor = Cursor {
            started_at_ms: 1_700_000_000_000,
            id: 42,
        };
        assert_eq!(cursor.to_string().parse::<Cursor>().unwrap(), cursor);
        for text in ["", "1", "a.b", "1.", "99999999999999999999.1"] {
            assert!(text.parse::<Cursor>().is_err(), "{text}");
        }
    }
}
