//! The application layer: what a caller may ask, once, for HTTP and gRPC alike.

mod error;
mod history;
mod reports;
mod views;

use std::sync::Arc;

use eidos_core::db::JobsDb;
use eidos_core::execution::{CancelOutcome, Status, Trigger, request_cancel};
use eidos_core::trigger::{self, TriggerRequest};
use eidos_core::{CoreError, state};
use eidos_runtime::{CancelReason, Engine, RegisteredJob, has_come};
use eidos_settings::{Overlap, Role};
use eidos_telemetry::metric;
use eidos_types::{ExecutionId, SharedClock, Slot};
use serde_json::Value;
use uuid::Uuid;

pub use error::ApiError;
pub(crate) use history::ExecutionQuery;
pub use history::PageRequest;
pub use reports::{
    ReconciliationTotals, RecordPage, RecordQuery, RecordView, Reports, StatisticView, StatisticsQuery,
    TokenTotals,
};
pub use views::PageView;
pub(crate) use views::{
    Accepted, CancelView, ExecutionPage, ExecutionView, JobView, ProgressView, ReportView, RetryView,
};

use crate::sql;

/// Longest idempotency key (`VARCHAR(200)`).
const MAX_KEY_CHARS: usize = 200;
/// Longest reason of a pause, in characters.
const MAX_REASON_CHARS: usize = 500;

/// Who is calling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Name of the token.
    pub name: String,
    /// What it may do.
    pub role: Role,
}

impl Caller {
    /// # Errors
    /// [`ApiError::Forbidden`] if the caller's role is below `needed`.
    pub(crate) fn needs(&self, needed: Role) -> Result<(), ApiError> {
        if self.role >= needed {
            Ok(())
        } else {
            Err(ApiError::Forbidden {
                role: self.role,
                needed,
            })
        }
    }
}

/// What to run.
#[derive(Debug, Clone, Default)]
pub(crate) struct TriggerInput {
    pub(crate) idempotency_key: Option<String>,
    pub(crate) params: Option<Value>,
    pub(crate) dry_run: bool,
    pub(crate) slot: Option<Slot>,
}

/// The rules behind both servers.
#[derive(Debug, Clone)]
pub(crate) struct Api {
    engine: Engine,
    db: JobsDb,
    clock: SharedClock,
    reports: Option<Arc<dyn Reports>>,
}

impl Api {
    /// Over the jobs of this process. `reports`: what the service answers about its own tables.
    pub(crate) fn new(engine: Engine, reports: Option<Arc<dyn Reports>>) -> Self {
        Self {
            db: engine.jobs_db().clone(),
            clock: Arc::clone(engine.clock()),
            engine,
            reports,
        }
    }

    /// Every job of this service.
    pub(crate) async fn jobs(&self, caller: &Caller) -> Result<Vec<JobView>, ApiError> {
        caller.needs(Role::Viewer)?;
        let jobs: Vec<_> = self.engine.jobs().cloned().collect();
        self.describe(&jobs).await
    }

    /// One job.
    pub(crate) async fn job(&self, caller: &Caller, name: &str) -> Result<JobView, ApiError> {
        caller.needs(Role::Viewer)?;
        let job = self.known(name)?;
        self.view(job).await
    }

    /// Accepts a run, once for each key. Nothing is written before everything about the request is known to be right.
    pub(crate) async fn trigger(
        &self,
        caller: &Caller,
        name: &str,
        input: TriggerInput,
        trace: http::HeaderMap,
    ) -> Result<Accepted, ApiError> {
        caller.needs(Role::Operator)?;
        let job = self.known(name)?;
        let params = input.params.unwrap_or(Value::Null);
        job.entry
            .check_params(&params)
            .map_err(|problem| ApiError::Invalid(format!("params of {name}: {problem}")))?;
        if let Some(slot) = input.slot.filter(|_slot| !input.dry_run) {
            has_come(slot, self.clock.now_ms()).map_err(ApiError::Invalid)?;
        }
        let key = key(input.idempotency_key)?;
        let request = TriggerRequest {
            job: job.name.clone(),
            idempotency_key: key,
            execution: ExecutionId::new(&*self.clock),
            trigger: Trigger::Manual,
            requested_by: caller.name.clone(),
            slot: input.slot,
            params: (!params.is_null()).then_some(params),
            dry_run: input.dry_run,
            now_ms: self.clock.now_ms(),
        };
        // A repeated request is answered with its execution even while that very execution keeps the job busy.
        if !self.is_known_key(&request).await? {
            self.refuse_if_paused(job).await?;
            self.refuse_if_busy(job).await?;
        }
        let done = trigger::insert(self.db.control(), &request).await?;
        if done.differs {
            return Err(ApiError::Invalid(format!(
                "the idempotency key '{}' was used for a different request of {name}; use a new key",
                request.idempotency_key
            )));
        }
        if done.created {
            tracing::info!(job = %job.name, execution = %done.execution, by = caller.name, "triggered");
            self.engine.accepted(done.execution, trace);
        }
        Ok(Accepted {
            execution_id: done.execution.to_string(),
            created: done.created,
        })
    }

