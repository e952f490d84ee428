//! A tick of a job without a lock, such as a health check.

use std::sync::Arc;

use eidos_core::execution::Trigger;
use eidos_core::start;
use eidos_types::{ExecutionId, Slot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::observe;
use crate::registry::RegisteredJob;
use crate::runner::{Opened, Runner};
use crate::supervise::{Limits, Remains};
use crate::work::{Again, Ran, Ticked, Work, only};

impl Runner {
    /// A job without a lock: every replica runs it, and it works without database and Redis. Its history is kept as
    /// far as the database answers (ruling 10).
    pub(crate) async fn tick_without_lease(
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
                    continues: None,
                    idempotency_key: None,
                    params: Some(observe::scheduled_params(job, &slots)),
                    dry_run: false,
                    requested_by: None,
                }
            }
            Work::Triggered(pending) => {
                let taken =
                    start::triggered(self.jobs_db.control(), &pending, self.node, 0, &*self.clock).await;
                if !matches!(taken, Ok(Some(_))) {
                    return Ticked::NotOurs("started or withdrawn before");
                }
                Again {
                    slots: only(pending.slot.unwrap_or_else(|| Slot::at(self.clock.now()))),
                    trigger: pending.trigger,
                    attempt: 1,
                    continues: None,
                    idempotency_key: Some(pending.idempotency_key),
                    params: pending.params,
                    dry_run: pending.dry_run,
                    requested_by: Some(pending.requested_by),
                }
            }
            Work::Again(again) => again,
        };
        let opened = Opened {
            fence: None,
            execution,
            at: self.clock.now(),
            again,
        };
        let limits = Limits {
            lost: CancellationToken::new(),
            deadline: Instant::now() + job.section.timeout,
            grace: self.scheduler.cancel_grace,
        };
        // The run does not wait for a database that is away.
        let opening = self.open_without_fence(job, &opened);
        let (has_row, (ended, progress)) = tokio::join!(opening, self.run(job, &opened, &limits));
        if has_row {
            self.finish(job, &opened, &ended, &progress).await;
        } else {
            self.finish_without_row(job, &opened, &ended);
        }
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
