//! What a run leaves behind: its final row, its metrics, the slots that passed while it ran.

use std::sync::Arc;
use std::time::Duration;

use eidos_core::CoreError;
use eidos_core::execution::{self, FailureKind, Finished, OpenRequest, Outcome, SkipRequest};
use eidos_core::fence::{Epoch, Fence};
use eidos_core::slot::{Claim, ClaimRequest, claim};
use eidos_settings::{CatchUp, Overlap};
use eidos_telemetry::metric;
use eidos_types::Slot;

use crate::error::chain;
use crate::heartbeat::as_json;
use crate::job::RunReport;
use crate::observe;
use crate::progress::Progress;
use crate::registry::RegisteredJob;
use crate::runner::{Opened, Runner};
use crate::supervise::{Ended, Remains};

/// Writing the final row is tried this often, with a pause of twice the length each time: a database that restarts
/// must not turn a finished run into an orphan.
const FINISH_ATTEMPTS: u32 = 5;
const FINISH_PAUSE: Duration = Duration::from_millis(500);
/// History of jobs without a lock is written if the database answers within this time.
const BEST_EFFORT: Duration = Duration::from_secs(2);

impl Runner {
    /// Records how the run ended, and the slots that came due while it ran.
    pub(crate) async fn finish(
        &self,
        job: &Arc<RegisteredJob>,
        opened: &Opened,
        ended: &Ended,
        progress: &Progress,
    ) {
        let outcome = outcome_of(ended);
        let replaced = self.write_final_row(job, opened, &outcome, progress).await;
        observe::finished(&*self.clock, &job.name, &outcome, opened.again.dry_run, replaced);
        if Self::passed_slots_are_skipped(job, opened, ended)
            && let Err(error) = self.skip_passed_slots(job, opened).await
        {
            tracing::warn!(job = %job.name, error = %chain(&error), "slots that passed were not recorded; they stay due");
        }
    }