    /// A page of the history, newest first.
    pub(crate) async fn executions(
        &self,
        caller: &Caller,
        query: &ExecutionQuery,
        page: PageRequest,
    ) -> Result<ExecutionPage, ApiError> {
        caller.needs(Role::Viewer)?;
        if let Some(name) = &query.job {
            self.known(name)?;
        }
        if let (Some(from), Some(until)) = (query.from_ms, query.until_ms)
            && from >= until
        {
            return Err(ApiError::Invalid(
                "the range is empty: its beginning must be before its end".to_owned(),
            ));
        }
        if let Some(status) = &query.status {
            status
                .parse::<Status>()
                .map_err(|error| ApiError::Invalid(format!("status {error}")))?;
        }
        history::page(&self.db, query, page).await
    }

    /// One execution.
    pub(crate) async fn execution(&self, caller: &Caller, id: &str) -> Result<ExecutionView, ApiError> {
        caller.needs(Role::Viewer)?;
        self.find(execution_id(id)?).await
    }

    /// The newest successful run of a job and its report.
    pub(crate) async fn report(&self, caller: &Caller, name: &str) -> Result<ReportView, ApiError> {
        caller.needs(Role::Viewer)?;
        let job = self.known(name)?;
        let execution = history::last_report(&self.db, job.name.as_str())
            .await?
            .ok_or_else(|| {
                ApiError::NotFound(format!("{name} has not succeeded yet, so there is no report"))
            })?;
        let report = execution.result.clone().unwrap_or(Value::Null);
        Ok(ReportView { execution, report })
    }

    /// Asks an execution to stop.
    pub(crate) async fn cancel(&self, caller: &Caller, id: &str) -> Result<CancelView, ApiError> {
        caller.needs(Role::Operator)?;
        let id = execution_id(id)?;
        let outcome = request_cancel(self.db.control(), id, &caller.name, self.clock.now_ms()).await;
        match outcome {
            Err(CoreError::NoSuchExecution(id)) => return Err(no_execution(id)),
            Err(error) => return Err(error.into()),
            Ok(CancelOutcome::AlreadyEnded) => {
                return Err(ApiError::Conflict(format!("execution {id} has ended already")));
            }
            Ok(CancelOutcome::Requested | CancelOutcome::Withdrawn) => {}
        }
        tracing::info!(execution = %id, by = caller.name, "cancellation requested");
        self.engine.cancel(
            id,
            CancelReason::Operator {
                by: caller.name.clone(),
            },
        );
        Ok(CancelView {
            execution: self.find(id).await?,
        })
    }

    /// Stops the scheduling of a job. Pausing a paused job changes nothing and keeps the first reason.
    pub(crate) async fn pause(&self, caller: &Caller, name: &str, reason: &str) -> Result<JobView, ApiError> {
        caller.needs(Role::Operator)?;
        let job = self.known(name)?;
        let reason = reason.trim();
        if reason.is_empty() || reason.chars().count() > MAX_REASON_CHARS {
            return Err(ApiError::Invalid(format!(
                "reason must have 1 to {MAX_REASON_CHARS} characters: whoever finds the job paused needs it"
            )));
        }
        state::pause(self.db.control(), &job.name, &caller.name, reason).await?;
        metric::job_paused(job.name.as_str(), true);
        tracing::info!(job = %job.name, by = caller.name, reason, "paused");
        self.view(job).await
    }

    /// Schedules a job again. Resuming a job that is not paused changes nothing.
    pub(crate) async fn resume(
        &self,
        caller: &Caller,
        name: &str,
        reason: &str,
    ) -> Result<JobView, ApiError> {
        caller.needs(Role::Operator)?;
        let job = self.known(name)?;
        state::resume(self.db.control(), &job.name).await?;
        metric::job_paused(job.name.as_str(), false);
        tracing::info!(job = %job.name, by = caller.name, reason, "resumed");
        self.engine.look_again();
        self.view(job).await
    }

