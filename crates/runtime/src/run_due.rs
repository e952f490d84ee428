//! From "something is to be done" to "it is done, or somebody else does it": look, tick, try again.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use eidos_core::CoreError;
use eidos_core::execution;
use eidos_core::fence::{MintRequest, mint};
use eidos_core::lease::{Acquired, LeaseRequest, Owner};
use eidos_core::state;
use eidos_core::trigger::PendingTrigger;
use eidos_telemetry::metric;
use eidos_types::ExecutionId;
use rand::RngExt;

use crate::CancelReason;
use crate::registry::RegisteredJob;
use crate::resume::{NewestRun, newest_runs};
use crate::runner::{Runner, TickError};
use crate::work::{Again, Ran, Ticked, Work};

/// Longest wait before a refused lease is asked for again. A watchdog lease is renewed, so its remaining time says
/// little about when the run ends.
const BUSY_PAUSE: Duration = Duration::from_secs(1);
/// First and longest pause after the database or Redis did not answer.
const TROUBLE_PAUSE: Duration = Duration::from_secs(1);

impl Runner {
    /// Looks whether slots of `job` are due and runs them, one after the other.
    pub(crate) async fn run_due_slots(&self, job: &Arc<RegisteredJob>) {
        let _permit = job.pool.acquire().await;
        match self.run_due_slots_once(job).await {
            Ok(()) => {}
            Err(error) => {
                tracing::warn!(job = %job.name, %error, "a due slot could not be started; it stays due");
                job.not_before(jittered(TROUBLE_PAUSE));
            }
        }
        if let Some(next) = job.next_slot() {
            metric::job_next_run(job.name.as_str(), next.instant());
        }
    }

    async fn run_due_slots_once(&self, job: &Arc<RegisteredJob>) -> Result<(), TickError> {
        if job.is_locked() {
            let known = state::get(self.jobs_db.control(), &job.name).await?;
            if let Some(slot) = known.as_ref().and_then(|state| state.last_slot) {
                job.note_cursor(slot.instant());
            }
            let paused = known.is_some_and(|state| state.pause.is_some());
            metric::job_paused(job.name.as_str(), paused);
            if paused {
                job.not_before(BUSY_PAUSE);
                return Ok(());
            }
        }
        let rule = job.section.catch_up;
        let periods = self.scheduler.catch_up_periods;
        let Some(due) = job.schedule.due(job.cursor(), self.clock.now(), rule, periods) else {
            return Ok(());
        };
        if due.run.is_empty() {
            let reason = "missed: no replica ran it in time and the job does not catch up";
            self.claim_as_skipped(job, due.newest, due.passed_over, due.unlisted, reason)
                .await?;
            return Ok(());
        }
        // What was begun is finished before something new is claimed: a claim would bury it.
        if job.is_locked()
            && let Some(again) = self.unfinished(job).await?
        {
            self.run_attempts(job, Work::Again(again)).await?;
            return Ok(());
        }
        self.run_attempts(job, Work::Scheduled(due)).await?;
        Ok(())
    }

    /// The newest slot, if its run was interrupted, is not too old and has attempts left. A run that is going on in
    /// another process looks the same; its lease tells the difference.
    async fn unfinished(&self, job: &RegisteredJob) -> Result<Option<Again>, CoreError> {
        let newest = newest_runs(self.jobs_db.control(), std::slice::from_ref(&job.name)).await?;
        Ok(newest
            .first()
            .and_then(NewestRun::resumed)
            .filter(|again| self.is_worth_it(job, again)))
    }

    fn is_worth_it(&self, job: &RegisteredJob, again: &Again) -> bool {
        let periods = i32::try_from(self.scheduler.catch_up_periods).unwrap_or(i32::MAX);
        let window = (job.schedule.period_from(again.slots.upto) * periods).max(SHORTEST_WINDOW);
        again.attempt <= job.section.retry.max_attempts
            && self.clock.now() - again.slots.upto.instant() <= window
    }

    /// Starts a pending trigger of `job`, if the lease is free and it is still pending.
    pub(crate) async fn run_trigger(&self, job: &Arc<RegisteredJob>, pending: PendingTrigger) {
        let _permit = job.pool.acquire().await;
        let execution = pending.execution;
        if let Err(error) = self.run_attempts(job, Work::Triggered(pending)).await {
            tracing::warn!(job = %job.name, %execution, %error, "a trigger could not be started; it stays pending");
            job.not_before(jittered(TROUBLE_PAUSE));
        }
    }

