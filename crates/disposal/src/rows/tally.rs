//! What a deletion has done, and that it is on record: deleted rows are counted in the audit whatever ends the run.

use std::time::{Duration, Instant};

use eidos_plan::audit;
use serde_json::json;

use super::RowDisposal;
use crate::DisposalError;
use crate::unit::{Change, Unit, UnitState};

/// How long deleted rows may be without an audit row: what a process that is killed takes with it.
const NOTE_EVERY: Duration = Duration::from_secs(2);

const RECORDED: &str = "\
    SELECT coalesce(sum(row_count), 0)::bigint FROM eidos_jobs_disposals WHERE unit_id = $1 AND action = 'delete'";

/// Rows that were deleted in this run.
#[derive(Debug)]
pub(super) struct Tally {
    /// All of them.
    pub(super) deleted: u64,
    /// Those of them that no audit row counts yet.
    unnoted: u64,
    noted_at: Instant,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            deleted: 0,
            unnoted: 0,
            noted_at: Instant::now(),
        }
    }
}

impl RowDisposal<'_> {
    /// Counts rows that are gone, and puts them on record now and then.
    pub(super) async fn report_progress(
        &self,
        unit: &Unit,
        tally: &mut Tally,
        rows: u64,
    ) -> Result<(), DisposalError> {
        tally.deleted += rows;
        tally.unnoted += rows;
        if tally.noted_at.elapsed() >= NOTE_EVERY {
            self.note(unit, tally, "its time is over; more of it follows")
                .await?;
        }
        Ok(())
    }

    /// Records what is not on record yet.
    async fn note(&self, unit: &Unit, tally: &mut Tally, reason: &str) -> Result<(), DisposalError> {
        tally.noted_at = Instant::now();
        if tally.unnoted == 0 {
            return Ok(());
        }
        // Not through the context: a run that was told to stop still writes down what it has done, as long as it is the
        // current one.
        let fence = self
            .ctx
            .fence()
            .ok_or_else(|| DisposalError::refused("fence", "rows are deleted by runs with a lock only"))?;
        let mut step = fence.step(self.ctx.jobs_db()).await?;
        let mut act = unit.act("delete", reason);
        act.rows = i64::try_from(tally.unnoted).ok();
        audit::record(&mut step, self.ctx, &act).await?;
        step.commit().await?;
        tally.unnoted = 0;
        Ok(())
    }

    /// The deletion ends with an error: what is gone is gone.
    pub(super) async fn note_interrupted(&self, unit: &Unit, tally: &mut Tally, error: &DisposalError) {
        let reason = format!("its time is over; interrupted, what is left stays: {error}");
        if let Err(failed) = self.note(unit, tally, &reason).await {
            tracing::error!(
                unit = %unit.unit_id, object = unit.unit_name, rows = tally.unnoted, %failed,
                "rows were deleted, and no audit row could be written"
            );
        }
        if tally.deleted > 0 {
            tracing::warn!(
                object = unit.unit_name,
                rows = tally.deleted,
                "rows were deleted before the error"
            );
        }
    }

    /// The unit is done; what it says about its rows is what was exported, or what was deleted where nothing was.
    pub(super) async fn settled(
        &self,
        unit: &Unit,
        tally: Tally,
        reason: Option<String>,
    ) -> Result<Unit, DisposalError> {
        let of = |rows: u64| i64::try_from(rows).unwrap_or(i64::MAX);
        let mut act = unit.act(
            "delete",
            reason.clone().unwrap_or_else(|| "its time is over".to_owned()),
        );
        act.rows = Some(of(tally.unnoted));
        act.evidence = json!({
            "manifest": unit.manifest_key,
            "manifest_sha256": unit.manifest_sha256,
            "content_digest": unit.content_digest,
            "deleted_in_the_last_run": of(tally.deleted),
        });
        let change = Change {
            row_count: if unit.archived {
                None
            } else {
                Some(self.recorded(unit).await?.saturating_add(of(tally.unnoted)))
            },
            reason,
            ..Change::default()
        };
        self.lifecycle()
            .moved_on(unit, UnitState::Deleted, &change, &act)
            .await
    }

    /// How many deleted rows of a unit are on record, from all runs.
    async fn recorded(&self, unit: &Unit) -> Result<i64, DisposalError> {
        sqlx::query_scalar(RECORDED)
            .bind(unit.unit_id)
            .fetch_one(self.ctx.jobs_db().control())
            .await
            .map_err(DisposalError::sql("count the rows that are on record as deleted"))
    }
}