    fn known(&self, name: &str) -> Result<&Arc<RegisteredJob>, ApiError> {
        self.engine.job(name).ok_or_else(|| {
            let known: Vec<String> = self.engine.jobs().map(|job| job.name.to_string()).collect();
            let name: String = name.chars().take(100).collect();
            ApiError::NotFound(format!(
                "there is no job '{name}' here; this service runs: {}",
                known.join(", ")
            ))
        })
    }

    async fn find(&self, id: ExecutionId) -> Result<ExecutionView, ApiError> {
        history::execution(&self.db, id)
            .await?
            .ok_or_else(|| no_execution(id))
    }

    async fn view(&self, job: &Arc<RegisteredJob>) -> Result<JobView, ApiError> {
        let mut views = self.describe(std::slice::from_ref(job)).await?;
        views
            .pop()
            .ok_or_else(|| ApiError::NotFound(format!("there is no job '{}' here", job.name)))
    }

    async fn describe(&self, jobs: &[Arc<RegisteredJob>]) -> Result<Vec<JobView>, ApiError> {
        let names: Vec<_> = jobs.iter().map(|job| job.name.clone()).collect();
        let latest = history::latest(&self.db, &names).await?;
        let successes = eidos_core::execution::last_successes(self.db.control(), &names).await?;
        let states = state::list(self.db.control()).await?;
        let now = self.clock.now();
        Ok(jobs
            .iter()
            .map(|job| {
                let last = latest
                    .iter()
                    .find(|execution| execution.job == job.name.as_str())
                    .cloned();
                let success = successes
                    .iter()
                    .find(|(name, _)| *name == job.name)
                    .map(|(_, at_ms)| *at_ms);
                let state = states.iter().find(|state| state.job == job.name);
                JobView::new(job, state, last, success, now)
            })
            .collect())
    }

    async fn is_known_key(&self, request: &TriggerRequest) -> Result<bool, ApiError> {
        let known = sqlx::query_scalar(
            "SELECT EXISTS (SELECT FROM eidos_jobs_triggers WHERE job_name = $1 AND idempotency_key = $2)",
        )
        .bind(request.job.as_str())
        .bind(&request.idempotency_key)
        .fetch_one(self.db.control())
        .await;
        known.map_err(ApiError::sql("look for an idempotency key"))
    }

    async fn refuse_if_paused(&self, job: &RegisteredJob) -> Result<(), ApiError> {
        match state::get(self.db.control(), &job.name)
            .await?
            .and_then(|state| state.pause)
        {
            Some(pause) => Err(ApiError::Conflict(format!(
                "{} is paused by {} ({}); resume it first",
                job.name, pause.by, pause.reason
            ))),
            None => Ok(()),
        }
    }

    async fn refuse_if_busy(&self, job: &RegisteredJob) -> Result<(), ApiError> {
        if job.section.overlap != Overlap::Skip || !job.is_locked() {
            return Ok(());
        }
        let active: Option<Uuid> = sqlx::query_scalar(sql::ACTIVE)
            .bind(job.name.as_str())
            .fetch_optional(self.db.control())
            .await
            .map_err(ApiError::sql("look for a running execution"))?;
        match active {
            Some(execution) => Err(ApiError::Busy {
                job: job.name.clone(),
                execution: execution.to_string(),
            }),
            None => Ok(()),
        }
    }
}

fn key(key: Option<String>) -> Result<String, ApiError> {
    let Some(key) = key.filter(|key| !key.is_empty()) else {
        return Ok(Uuid::now_v7().to_string());
    };
    let printable = key.chars().all(|character| !character.is_control());
    if printable && key.chars().count() <= MAX_KEY_CHARS {
        Ok(key)
    } else {
        Err(ApiError::Invalid(format!(
            "the idempotency key must have 1 to {MAX_KEY_CHARS} characters and no control characters"
        )))
    }
}

fn execution_id(text: &str) -> Result<ExecutionId, ApiError> {
    text.parse().map_err(|_not_a_uuid| {
        let text: String = text.chars().take(60).collect();
        ApiError::NotFound(format!("there is no execution '{text}'; ids are UUIDs"))
    })
}

fn no_execution(id: ExecutionId) -> ApiError {
    ApiError::NotFound(format!("there is no execution {id}"))
}
