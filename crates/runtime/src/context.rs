//! [`JobContext`]: everything a run may know and do. No hidden input: the work follows from stored state and the slot.

use std::sync::Arc;
use std::time::Duration;

use eidos_core::checkpoint;
use eidos_core::db::JobsDb;
use eidos_core::fence::{ExternalFence, ExternalStep, Fence, Step};
use eidos_types::{ExecutionId, JobName, SharedClock, Slot, SlotRange};
use serde::de::DeserializeOwned;
use sqlx::PgPool;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::cancel::Cancellation;
use crate::progress::Progress;
use crate::{CancelReason, JobError};

/// What one run may know and use. Cheap to clone, so that parts of a run can work side by side.
#[derive(Debug, Clone)]
pub struct JobContext(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    facts: RunFacts,
    fence: Option<Fence>,
    jobs_db: JobsDb,
    clock: SharedClock,
    cancellation: Cancellation,
    progress: Progress,
    deadline: Instant,
}

/// What is fixed about a run before it starts.
#[derive(Debug, Clone)]
pub(crate) struct RunFacts {
    pub(crate) job: JobName,
    pub(crate) execution: ExecutionId,
    pub(crate) slots: SlotRange,
    pub(crate) attempt: u32,
    pub(crate) dry_run: bool,
    pub(crate) requested_by: Option<String>,
}

/// A run that no service supervises: for tests of what jobs are made of, and for tools. See [`JobContext::standalone`].
#[derive(Debug, Clone)]
pub struct Standalone {
    /// The job whose rights are used.
    pub job: JobName,
    /// The execution it counts as.
    pub execution: ExecutionId,
    /// What it works for.
    pub slot: Slot,
    /// Change nothing.
    pub dry_run: bool,
    /// Who asks.
    pub requested_by: Option<String>,
    /// The right to write, minted by the caller; `None`: it may not.
    pub fence: Option<Fence>,
    /// Our own tables.
    pub jobs_db: JobsDb,
    /// The clock.
    pub clock: SharedClock,
    /// How long it may take. Nobody cancels it then; it is only told.
    pub budget: Duration,
}

/// A job tried to write where it may not.
#[derive(Debug, thiserror::Error)]
enum NoStep {
    #[error(
        "this is a dry run: ask `ctx.dry_run()` and report what would be written instead of opening a step"
    )]
    DryRun,
    #[error(
        "{0} takes no lock (jobs.{0}.lock.kind: none), so nothing fences its writes and it may not open a step"
    )]
    NoFence(JobName),
}

impl JobContext {
    pub(crate) fn new(
        facts: RunFacts,
        fence: Option<Fence>,
        jobs_db: JobsDb,
        clock: SharedClock,
        cancellation: Cancellation,
        progress: Progress,
        deadline: Instant,
    ) -> Self {
        Self(Arc::new(Inner {
            facts,
            fence,
            jobs_db,
            clock,
            cancellation,
            progress,
            deadline,
        }))
    }

    /// A context without a lease, a heartbeat or a supervisor.
    #[must_use]
    pub fn standalone(run: Standalone) -> Self {
        let facts = RunFacts {
            job: run.job,
            execution: run.execution,
            slots: SlotRange {
                after: None,
                upto: run.slot,
            },
            attempt: 1,
            dry_run: run.dry_run,
            requested_by: run.requested_by,
        };
        Self::new(
            facts,
            run.fence,
            run.jobs_db,
            run.clock,
            Cancellation::default(),
            Progress::default(),
            Instant::now() + run.budget,
        )
    }

    /// Who asked for the run: the name of the caller's token, or of the account at the terminal. `None` for the
    /// schedule.
    #[must_use]
    pub fn requested_by(&self) -> Option<&str> {
        self.0.facts.requested_by.as_deref()
    }

    /// The job's name.
    #[must_use]
    pub fn job(&self) -> &JobName {
        &self.0.facts.job
    }

    /// The scheduled instant this run works for, whenever it actually started.
    #[must_use]
    pub fn slot(&self) -> Slot {
        self.0.facts.slots.upto
    }

    /// All slots this run answers for: more than one when earlier ones were missed.
    #[must_use]
    pub fn slots(&self) -> SlotRange {
        self.0.facts.slots
    }

    /// The identity of this execution in history, logs and traces.
    #[must_use]
    pub fn execution_id(&self) -> ExecutionId {
        self.0.facts.execution
    }