    /// Writes the final row. True if a newer run had replaced this one.
    async fn write_final_row(
        &self,
        job: &RegisteredJob,
        opened: &Opened,
        outcome: &Outcome,
        progress: &Progress,
    ) -> bool {
        let unfenced = Fence::from_parts(job.name.clone(), Epoch::NONE, opened.execution);
        let fence = opened.fence.as_ref().unwrap_or(&unfenced);
        let progress = progress.latest().map(as_json);
        let mut pause = FINISH_PAUSE;
        for attempt in 1..=FINISH_ATTEMPTS {
            let now_ms = self.clock.now_ms();
            let finishing =
                execution::finish(self.jobs_db.control(), fence, outcome, progress.as_ref(), now_ms);
            let finished = match &opened.fence {
                Some(_) => finishing.await,
                None => match tokio::time::timeout(BEST_EFFORT, finishing).await {
                    Ok(finished) => finished,
                    Err(_elapsed) => {
                        self.ended_without_row(job, opened, "the database does not answer in time");
                        return false;
                    }
                },
            };
            match finished {
                Ok(Finished::Done { duration_ms }) => {
                    observe::duration(&job.name, duration_ms);
                    return false;
                }
                // No row was written when it began.
                Ok(Finished::Replaced) if opened.fence.is_none() => {
                    self.ended_without_row(job, opened, "it began without one");
                    return false;
                }
                // After an answer that was lost, the row may be final already, by ourselves.
                Ok(Finished::Replaced) => return attempt == 1,
                Err(error) if opened.fence.is_none() => {
                    self.ended_without_row(job, opened, &chain(&error));
                    return false;
                }
                Err(error) if error.is_retryable() && attempt < FINISH_ATTEMPTS => {
                    tracing::warn!(job = %job.name, error = %chain(&error), attempt, "the final row is written again");
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                Err(error) => {
                    tracing::error!(job = %job.name, execution = %opened.execution, error = %chain(&error),
                        "the final row was not written; the next run closes it as orphaned");
                    return false;
                }
            }
        }
        false
    }

    /// A run of a job without a lock has no final row: its history is best effort (ruling 10), its metrics are not.
    fn ended_without_row(&self, job: &RegisteredJob, opened: &Opened, why: &str) {
        tracing::warn!(job = %job.name, execution = %opened.execution, why, "the run is not in the history");
        let took = (self.clock.now() - opened.at).num_milliseconds();
        observe::duration(&job.name, i32::try_from(took).unwrap_or(i32::MAX));
    }

    /// With overlap `skip`, slots that came due during a scheduled run are skipped, by the one process that knows for
    /// sure that it ran. A manual run never moves the cursor.
    fn passed_slots_are_skipped(job: &RegisteredJob, opened: &Opened, ended: &Ended) -> bool {
        let interrupted = matches!(
            ended.outcome.as_ref().err().map(|failure| failure.kind),
            Some(FailureKind::LeaseLost | FailureKind::Fenced | FailureKind::Shutdown)
        );
        job.is_locked()
            && job.section.enabled
            && job.section.overlap == Overlap::Skip
            // With `all`, older slots may still wait for their turn, and the cursor cannot pass them.
            && !matches!(job.section.catch_up, CatchUp::All(_))
            && opened.again.is_scheduled()
            && !interrupted
            && ended.remains == Remains::Nothing
    }

    async fn skip_passed_slots(&self, job: &RegisteredJob, opened: &Opened) -> Result<(), CoreError> {
        let now = self.clock.now();
        let periods = self.scheduler.catch_up_periods;
        let Some(due) = job.schedule.due(job.cursor(), now, CatchUp::Latest, periods) else {
            return Ok(());
        };
        let slots: Vec<Slot> = due.run.iter().chain(&due.passed_over).copied().collect();
        // Slots that were due before this run began did not meet it: they are still to be run.
        if due.unlisted > 0 || slots.iter().any(|slot| slot.instant() <= opened.at) {
            return Ok(());
        }
        let reason = "skipped: the previous run was still going";
        self.claim_as_skipped(job, due.newest, slots, due.unlisted, reason)
            .await
    }

    /// Claims slots without running them and records each as skipped, all or nothing.
    pub(crate) async fn claim_as_skipped(
        &self,
        job: &RegisteredJob,
        newest: Slot,
        slots: Vec<Slot>,
        dropped: u64,
        reason: &'static str,
    ) -> Result<(), CoreError> {
        let doing = "record slots that will not run";
        let sql = |cause| CoreError::Sql { doing, cause };
        let mut tx = self.jobs_db.control().begin().await.map_err(sql)?;
        let request = ClaimRequest {
            job: job.name.clone(),
            slot: newest,
            node: self.node,
            tolerance: self.scheduler.clock_tolerance,
        };
        if let Claim::Won { range } = claim(&mut tx, &request).await? {
            let slots: Vec<Slot> = slots.into_iter().filter(|slot| range.contains(*slot)).collect();
            let count = u64::try_from(slots.len())
                .unwrap_or(u64::MAX)
                .saturating_add(dropped);
            let request = SkipRequest {
                job: job.name.clone(),
                slots,
                dropped,
                reason: reason.to_owned(),
                node: self.node,
            };
            execution::skip(&mut tx, &request, &*self.clock).await?;
            tx.commit().await.map_err(sql)?;
            metric::slots_missed(job.name.as_str(), count);
            metric::slot_skipped(job.name.as_str(), observe::OVERLAP);
        }
        job.note_cursor(newest.instant());
        Ok(())
    }

    /// Counts the end of a run of a job without a lock that began without a row.
    pub(crate) fn finish_without_row(&self, job: &RegisteredJob, opened: &Opened, ended: &Ended) {
        self.ended_without_row(job, opened, "it began without one");
        let dry_run = opened.again.dry_run;
        observe::finished(&*self.clock, &job.name, &outcome_of(ended), dry_run, false);
    }

    /// Writes the running row of a job without a lock, if the database answers soon. Returns whether there is one.
    pub(crate) async fn open_without_fence(&self, job: &RegisteredJob, opened: &Opened) -> bool {
        if opened.again.idempotency_key.is_some() {
            return true; // a trigger has its row already
        }
        let request = OpenRequest {
            job: job.name.clone(),
            execution: opened.execution,
            epoch: Epoch::NONE,
            slot: Some(opened.again.slots.upto),
            trigger: opened.again.trigger,
            attempt: opened.again.attempt,
            node: self.node,
            idempotency_key: None,
            dry_run: opened.again.dry_run,
            params: opened.again.params.clone(),
            now_ms: self.clock.now_ms(),
        };
        let opening = async {
            let mut conn = self.jobs_db.control().acquire().await?;
            Ok::<_, sqlx::Error>(execution::open(&mut conn, &request).await)
        };
        match tokio::time::timeout(BEST_EFFORT, opening).await {
            Ok(Ok(Ok(()))) => return true,
            Ok(Ok(Err(error))) => {
                tracing::debug!(job = %job.name, error = %chain(&error), "run without a history row");
            }
            Ok(Err(error)) => {
                tracing::debug!(job = %job.name, error = %chain(&error), "run without a history row");
            }
            Err(_elapsed) => {
                tracing::debug!(job = %job.name, "run without a history row: the database is slow");
            }
        }
        false
    }
}

/// The outcome as it is stored.
fn outcome_of(ended: &Ended) -> Outcome {
    match &ended.outcome {
        Ok(report) => Outcome::Success {
            report: report.stored(),
        },
        Err(failure) => Outcome::Failed {
            kind: failure.kind,
            message: failure.message.clone(),
            report: failure.report.as_ref().map(RunReport::stored),
        },
    }
}
