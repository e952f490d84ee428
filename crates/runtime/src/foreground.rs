//! One run in the foreground, under the same lease, epoch and history as any other.

use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use eidos_core::execution::Trigger;
use eidos_types::{ExecutionId, Slot};
use serde_json::Value;

use crate::registry::RegisteredJob;
use crate::schedule::has_come;
use crate::work::{Again, Ticked, Work, only};
use crate::{CancelReason, Engine, params};

/// What to run.
#[derive(Debug, Clone, Default)]
pub struct RunRequest {
    /// The job's name.
    pub job: String,
    /// The scheduled instant to work for; now unless told.
    pub slot: Option<Slot>,
    /// Parameters, an object or null.
    pub params: Value,
    /// Change nothing.
    pub dry_run: bool,
    /// Who asks; what the run does to data is recorded under this name.
    pub requested_by: Option<String>,
}

/// How it went.
#[derive(Debug, Clone, PartialEq)]
pub enum Foreground {
    /// With a report.
    Success {
        /// The execution.
        execution: ExecutionId,
        /// The report.
        report: Value,
        /// The report for a person.
        rendered: String,
    },
    /// Without one, or with one of what was done all the same.
    Failed {
        /// The execution.
        execution: ExecutionId,
        /// `error`, `timeout`, `panic`, ...
        kind: &'static str,
        /// Why.
        message: String,
        /// What was done, and the same for a person.
        report: Option<(Value, String)>,
    },
    /// Another run of the job holds the lease.
    Busy {
        /// How long its lease lasts unless it is renewed.
        remaining: Duration,
    },
}

/// The request names a job or parameters that do not exist.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BadRunRequest(String);

impl Engine {
    /// Runs a job now, with the retries its settings allow.
    ///
    /// # Errors
    /// [`BadRunRequest`] before anything is written; otherwise what the database or Redis said.
    pub async fn run_job(&self, request: RunRequest) -> anyhow::Result<Foreground> {
        let job = Arc::clone(self.known(&request.job)?);
        job.entry
            .check_params(&request.params)
            .map_err(|problem| BadRunRequest(format!("parameters of {}: {problem}", request.job)))?;
        if let Some(slot) = request.slot.filter(|_slot| !request.dry_run) {
            has_come(slot, self.runner.clock.now_ms()).map_err(BadRunRequest)?;
        }
        let work = Work::Again(Again {
            slots: only(request.slot.unwrap_or_else(|| Slot::at(self.runner.clock.now()))),
            trigger: Trigger::Cli,
            attempt: 1,
            continues: None,
            idempotency_key: None,
            params: (!request.params.is_null()).then_some(request.params),
            dry_run: request.dry_run,
            requested_by: request.requested_by,
        });
        match self.runner.run_attempts(&job, work).await? {
            Ticked::Busy { remaining } => Ok(Foreground::Busy { remaining }),
            Ticked::NotOurs(why) => Err(anyhow!("{} was not run: {why}", request.job)),
            Ticked::Ran(ran) => Ok(match ran.outcome {
                Ok(report) => Foreground::Success {
                    execution: ran.execution,
                    report: report.json,
                    rendered: report.rendered,
                },
                Err(failure) => Foreground::Failed {
                    execution: ran.execution,
                    kind: failure.kind.as_str(),
                    message: failure.message,
                    report: failure.report.map(|report| (report.json, report.rendered)),
                },
            }),
        }
    }

    /// The parameters of a command line as the job understands them; `typed` are those that were read as JSON.
    ///
    /// # Errors
    /// [`BadRunRequest`], with what the job says.
    pub fn understood(
        &self,
        job: &str,
        params: Value,
        typed: &[(String, String)],
    ) -> Result<Value, BadRunRequest> {
        let entry = &self.known(job)?.entry;
        params::understood(params, typed, |params| entry.check_params(params))
            .map_err(|problem| BadRunRequest(format!("parameters of {job}: {problem}")))
    }

    fn known(&self, name: &str) -> Result<&Arc<RegisteredJob>, BadRunRequest> {
        self.registry.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.registry.iter().map(|job| job.name.as_str()).collect();
            BadRunRequest(format!(
                "there is no job '{name}'; this service has: {}",
                known.join(", ")
            ))
        })
    }

    /// Asks whatever runs in the foreground to stop.
    pub fn interrupt(&self) {
        self.runner.stopping.cancel();
        self.runner.process.cancel(CancelReason::Shutdown);
    }

    /// How far the run in the foreground is: units done and, if known, in all.
    #[must_use]
    pub fn progress(&self) -> Option<(u64, Option<u64>)> {
        self.runner.running.progress()
    }
}