    /// Which attempt this is, from 1. Crashed runs of the same slot count.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.0.facts.attempt
    }

    /// True if the run must change nothing and report what it would do.
    #[must_use]
    pub fn dry_run(&self) -> bool {
        self.0.facts.dry_run
    }

    /// The clock. For measuring and logging; which work to do follows from [`JobContext::slot`].
    #[must_use]
    pub fn clock(&self) -> &SharedClock {
        &self.0.clock
    }

    /// The jobs database; its pools for jobs are read-only sessions.
    #[must_use]
    pub fn jobs_db(&self) -> &JobsDb {
        &self.0.jobs_db
    }

    /// The right to write, for databases of other services; `None` for a job without a lock.
    #[must_use]
    pub fn fence(&self) -> Option<&Fence> {
        self.0.fence.as_ref()
    }

    /// When the run will be cancelled with [`CancelReason::Timeout`].
    #[must_use]
    pub fn budget_deadline(&self) -> Instant {
        self.0.deadline
    }

    /// What is left of the budget; zero when it is used up.
    #[must_use]
    pub fn budget_left(&self) -> Duration {
        self.0.deadline.saturating_duration_since(Instant::now())
    }

    /// Cancelled when the run must stop. Hand it to everything that waits.
    #[must_use]
    pub fn cancelled(&self) -> CancellationToken {
        self.0.cancellation.token().clone()
    }

    /// Why the run must stop, if it must.
    #[must_use]
    pub fn cancel_reason(&self) -> Option<CancelReason> {
        self.0.cancellation.reason()
    }

    /// To be called between batches.
    ///
    /// # Errors
    /// [`JobError::Cancelled`] with the reason once the run must stop.
    pub fn check_cancelled(&self) -> Result<(), JobError> {
        if self.0.cancellation.token().is_cancelled() {
            Err(self.cancelled_error())
        } else {
            Ok(())
        }
    }

    /// Awaits `future`, unless the run must stop first.
    ///
    /// # Errors
    /// [`JobError::Cancelled`] with the reason.
    pub async fn unless_cancelled<T>(&self, future: impl Future<Output = T>) -> Result<T, JobError> {
        tokio::select! {
            biased;
            () = self.0.cancellation.token().cancelled() => Err(self.cancelled_error()),
            value = future => Ok(value),
        }
    }

    fn cancelled_error(&self) -> JobError {
        match self.cancel_reason() {
            Some(CancelReason::LeaseLost) => JobError::LeaseLost,
            reason => JobError::Cancelled(reason.unwrap_or(CancelReason::Shutdown)),
        }
    }

    /// Opens a step: the only writable transaction. It checks the fence first and holds it until it ends, so a run
    /// that was replaced cannot write. Nothing is durable before [`Step::commit`].
    ///
    /// # Errors
    /// [`JobError::Fenced`] when a newer run exists; [`JobError::Cancelled`] once the run must stop;
    /// [`JobError::Fail`] in a dry run and in a job without a lock; [`JobError::Retry`] when the database is unwell.
    pub async fn step(&self) -> Result<Step<'_>, JobError> {
        Ok(self.writable()?.step(&self.0.jobs_db).await?)
    }

    /// A step on another service's database that carries our fence table.
    ///
    /// # Errors
    /// As [`JobContext::step`].
    pub async fn external_step(&self, pool: &PgPool) -> Result<ExternalStep, JobError> {
        Ok(self.writable()?.external_step(pool).await?)
    }

    /// The right to write to another service's database in many steps: its fence is raised to this run's epoch now,
    /// so that older runs are refused there at once.
    ///
    /// # Errors
    /// As [`JobContext::step`].
    pub async fn raised_in(&self, pool: &PgPool) -> Result<ExternalFence, JobError> {
        Ok(self.writable()?.raised_in(pool).await?)
    }

    fn writable(&self) -> Result<&Fence, JobError> {
        self.check_cancelled()?;
        if self.dry_run() {
            return Err(JobError::fail(NoStep::DryRun));
        }
        self.fence()
            .ok_or_else(|| JobError::fail(NoStep::NoFence(self.job().clone())))
    }

    /// The checkpoint this job saved under `key` in an earlier step.
    ///
    /// # Errors
    /// [`JobError::Retry`] when the database is unwell, [`JobError::Fail`] when the stored value has another shape.
    pub async fn load_checkpoint<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, JobError> {
        // From the control pool: the read pool may be a replica, which can lag behind the last step.
        Ok(checkpoint::load(self.0.jobs_db.control(), self.job(), key).await?)
    }

    /// Notes how far the run is. Cheap: it is written with the next heartbeat, about once in two seconds.
    pub fn progress(&self, done: u64, total: Option<u64>) {
        self.0.progress.set(done, total);
    }
}
