//! The middle of a tick, under the lease: claim the slot or take the trigger, mint the epoch, write the row.

use eidos_core::execution::Trigger;
use eidos_core::slot::Claim;
use eidos_core::start::{self, Missed, Scheduled, Starter};
use eidos_telemetry::metric;
use eidos_types::{ExecutionId, Slot, SlotRange};
use serde_json::Value;

use crate::observe;
use crate::registry::RegisteredJob;
use crate::resume::newest_runs;
use crate::runner::{Opened, Runner, TickError};
use crate::schedule::{Due, ON_TIME};
use crate::work::{Again, Work, only};

impl Runner {
    /// Claim, epoch and history row, in one transaction. The inner error says why there is nothing to run.
    pub(crate) async fn open(
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
                let slot = pending.slot.unwrap_or_else(|| Slot::at(self.clock.now()));
                let run = start::triggered(control, &pending, self.node, token, &*self.clock).await?;
                Ok(run.ok_or("started or withdrawn before").map(|run| Opened {
                    fence: Some(run.fence),
                    execution,
                    at: self.clock.now(),
                    again: Again {
                        slots: only(slot),
                        trigger: pending.trigger,
                        attempt: 1,
                        continues: None,
                        idempotency_key: Some(pending.idempotency_key),
                        params: pending.params,
                        dry_run: pending.dry_run,
                        requested_by: Some(pending.requested_by),
                    },
                }))
            }
            Work::Again(again) => {
                if again.is_scheduled() && !self.may_resume(job, &again).await? {
                    return Ok(Err("continued, finished or superseded meanwhile"));
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
                    at: self.clock.now(),
                    again,
                }))
            }
        }
    }

    async fn open_scheduled(
        &self,
        job: &RegisteredJob,
        starter: &Starter,
        due: &Due,
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
                    at: self.clock.now(),
                    again: Again {
                        slots: range,
                        trigger,
                        attempt: 1,
                        continues: None,
                        idempotency_key: None,
                        params: Some(params),
                        dry_run: false,
                        requested_by: None,
                    },
                }))
            }
        }
    }

    /// Whether the slot is still as it was when resuming it was decided: asked under the lease.
    async fn may_resume(&self, job: &RegisteredJob, again: &Again) -> Result<bool, TickError> {
        let newest = newest_runs(self.jobs_db.control(), std::slice::from_ref(&job.name)).await?;
        Ok(newest.first().is_some_and(|newest| newest.is_resumed_by(again)))
    }
}

/// The slots of the claimed range that will not run.
fn missed(job: &RegisteredJob, due: &Due, range: &SlotRange) -> Missed {
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
        metric::slot_skipped(job.name.as_str(), observe::MISSED);
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
