//! [`Runner::tick`]: the whole sentence. Acquire the lease, claim the slot and open the execution, run within the
//! budget, finish, release.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use eidos_core::db::JobsDb;
use eidos_core::fence::Fence;
use eidos_core::lease::{Acquired, Lease, LeaseClient, LeaseRequest, Owner};
use eidos_core::state;
use eidos_settings::{LockKind, SchedulerSection};
use eidos_types::{ExecutionId, NodeId, SharedClock};
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::cancel::Cancellation;
use crate::context::{JobContext, RunFacts};
use crate::error::chain;
use crate::health::HealthRegistry;
use crate::progress::Progress;
use crate::registry::RegisteredJob;
use crate::running::Running;
use crate::supervise::{Ended, Limits, Remains, supervise};
use crate::work::{Again, Ran, Ticked, Work};
use crate::{heartbeat, observe};

/// Runs jobs in this process.
#[derive(Debug, Clone)]
pub(crate) struct Runner {
    pub(crate) jobs_db: JobsDb,
    pub(crate) leases: LeaseClient,
    pub(crate) clock: SharedClock,
    pub(crate) node: NodeId,
    pub(crate) scheduler: SchedulerSection,
    pub(crate) health: HealthRegistry,
    /// Cancelled, with its reason, when the process wants its runs to end.
    pub(crate) process: Cancellation,
    /// Cancelled when nothing new may be started.
    pub(crate) stopping: CancellationToken,
    pub(crate) running: Running,
}

/// A run that has been opened: it is in the history and may write.
pub(crate) struct Opened {
    pub(crate) fence: Option<Fence>,
    pub(crate) execution: ExecutionId,
    /// When: slots that come due from now on do so while it runs.
    pub(crate) at: DateTime<Utc>,
    pub(crate) again: Again,
}

