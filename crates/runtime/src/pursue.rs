//! From "something is to be done" to "it is done, or somebody else does it": look, tick, try again.

use std::sync::Arc;
use std::time::Duration;

use eidos_core::CoreError;
use eidos_core::execution::{self, FailureKind, Trigger};
use eidos_core::fence::{MintRequest, mint};
use eidos_core::lease::{Acquired, LeaseRequest, Owner};
use eidos_core::state;
use eidos_core::trigger::PendingTrigger;
use eidos_settings::CatchUp;
use eidos_telemetry::metric;
use eidos_types::{ExecutionId, Slot, SlotRange};
use rand::RngExt;
use serde_json::Value;

use crate::registry::RegisteredJob;
use crate::runner::{Runner, TickError};
use crate::work::{Again, Ran, Ticked, Work};
use crate::{CancelReason, sql};

/// Longest wait before a refused lease is asked for again. A watchdog lease is renewed, so its remaining time says
/// little about when the run ends.
const BUSY_PAUSE: Duration = Duration::from_secs(1);
/// First and longest pause after the database or Redis did not answer.
const TROUBLE_PAUSE: Duration = Duration::from_secs(1);
/// Runs of one slot, interruptions included, after which it is given up.
const MAX_RUNS_OF_A_SLOT: i64 = 20;

/// A slot whose run was interrupted and is to be continued.
#[derive(Debug, Clone)]
pub(crate) struct Interrupted {
    pub(crate) job: String,
    slots: SlotRange,
    attempt: u32,
    params: Option<Value>,
}

impl Runner {
    /// Looks whether slots of `job` are due and runs them, one after the other.
    pub(crate) async fn pursue_slots(&self, job: &Arc<RegisteredJob>) {
        let _permit = job.pool.acquire().await;
        match self.pursue_slots_once(job).await {
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

    async fn pursue_slots_once(&self, job: &Arc<RegisteredJob>) -> Result<(), TickError> {
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
        self.carry_out(job, Work::Scheduled(due)).await?;
        Ok(())
    }

    /// Starts a pending trigger of `job`, if the lease is free and it is still pending.
    pub(crate) async fn pursue_trigger(&self, job: &Arc<RegisteredJob>, pending: PendingTrigger) {
        let _permit = job.pool.acquire().await;
        let execution = pending.execution;
        if let Err(error) = self.carry_out(job, Work::Triggered(pending)).await {
            tracing::warn!(job = %job.name, %execution, %error, "a trigger could not be started; it stays pending");
            job.not_before(jittered(TROUBLE_PAUSE));
        }
    }

    /// One piece of work with its further attempts. Each attempt is a whole tick: its own lease, epoch and row.
    pub(crate) async fn carry_out(&self, job: &Arc<RegisteredJob>, work: Work) -> Result<Ticked, TickError> {
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
        let interrupted = self.interrupted(jobs).await?;
        Ok(Abandoned { running, interrupted })
    }

    async fn interrupted(&self, jobs: &[eidos_types::JobName]) -> Result<Vec<Interrupted>, CoreError> {
        type Row = (String, i64, Option<i64>, String, i32, Option<Value>, i64);
        let names: Vec<&str> = jobs.iter().map(eidos_types::JobName::as_str).collect();
        let rows: Vec<Row> = sqlx::query_as(sql::INTERRUPTED)
            .bind(names)
            .fetch_all(self.jobs_db.control())
            .await
            .map_err(|cause| CoreError::Sql {
                doing: "look for interrupted slots",
                cause,
            })?;
        Ok(rows
            .into_iter()
            .filter(|row| row.6 < MAX_RUNS_OF_A_SLOT)
            .filter_map(|(job, upto, after, kind, attempt, params, _runs)| {
                let attempt = u32::try_from(attempt).unwrap_or(1);
                // A crash counts as an attempt; a lost lease and a shutdown do not (ruling 8).
                let crashed = kind == FailureKind::Orphaned.as_str();
                Some(Interrupted {
                    job,
                    slots: SlotRange {
                        after: after.and_then(Slot::from_ms),
                        upto: Slot::from_ms(upto)?,
                    },
                    attempt: if crashed { attempt + 1 } else { attempt },
                    params,
                })
            })
            .collect())
    }

    /// Continues a slot whose run was interrupted, unless its attempts are used up or a later slot is due anyway.
    pub(crate) async fn continue_slot(&self, job: &Arc<RegisteredJob>, interrupted: Interrupted) {
        let superseded = job
            .schedule
            .due(
                interrupted.slots.upto.instant(),
                self.clock.now(),
                CatchUp::Latest,
                self.scheduler.catch_up_periods,
            )
            .is_some_and(|due| !due.run.is_empty());
        if superseded || interrupted.attempt > job.section.retry.max_attempts {
            return;
        }
        let _permit = job.pool.acquire().await;
        let again = Again {
            slots: interrupted.slots,
            trigger: Trigger::CatchUp,
            attempt: interrupted.attempt,
            idempotency_key: None,
            params: interrupted.params,
            dry_run: false,
        };
        if let Err(error) = self.carry_out(job, Work::Again(again)).await {
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
    pub(crate) interrupted: Vec<Interrupted>,
}

/// Between half and all of `pause`, so that replicas that failed together do not return together.
fn jittered(pause: Duration) -> Duration {
    let half = pause / 2;
    half + half.mul_f64(rand::rng().random::<f64>())
}
