//! From executions to metrics, spans and log lines. The nouns are those of the tables.

use chrono::{DateTime, TimeDelta, Utc};
use eidos_core::db::JobsDb;
use eidos_core::execution::{Ending, FailureKind, Outcome, Trigger, last_successes, recent_endings};
use eidos_core::lease::{ACQUIRE_RESULTS, LostReason};
use eidos_core::slot::Claim;
use eidos_core::{CoreError, state};
use eidos_telemetry::{metric, trace_context};
use eidos_types::{Clock, JobName, SlotRange};
use serde_json::Value;
use tracing::{Span, field};

use crate::context::RunFacts;
use crate::job::RunReport;
use crate::registry::{RegisteredJob, Registry};
use crate::supervise::Failure;

/// The span of one run; the request that asked for it becomes its parent, if this process knows it.
pub(crate) fn run_span(facts: &RunFacts, trigger: Trigger, request: Option<http::HeaderMap>) -> Span {
    let span = tracing::info_span!(
        parent: None,
        "run",
        job = %facts.job,
        execution = %facts.execution,
        slot = %facts.slots.upto,
        attempt = facts.attempt,
        trigger = trigger.as_str(),
        dry_run = facts.dry_run,
        outcome = field::Empty,
    );
    if let Some(headers) = request {
        trace_context::continue_from(&span, &headers);
    }
    span.in_scope(|| tracing::info!("run started"));
    span
}

/// A run begins.
pub(crate) fn started(job: &JobName) {
    metric::job_running(job.as_str(), true);
}

/// A run's future has ended: the log line and the span say how, the report included.
pub(crate) fn ended(span: &Span, outcome: &Result<RunReport, Failure>) {
    span.in_scope(|| match outcome {
        Ok(report) => {
            span.record("outcome", "success");
            tracing::info!(report = %report.json, "run succeeded");
        }
        Err(failure) => {
            span.record("outcome", failure.kind.as_str());
            tracing::warn!(
                failure_kind = failure.kind.as_str(),
                error = failure.message,
                "run failed"
            );
        }
    });
}

/// An execution has its final row, or was replaced and keeps the one the newer run gave it.
pub(crate) fn finished(clock: &dyn Clock, job: &JobName, outcome: &Outcome, dry_run: bool, replaced: bool) {
    metric::job_running(job.as_str(), false);
    if replaced {
        tracing::warn!(%job, "the run had been replaced: its outcome is not recorded");
        metric::fence_rejected(job.as_str());
        return;
    }
    match outcome {
        Outcome::Success { .. } => {
            metric::job_execution_ended(job.as_str(), "success");
            if !dry_run {
                metric::job_last_success(job.as_str(), clock.now());
            }
        }
        Outcome::Failed { kind, .. } => {
            metric::job_execution_ended(job.as_str(), "failed");
            metric::job_failed(job.as_str(), kind.as_str());
        }
    }
}

/// How long an execution took.
pub(crate) fn duration(job: &JobName, duration_ms: i32) {
    let duration = std::time::Duration::from_millis(u64::try_from(duration_ms).unwrap_or_default());
    metric::job_execution_duration(job.as_str(), duration);
}

/// The parameters of a scheduled run as they are stored.
pub(crate) fn scheduled_params(job: &RegisteredJob, slots: &SlotRange) -> Value {
    job.entry.scheduled_params(slots).unwrap_or_else(|error| {
        tracing::error!(job = %job.name, %error, "the parameters of a scheduled run are not JSON; using the defaults");
        Value::Null
    })
}

/// Why slots were skipped, as `slots_skipped_total{reason}` says it: no replica ran them in time.
pub(crate) const MISSED: &str = "missed";
/// The run before them had not ended.
pub(crate) const OVERLAP: &str = "overlap";

/// Every counter and histogram of a job at zero, those it has of its own too.
fn series_from_zero(job: &RegisteredJob) {
    let failure_kinds: Vec<_> = FailureKind::ALL.iter().map(|kind| kind.as_str()).collect();
    let lost_reasons: Vec<_> = LostReason::ALL.iter().map(|reason| reason.as_str()).collect();
    metric::job_series_from_zero(
        job.name.as_str(),
        &metric::JobLabels {
            failure_kinds: &failure_kinds,
            acquire_results: &ACQUIRE_RESULTS,
            lost_reasons: &lost_reasons,
            claim_results: &Claim::RESULTS,
            skip_reasons: &[MISSED, OVERLAP],
        },
    );
    job.entry.series_from_zero();
}

/// Series that exist before the first run and without a database: what an alert compares with.
pub(crate) fn series_at_start(registry: &Registry, clock: &dyn Clock) {
    for job in registry.iter() {
        metric::job_running(job.name.as_str(), false);
        metric::job_paused(job.name.as_str(), false);
        series_from_zero(job);
        // A job that is only run by hand is never late.
        if job.section.enabled {
            metric::job_known_since(job.name.as_str(), clock.now());
            metric::job_schedule_period(job.name.as_str(), job.section.cron.largest_gap());
            if let Some(next) = job.schedule.next_after(clock.now()) {
                metric::job_next_run(job.name.as_str(), next.instant());
            }
        }
    }
}

/// What the database knows: pauses, and when each job last succeeded, so that a rollout does not look like a first start
/// (ruling 12).
pub(crate) async fn load_at_start(registry: &Registry, db: &JobsDb) -> Result<(), CoreError> {
    for job in registry.iter() {
        let paused = state::get(db.control(), &job.name)
            .await?
            .is_some_and(|state| state.pause.is_some());
        metric::job_paused(job.name.as_str(), paused);
    }
    for (job, at_ms) in last_successes(db.control(), &registry.names()).await? {
        if let Some(at) = chrono::DateTime::from_timestamp_millis(at_ms) {
            metric::job_last_success(job.as_str(), at);
        }
    }
    Ok(())
}

/// An end that is older is history, and not shown by the gauges of what ended badly.
const RECENT: TimeDelta = TimeDelta::days(1);

/// Sets the gauges of pauses, successes, failures and skips from the database: what any process ran, a terminal's included, is
/// seen by every replica, and a restart forgets nothing. Counters only know their own process.
pub(crate) async fn endings(registry: &Registry, db: &JobsDb, now: DateTime<Utc>) -> Result<(), CoreError> {
    let names = registry.names();
    for (job, at_ms) in last_successes(db.read(), &names).await? {
        if let Some(at) = DateTime::from_timestamp_millis(at_ms) {
            metric::job_last_success(job.as_str(), at);
        }
    }
    for state in state::list(db.read())
        .await?
        .iter()
        .filter(|state| names.contains(&state.job))
    {
        metric::job_paused(state.job.as_str(), state.pause.is_some());
    }
    let endings = recent_endings(db.read(), &names, (now - RECENT).timestamp_millis()).await?;
    for job in &names {
        let newest = |matches: &dyn Fn(&Ending) -> bool| {
            let found = endings
                .iter()
                .find(|ending| ending.job == *job && matches(ending));
            found.and_then(|ending| DateTime::from_timestamp_millis(ending.at_ms))
        };
        metric::job_last_skip(job.as_str(), newest(&|ending| ending.failure.is_none()));
        for kind in FailureKind::ALL {
            for retried in [false, true] {
                let at = newest(&|ending| ending.failure == Some(*kind) && ending.retried == retried);
                metric::job_last_failure(job.as_str(), kind.as_str(), retried, at);
            }
        }
    }
    Ok(())
}