/// Something the runner needs did not answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TickError {
    #[error("{}", chain(.0))]
    Core(#[from] eidos_core::CoreError),
    #[error("{}", chain(.0))]
    Lease(#[from] eidos_core::lease::LeaseError),
}

impl Runner {
    /// One run of `job`, if it is ours to run.
    pub(crate) async fn tick(&self, job: &Arc<RegisteredJob>, work: Work) -> Result<Ticked, TickError> {
        let execution = match &work {
            Work::Triggered(pending) => pending.execution,
            Work::Scheduled(_) | Work::Again(_) => ExecutionId::new(&*self.clock),
        };
        if !job.is_locked() {
            return Ok(self.tick_without_lease(job, execution, work).await);
        }
        let lease = match self.acquire(job, execution).await? {
            Acquired::Held(lease) => lease,
            Acquired::Refused { remaining } => return Ok(Ticked::Busy { remaining }),
        };
        let opened = match self.open(job, execution, work, lease.token()).await {
            Ok(Ok(opened)) => opened,
            Ok(Err(not_ours)) => {
                self.release(job, lease).await;
                return Ok(Ticked::NotOurs(not_ours));
            }
            Err(error) => {
                self.release(job, lease).await;
                return Err(error);
            }
        };
        let limits = self.limits(job, &lease);
        let (ended, progress) = self.run(job, &opened, &limits).await;
        self.finish(job, &opened, &ended, &progress).await;
        match ended.remains {
            Remains::Nothing => self.release(job, lease).await,
            Remains::Detached | Remains::Stuck => self.leave_to_lapse(job, lease, ended.remains),
        }
        Ok(Ticked::Ran(Box::new(Ran {
            execution,
            outcome: ended.outcome,
            again: Again {
                continues: Some(execution),
                ..opened.again
            },
        })))
    }

    /// The lease, with a token above every epoch the database knows.
    async fn acquire(&self, job: &RegisteredJob, execution: ExecutionId) -> Result<Acquired, TickError> {
        let known = state::get(self.jobs_db.control(), &job.name).await?;
        let lock = job.section.lock;
        let request = LeaseRequest {
            job: job.name.clone(),
            owner: Owner {
                node: self.node,
                execution,
            },
            ttl: lock.ttl,
            watchdog: lock.kind == LockKind::Watchdog,
            // A hung holder must not renew for ever.
            max_hold: job.section.timeout + self.scheduler.cancel_grace + HOLD_SLACK,
            grace: self.scheduler.cancel_grace,
            floor: known.map(|state| state.epoch).unwrap_or_default(),
        };
        Ok(self.leases.acquire(&request).await?)
    }

    /// The job's future under supervision, with a heartbeat beside it.
    pub(crate) async fn run(
        &self,
        job: &Arc<RegisteredJob>,
        opened: &Opened,
        limits: &Limits,
    ) -> (Ended, Progress) {
        let progress = Progress::default();
        let cancellation = self.process.child();
        let _listed = self.running.list(
            opened.execution,
            &job.name,
            cancellation.clone(),
            progress.clone(),
        );
        let facts = RunFacts {
            job: job.name.clone(),
            execution: opened.execution,
            slots: opened.again.slots,
            attempt: opened.again.attempt,
            dry_run: opened.again.dry_run,
            requested_by: opened.again.requested_by.clone(),
        };
        let span = observe::run_span(
            &facts,
            opened.again.trigger,
            self.running.take_trace(opened.execution),
        );
        let ctx = JobContext::new(
            facts,
            opened.fence.clone(),
            self.jobs_db.clone(),
            Arc::clone(&self.clock),
            cancellation.clone(),
            progress.clone(),
            limits.deadline,
        );
        let params = opened.again.params.clone().unwrap_or(Value::Null);
        let entry = job.entry.clone();
        observe::started(&job.name);
        let task = tokio::spawn(async move { entry.run(&ctx, params).await }.instrument(span.clone()));
        let beating = heartbeat::Beating {
            control: self.jobs_db.control().clone(),
            fence: opened.fence.clone(),
            progress: progress.clone(),
            cancellation: cancellation.clone(),
            every: self.scheduler.heartbeat_interval,
        };
        let ended = tokio::select! {
            ended = supervise(task, &cancellation, limits) => ended,
            never = heartbeat::beat(beating) => match never {},
        };
        observe::ended(&span, &ended.outcome);
        (ended, progress)
    }

    fn limits(&self, job: &RegisteredJob, lease: &Lease) -> Limits {
        let budget = Instant::now() + job.section.budget(self.scheduler.cancel_grace);
        let deadline = match job.section.lock.kind {
            // A basic lock is not renewed. Its deadline leaves the run the time to react; the budget ends a moment
            // before, so that using it up is reported as a timeout and not as a lost lease.
            LockKind::Basic => budget.min(lease.deadline() - BEFORE_THE_LEASE),
            LockKind::Watchdog | LockKind::None => budget,
        };
        Limits {
            lost: lease.lost(),
            deadline,
            grace: self.scheduler.cancel_grace,
        }
    }

    async fn release(&self, job: &RegisteredJob, lease: Lease) {
        if let Err(error) = lease.release().await {
            tracing::debug!(job = %job.name, error = %chain(&error), "the lease lapses by itself");
        }
    }

    fn leave_to_lapse(&self, job: &RegisteredJob, lease: Lease, remains: Remains) {
        drop(lease); // no longer renewed, not released
        if remains == Remains::Stuck {
            tracing::error!(job = %job.name, "a run cannot be stopped; this process must be restarted");
            self.health.mark_stuck(format!(
                "a run of {} ignores its cancellation and cannot be dropped",
                job.name
            ));
        } else {
            tracing::warn!(job = %job.name, "a run ignored its cancellation and was dropped; its lease is left to lapse");
        }
    }
}

/// Time between the end of a run and the release of its lease: finishing takes a few statements.
const HOLD_SLACK: Duration = Duration::from_secs(30);

/// How much earlier than a basic lease the budget of its run ends.
const BEFORE_THE_LEASE: Duration = Duration::from_millis(100);
