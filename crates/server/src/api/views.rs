//! What the API shows. The same words as in the tables, the log and the metrics; times are RFC 3339 in UTC.

use chrono::{DateTime, Utc};
use eidos_core::state::JobState;
use eidos_runtime::RegisteredJob;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// A job as it stands.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct JobView {
    pub(crate) job: String,
    pub(crate) enabled: bool,
    /// Five fields (minute first) or six (second first), in UTC.
    pub(crate) cron: String,
    pub(crate) timeout_ms: u64,
    /// How often and after which waits a failed run is tried again.
    pub(crate) retry: RetryView,
    pub(crate) pool: String,
    pub(crate) paused: bool,
    pub(crate) paused_by: Option<String>,
    pub(crate) paused_reason: Option<String>,
    pub(crate) paused_at: Option<DateTime<Utc>>,
    /// The newest slot that was claimed.
    pub(crate) last_slot: Option<DateTime<Utc>>,
    /// The next slot; none while the job is disabled or paused.
    pub(crate) next_run_at: Option<DateTime<Utc>>,
    pub(crate) last_success_at: Option<DateTime<Utc>>,
    pub(crate) running: bool,
    pub(crate) last_execution: Option<ExecutionView>,
}

impl JobView {
    pub(crate) fn new(
        job: &RegisteredJob,
        state: Option<&JobState>,
        last_execution: Option<ExecutionView>,
        last_success_ms: Option<i64>,
        now: DateTime<Utc>,
    ) -> Self {
        let pause = state.and_then(|state| state.pause.as_ref());
        let scheduled = job.section.enabled && pause.is_none();
        Self {
            job: job.name.to_string(),
            enabled: job.section.enabled,
            cron: job.section.cron.to_string(),
            timeout_ms: u64::try_from(job.section.timeout.as_millis()).unwrap_or(u64::MAX),
            retry: RetryView {
                max_attempts: job.section.retry.max_attempts,
                base_ms: job.section.retry.base_ms,
                max_ms: job.section.retry.max_ms,
            },
            pool: job.section.pool.clone(),
            paused: pause.is_some(),
            paused_by: pause.map(|pause| pause.by.clone()),
            paused_reason: pause.map(|pause| pause.reason.clone()),
            paused_at: pause.and_then(|pause| instant(pause.at_ms)),
            last_slot: state
                .and_then(|state| state.last_slot)
                .map(eidos_types::Slot::instant),
            next_run_at: scheduled
                .then(|| job.next_after(now))
                .flatten()
                .map(eidos_types::Slot::instant),
            last_success_at: last_success_ms.and_then(instant),
            running: last_execution
                .as_ref()
                .is_some_and(|last| last.status == "running"),
            last_execution,
        }
    }
}

/// When a failed run is tried again. The wait after attempt n is random, up to the smaller of `max_ms` and
/// `base_ms · 2^(n−1)`.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub(crate) struct RetryView {
    /// Attempts in all, the first one included.
    pub(crate) max_attempts: u32,
    pub(crate) base_ms: u64,
    pub(crate) max_ms: u64,
}

/// One execution.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct ExecutionView {
    pub(crate) execution_id: String,
    pub(crate) job: String,
    /// `pending`, `running`, `success`, `failed` or `skipped`.
    pub(crate) status: String,
    /// `schedule`, `manual`, `catch_up` or `cli`.
    pub(crate) trigger: String,
    /// The scheduled instant it works for.
    pub(crate) slot: Option<DateTime<Utc>>,
    /// When it started; of a pending one, when it was requested.
    pub(crate) started_at: Option<DateTime<Utc>>,
    pub(crate) finished_at: Option<DateTime<Utc>>,
    pub(crate) duration_ms: Option<i32>,
    /// Why it failed: `error`, `timeout`, `lease_lost`, `orphaned`, `panic`, `shutdown`, `fenced` or `cancelled`.
    pub(crate) failure_kind: Option<String>,
    /// Why it failed or was skipped, for people.
    pub(crate) error_message: Option<String>,
    /// From 1. A further attempt is an execution of its own with the same slot or idempotency key.
    pub(crate) attempt: i32,
    pub(crate) dry_run: bool,
    pub(crate) progress: Option<ProgressView>,
    pub(crate) params: Option<Value>,
    /// The job's report.
    pub(crate) result: Option<Value>,
    /// What the job itself printed, for a terminal of 80 columns; not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rendered: Option<String>,
    pub(crate) idempotency_key: Option<String>,
    pub(crate) node: Option<String>,
    pub(crate) cancel_requested_by: Option<String>,
    /// The row's number, for clients of the gRPC interface.
    #[serde(skip)]
    pub(crate) row_id: i64,
}

/// How far an execution is.
#[derive(Debug, Clone, Copy, Serialize, serde::Deserialize, ToSchema)]
pub(crate) struct ProgressView {
    pub(crate) done: u64,
    /// Not known in advance by every job.
    pub(crate) total: Option<u64>,
}

/// Where a page lies in the whole list.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub struct PageView {
    /// Rows over all pages.
    pub(crate) total: i64,
    /// From 1.
    pub(crate) page: u32,
    pub(crate) page_size: u32,
    pub(crate) total_pages: u32,
    pub(crate) has_next: bool,
    pub(crate) has_previous: bool,
}

/// A page of executions, newest first.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct ExecutionPage {
    pub(crate) executions: Vec<ExecutionView>,
    pub(crate) pagination: PageView,
}

/// The report of a job's newest successful run.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct ReportView {
    pub(crate) execution: ExecutionView,
    pub(crate) report: Value,
}

/// A trigger was accepted.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Accepted {
    pub(crate) execution_id: String,
    /// False: the idempotency key was known and nothing new was started.
    pub(crate) created: bool,
}

/// A cancellation was requested.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct CancelView {
    pub(crate) execution: ExecutionView,
}

/// From the unit of the `BIGINT` columns.
pub(crate) fn instant(epoch_ms: i64) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_millis(epoch_ms)
}
