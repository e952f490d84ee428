//! [`Runner::tick`]: the whole sentence. Acquire the lease, claim the slot and open the execution, run within the
//! budget, settle, release.

use std::sync::Arc;
use std::time::Duration;

use eidos_core::db::JobsDb;
use eidos_core::execution::Trigger;
use eidos_core::fence::Fence;
use eidos_core::lease::{Acquired, Lease, LeaseClient, LeaseRequest, Owner};
use eidos_core::slot::Claim;
use eidos_core::start::{self, Missed, Scheduled, Starter};
use eidos_core::state;
use eidos_settings::{LockKind, SchedulerSection};
use eidos_telemetry::metric;
use eidos_types::{ExecutionId, NodeId, SharedClock, SlotRange};
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
use crate::schedule::ON_TIME;
use crate::supervise::{Ended, Limits, Remains, supervise};
use crate::work::{Again, Ran, Ticked, Work, only};
use crate::{observe, vigil};

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
        self.settle(job, &opened, &ended, &progress).await;
        match ended.remains {
            Remains::Nothing => self.release(job, lease).await,
            Remains::Detached | Remains::Stuck => self.leave_to_lapse(job, lease, ended.remains),
        }
        Ok(Ticked::Ran(Box::new(Ran {
            execution,
            outcome: ended.outcome,
            again: opened.again,
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

    /// Claim, epoch and history row, in one transaction. The inner error says why there is nothing to run.
    async fn open(
        &self,
        job: &RegisteredJob,
        execution: ExecutionId,
        work: Work,
        token: u64,
    ) -> Result<Result<Opened, &'static str>, TickError> {
        let control = self.jobs_db.control();
        let starter = Starter {
            job: job.name.clone(),
            execution,
            node: self.node,
            token,
        };
        match work {
            Work::Scheduled(due) => self.open_scheduled(job, &starter, &due).await,
            Work::Triggered(pending) => {
                let slot = pending
                    .slot
                    .unwrap_or_else(|| eidos_types::Slot::at(self.clock.now()));
                let run = start::triggered(control, &pending, self.node, token, &*self.clock).await?;
                Ok(run.ok_or("started or withdrawn before").map(|run| Opened {
                    fence: Some(run.fence),
                    execution,
                    again: Again {
                        slots: only(slot),
                        trigger: pending.trigger,
                        attempt: 1,
                        idempotency_key: Some(pending.idempotency_key),
                        params: pending.params,
                        dry_run: pending.dry_run,
                    },
                }))
            }
            Work::Again(again) => {
                if again.is_scheduled() && !self.is_newest_slot(job, &again.slots).await? {
                    return Ok(Err("a later slot was claimed"));
                }
                let attempt = start::Attempt {
                    slot: Some(again.slots.upto),
                    trigger: again.trigger,
                    number: again.attempt,
                    idempotency_key: again.idempotency_key.clone(),
                    params: again.params.clone(),
                    dry_run: again.dry_run,
                };
                let run = start::attempt(control, &starter, &attempt, &*self.clock).await?;
                Ok(Ok(Opened {
                    fence: Some(run.fence),
                    execution,
                    again,
                }))
            }
        }
    }

    async fn open_scheduled(
        &self,
        job: &RegisteredJob,
        starter: &Starter,
        due: &crate::schedule::Due,
    ) -> Result<Result<Opened, &'static str>, TickError> {
        let Some(&slot) = due.run.first() else {
            return Ok(Err("nothing to run"));
        };
        let late = self.clock.now() - slot.instant() > ON_TIME;
        let trigger = if late { Trigger::CatchUp } else { Trigger::Schedule };
        let mut params = Value::Null;
        let claimed = start::scheduled(
            self.jobs_db.control(),
            starter,
            slot,
            self.scheduler.clock_tolerance,
            &*self.clock,
            |range| {
                params = observe::scheduled_params(job, range);
                (trigger, Some(params.clone()), missed(job, due, range))
            },
        )
        .await?;
        match claimed {
            Scheduled::NotClaimed(claim) => {
                if claim == Claim::AlreadyClaimed {
                    job.note_cursor(slot.instant());
                }
                Ok(Err(why_not(claim)))
            }
            Scheduled::Running { run, range } => {
                job.note_cursor(slot.instant());
                metric::slot_start_delay(
                    job.name.as_str(),
                    (self.clock.now() - slot.instant()).to_std().unwrap_or_default(),
                );
                Ok(Ok(Opened {
                    fence: Some(run.fence),
                    execution: starter.execution,
                    again: Again {
                        slots: range,
                        trigger,
                        attempt: 1,
                        idempotency_key: None,
                        params: Some(params),
                        dry_run: false,
                    },
                }))
            }
        }
    }

    async fn is_newest_slot(&self, job: &RegisteredJob, slots: &SlotRange) -> Result<bool, TickError> {
        let known = state::get(self.jobs_db.control(), &job.name).await?;
        Ok(known.is_some_and(|state| state.last_slot == Some(slots.upto) && state.pause.is_none()))
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
        let heart = vigil::Heart {
            control: self.jobs_db.control().clone(),
            fence: opened.fence.clone(),
            progress: progress.clone(),
            cancellation: cancellation.clone(),
            every: self.scheduler.heartbeat_interval,
        };
        let ended = tokio::select! {
            ended = supervise(task, &cancellation, limits) => ended,
            never = vigil::beat(heart) => match never {},
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

    /// A job without a lock: every replica runs it, and it works without database and Redis. Its history is kept as
    /// far as the database answers (ruling 10).
    async fn tick_without_lease(
        &self,
        job: &Arc<RegisteredJob>,
        execution: ExecutionId,
        work: Work,
    ) -> Ticked {
        let again = match work {
            Work::Scheduled(due) => {
                job.note_cursor(due.newest.instant());
                let slots = only(due.newest);
                Again {
                    slots,
                    trigger: Trigger::Schedule,
                    attempt: 1,
                    idempotency_key: None,
                    params: Some(observe::scheduled_params(job, &slots)),
                    dry_run: false,
                }
            }
            Work::Triggered(pending) => {
                let taken =
                    start::triggered(self.jobs_db.control(), &pending, self.node, 0, &*self.clock).await;
                if !matches!(taken, Ok(Some(_))) {
                    return Ticked::NotOurs("started or withdrawn before");
                }
                Again {
                    slots: only(
                        pending
                            .slot
                            .unwrap_or_else(|| eidos_types::Slot::at(self.clock.now())),
                    ),
                    trigger: pending.trigger,
                    attempt: 1,
                    idempotency_key: Some(pending.idempotency_key),
                    params: pending.params,
                    dry_run: pending.dry_run,
                }
            }
            Work::Again(again) => again,
        };
        let opened = Opened {
            fence: None,
            execution,
            again,
        };
        self.open_without_fence(job, &opened).await;
        let limits = Limits {
            lost: CancellationToken::new(),
            deadline: Instant::now() + job.section.timeout,
            grace: self.scheduler.cancel_grace,
        };
        let (ended, progress) = self.run(job, &opened, &limits).await;
        self.settle(job, &opened, &ended, &progress).await;
        if ended.remains == Remains::Stuck {
            self.health.mark_stuck(format!(
                "a run of {} ignores its cancellation and cannot be dropped",
                job.name
            ));
        }
        Ticked::Ran(Box::new(Ran {
            execution,
            outcome: ended.outcome,
            again: opened.again,
        }))
    }
}

/// Time between the end of a run and the release of its lease: settling takes a few statements.
const HOLD_SLACK: Duration = Duration::from_secs(30);

/// How much earlier than a basic lease the budget of its run ends.
const BEFORE_THE_LEASE: Duration = Duration::from_millis(100);

/// The slots of the claimed range that will not run.
fn missed(job: &RegisteredJob, due: &crate::schedule::Due, range: &SlotRange) -> Missed {
    let slots: Vec<_> = due
        .passed_over
        .iter()
        .copied()
        .filter(|slot| range.contains(*slot))
        .collect();
    // Another replica may have claimed the older ones meanwhile; then they are its to account for.
    let all_ours = slots.len() == due.passed_over.len();
    let dropped = if all_ours { due.unlisted } else { 0 };
    let count = u64::try_from(slots.len())
        .unwrap_or(u64::MAX)
        .saturating_add(dropped);
    if count > 0 {
        metric::slots_missed(job.name.as_str(), count);
        metric::slot_skipped(job.name.as_str(), "missed");
    }
    Missed {
        slots,
        dropped,
        reason: "missed: no replica ran it in time; a later slot covers it".to_owned(),
    }
}

const fn why_not(claim: Claim) -> &'static str {
    match claim {
        Claim::Won { .. } => "won",
        Claim::AlreadyClaimed => "claimed before",
        Claim::Paused => "paused",
        Claim::AheadOfDatabaseClock => "ahead of the database's clock",
    }
}