    /// One piece of work with its further attempts. Each attempt is a whole tick: its own lease, epoch and row.
    pub(crate) async fn run_attempts(
        &self,
        job: &Arc<RegisteredJob>,
        work: Work,
    ) -> Result<Ticked, TickError> {
        let mut work = work;
        loop {
            if self.stopping.is_cancelled() {
                return Ok(Ticked::NotOurs("shutting down"));
            }
            let number = work.attempt();
            let ran = match self.tick(job, work).await? {
                Ticked::Ran(ran) => ran,
                Ticked::Busy { remaining } => {
                    job.not_before(jittered(remaining.min(BUSY_PAUSE)));
                    return Ok(Ticked::Busy { remaining });
                }
                Ticked::NotOurs(why) => {
                    tracing::debug!(job = %job.name, why, "nothing to run");
                    job.not_before(NOT_OURS_PAUSE);
                    return Ok(Ticked::NotOurs(why));
                }
            };
            let Some(wait) = self.wait_before_retry(job, &ran, number) else {
                return Ok(Ticked::Ran(ran));
            };
            metric::execution_retried(job.name.as_str());
            tracing::info!(job = %job.name, attempt = number, wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX), "trying again");
            tokio::select! {
                () = self.stopping.cancelled() => return Ok(Ticked::Ran(ran)),
                () = tokio::time::sleep(wait) => {}
            }
            work = Work::Again(Again {
                attempt: number + 1,
                ..ran.again
            });
        }
    }

    /// How long to wait before the next attempt; `None` when there is none. Attempts end before the next slot.
    fn wait_before_retry(&self, job: &RegisteredJob, ran: &Ran, number: u32) -> Option<Duration> {
        let failure = ran.outcome.as_ref().err()?;
        if !failure.retryable || self.stopping.is_cancelled() {
            return None;
        }
        let now = self.clock.now();
        let time_left = job
            .schedule
            .next_after(now)
            .and_then(|next| (next.instant() - now).to_std().ok())
            .unwrap_or(Duration::MAX);
        job.retry().wait_after(number, time_left)
    }

    /// Runs whose node has not been heard of for three heartbeats, and slots whose run was interrupted.
    pub(crate) async fn look_for_abandoned(
        &self,
        jobs: &[eidos_types::JobName],
    ) -> Result<Abandoned, CoreError> {
        let silence = self.scheduler.heartbeat_interval * 3;
        let running = execution::abandoned(self.jobs_db.control(), jobs, silence).await?;
        let newest = newest_runs(self.jobs_db.control(), jobs).await?;
        let interrupted = newest.into_iter().filter(|newest| !newest.is_running()).collect();
        Ok(Abandoned { running, interrupted })
    }

    /// Continues a slot whose run was interrupted.
    pub(crate) async fn continue_slot(&self, job: &Arc<RegisteredJob>, again: Again) {
        if !self.is_worth_it(job, &again) {
            return;
        }
        let _permit = job.pool.acquire().await;
        if let Err(error) = self.run_attempts(job, Work::Again(again)).await {
            tracing::warn!(job = %job.name, %error, "an interrupted slot could not be continued yet");
            job.not_before(jittered(TROUBLE_PAUSE));
        }
    }

    /// Closes the running row of a node that stopped, if nobody holds the lease. What it worked for is then found as
    /// interrupted.
    pub(crate) async fn close_orphan(
        &self,
        job: &RegisteredJob,
        orphan: ExecutionId,
    ) -> Result<(), TickError> {
        let known = state::get(self.jobs_db.control(), &job.name).await?;
        let closing = ExecutionId::new(&*self.clock);
        let request = LeaseRequest {
            job: job.name.clone(),
            owner: Owner {
                node: self.node,
                execution: closing,
            },
            ttl: job.section.lock.ttl,
            watchdog: false,
            max_hold: job.section.lock.ttl,
            grace: Duration::ZERO,
            floor: known.map(|state| state.epoch).unwrap_or_default(),
        };
        // The lease is free: its holder let it lapse. Refused: the node lives and is only slow to say so.
        let Acquired::Held(lease) = self.leases.acquire(&request).await? else {
            return Ok(());
        };
        let minting = MintRequest {
            job: job.name.clone(),
            floor: lease.token(),
            node: self.node,
            execution: closing,
            now_ms: self.clock.now_ms(),
        };
        let minted = mint(self.jobs_db.control(), &minting).await;
        if let Err(error) = lease.release().await {
            tracing::debug!(job = %job.name, %error, "the lease of a rescue lapses by itself");
        }
        let closed = minted?.orphans.len();
        tracing::info!(job = %job.name, execution = %orphan, closed, "closed the run of a stopped node");
        Ok(())
    }

    /// A later slot of `job` has come due and its overlap policy prefers it.
    pub(crate) fn supersede(&self, job: &RegisteredJob) {
        tracing::info!(job = %job.name, reason = %CancelReason::Superseded, "cancelling the run");
        self.running.supersede(&job.name);
    }
}

/// A slot somebody else claimed, or a paused job, is looked at again after this time.
const NOT_OURS_PAUSE: Duration = Duration::from_millis(250);

/// What stopped nodes left behind.
pub(crate) struct Abandoned {
    pub(crate) running: Vec<execution::Execution>,
    pub(crate) interrupted: Vec<NewestRun>,
}

/// A slot of a frequent job is continued for at least this long, as a lease must lapse first.
const SHORTEST_WINDOW: TimeDelta = TimeDelta::minutes(5);

/// Between half and all of `pause`, so that replicas that failed together do not return together.
fn jittered(pause: Duration) -> Duration {
    let half = pause / 2;
    half + half.mul_f64(rand::rng().random::<f64>())
}
