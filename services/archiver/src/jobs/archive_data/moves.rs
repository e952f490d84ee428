//! The moves of one table: month by month, batch by batch, from the oldest row that is due.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use eidos_core::fence::ExternalFence;
use eidos_disposal::DisposalError;
use eidos_disposal::pace::{Pace, Watch};
use eidos_pg::bounds::EARLIEST_MS;
use eidos_plan::{
    Approval,
    audit::{self, Act},
};
use eidos_runtime::{JobContext, JobError};
use eidos_telemetry::metric;
use eidos_types::Month;

use super::allowance::Allowance;
use super::job::ArchiveData;
use super::report::{Ended, TableReport};
use super::survey::MovedTable;
use crate::store::archive_table::{self, MonthTable};
use crate::store::batch::{self, Batch, Moved, Position};
use crate::store::statement::Statements;
use crate::store::{holds, progress};

/// How often what was moved is written down: audit, progress.
const NOTE_EVERY: Duration = Duration::from_secs(2);
/// How old the list of holds may be when a batch begins.
const HOLDS_AGE: Duration = Duration::from_secs(1);
/// Rows that were locked in the first pass and are tried again one by one.
const LEFTOVERS: u32 = 1_000;
/// Looks for copies that find none, in a row, before the archive is said to refuse rows for another reason.
const SETTLE_TRIES: u32 = 5;
/// Rows still locked that end the second pass: each has cost a `lock_timeout`.
const LOCKED_LIMIT: u64 = 20;

/// The moves of one table in one run.
pub(super) struct Mover<'a> {
    pub(super) job: &'a ArchiveData,
    pub(super) ctx: &'a JobContext,
    pub(super) fence: &'a ExternalFence,
    pub(super) table: &'a MovedTable,
    pub(super) approval: &'a Approval,
    /// The fingerprint of the columns that move.
    columns: String,
    stay: Vec<i64>,
    held: Vec<(i64, i64)>,
    held_at: Instant,
    pace: Pace,
    watch: Watch,
    /// How long the last batch took.
    took: Duration,
    rows: u32,
    pause: Duration,
    noted_at: Instant,
    /// Rows per month since they were last written down.
    unnoted: BTreeMap<Month, u64>,
    /// Rows whose equal copy was in the archive already, likewise.
    unnoted_copies: u64,
    /// Months whose partition was seen in this run.
    ready: BTreeSet<Month>,
    last: Option<Position>,
    report: TableReport,
}

impl<'a> Mover<'a> {
    pub(super) async fn new(
        job: &'a ArchiveData,
        ctx: &'a JobContext,
        fence: &'a ExternalFence,
        table: &'a MovedTable,
        approval: &'a Approval,
    ) -> Result<Self, JobError> {
        let pace = job.pace();
        let now = Instant::now();
        Ok(Self {
            held: holds::ranges(ctx, table.rule.source, &table.relation).await?,
            held_at: now,
            rows: job.options.batch_rows,
            pause: Duration::from_millis(u64::from(job.options.sleep_ms)),
            pace,
            watch: Watch::default(),
            took: Duration::ZERO,
            noted_at: now,
            unnoted: BTreeMap::new(),
            unnoted_copies: 0,
            ready: BTreeSet::new(),
            last: None,
            columns: table.shape.columns_fingerprint(),
            stay: Vec::new(),
            report: TableReport::new(table),
            job,
            ctx,
            fence,
            table,
            approval,
        })
    }

    /// Moves what is due. What was moved is written down also when this ends with an error.
    pub(super) async fn apply(mut self, allowance: &mut Allowance) -> Result<TableReport, JobError> {
        let outcome = self.both_passes(allowance).await;
        let noted = self.note().await;
        outcome?;
        noted?;
        self.look_at_backlog().await?;
        Ok(self.report)
    }

    async fn both_passes(&mut self, allowance: &mut Allowance) -> Result<(), JobError> {
        self.report.ended = self.first_pass(allowance).await?;
        if self.report.ended == Ended::Done {
            self.second_pass(allowance).await?;
        }
        Ok(())
    }

    /// Month after month; locked rows are stepped over.
    async fn first_pass(&mut self, allowance: &mut Allowance) -> Result<Ended, JobError> {
        let mut from = Position::before_ms(EARLIEST_MS);
        loop {
            let Some(next) = self.next_after(from).await? else {
                return Ok(Ended::Done);
            };
            let month = Month::of_ms(next.completed_ms)
                .ok_or_else(|| JobError::fail("a time beyond the calendar"))?;
            let start = Position::before_ms(month.start_ms()).max(from);
            if self.month_is_open(month).await?
                && let Some(ended) = self.month(month, start, allowance).await?
            {
                return Ok(ended);
            }
            from = Position::before_ms(month.end_ms());
        }
    }

    async fn next_after(&self, from: Position) -> Result<Option<Position>, JobError> {
        let mut conn = self.job.connection().await?;
        let batch = self.batch(self.table.cutoff_ms);
        let found = batch::peek(&mut conn, &self.statements(), batch, from, 1).await?;
        Ok(found.into_iter().next())
    }

    /// Makes sure the archive has a partition for the month, unless that month is on its way out.
    async fn month_is_open(&mut self, month: Month) -> Result<bool, JobError> {
        if self.ready.contains(&month) {
            return Ok(true);
        }
        let (rule, disposal) = (&self.table.rule, &self.job.disposal);
        match archive_table::ensure_month(self.fence, self.ctx, rule, month, disposal).await? {
            MonthTable::Existed => {}
            MonthTable::Created(name) => self.report.created.push(name),
            MonthTable::Leaving(state) => {
                self.wait_for(month, &format!("its unit is {state}"));
                return Ok(false);
            }
        }
        self.ready.insert(month);
        Ok(true)
    }

    fn wait_for(&mut self, month: Month, why: &str) {
        tracing::warn!(table = %self.table.rule.table, %month, why, "rows of this month wait");
        self.report.waiting.push(format!("{month}: {why}"));
    }

    /// The batches of one month. `Some`: the run is at its limit.
    async fn month(
        &mut self,
        month: Month,
        start: Position,
        allowance: &mut Allowance,
    ) -> Result<Option<Ended>, JobError> {
        let before = month.end_ms().min(self.table.cutoff_ms);
        let mut from = start;
        let mut in_vain = 0;
        loop {
            if let Some(ended) = allowance.spent(self.ctx) {
                return Ok(Some(ended));
            }
            self.ctx.check_cancelled()?;
            self.refresh_holds().await?;
            let rows = self.rows.min(u32::try_from(allowance.rows).unwrap_or(u32::MAX));
            let began = Instant::now();
            let moved =
                batch::move_next(self.fence, &self.statements(), self.batch(before), from, rows).await?;
            match moved {
                Moved::Rows { count, last } => {
                    in_vain = 0;
                    self.moved(month, count, last, began.elapsed());
                    allowance.rows = allowance.rows.saturating_sub(count);
                    from = last.unwrap_or(from);
                    if count < u64::from(rows) {
                        return Ok(None);
                    }
                }
                Moved::CopyExists if in_vain < SETTLE_TRIES => {
                    let settled = self.settle(before, from, rows).await?;
                    in_vain = if settled { 0 } else { in_vain + 1 };
                }
                Moved::CopyExists => return Err(self.another_copy().into()),
                Moved::Frozen => {
                    self.wait_for(month, "its archive partition is frozen");
                    return Ok(None);
                }
                Moved::ColumnsChanged => return Err(self.columns_changed()),
                // Somebody holds the table itself, not a row.
                Moved::Locked => return Err(JobError::retry(TableLocked(self.table.rule.table.to_string()))),
            }
            self.rest().await?;
        }
    }

    fn moved(&mut self, month: Month, count: u64, last: Option<Position>, took: Duration) {
        let table = self.table.rule.table.as_str();
        self.report.moved += count;
        self.report.batches += 1;
        *self.unnoted.entry(month).or_default() += count;
        self.last = last.or(self.last);
        metric::archive_batch_duration(table, took);
        metric::disposal_rows(
            self.ctx.job().as_str(),
            self.table.rule.source.as_str(),
            table,
            "move",
            count,
        );
        self.took = took;
        self.ctx.progress(self.report.moved, self.table.estimate);
    }

    /// The pause between two batches, and the size of the next one.
    async fn rest(&mut self) -> Result<(), JobError> {
        if self.pace.is_adaptive() {
            let seen = self
                .watch
                .after(self.took, &self.job.pool, &self.table.relation)
                .await?;
            let next = self.pace.next(&seen);
            (self.rows, self.pause) = (next.rows, next.pause);
        }
        if self.noted_at.elapsed() >= NOTE_EVERY {
            self.note().await?;
        }
        if !self.pause.is_zero() {
            self.ctx.unless_cancelled(tokio::time::sleep(self.pause)).await?;
        }
        Ok(())
    }

    async fn refresh_holds(&mut self) -> Result<(), JobError> {
        if self.held_at.elapsed() >= HOLDS_AGE {
            self.held = holds::ranges(self.ctx, self.table.rule.source, &self.table.relation).await?;
            self.held_at = Instant::now();
        }
        Ok(())
    }

    /// Rows of the coming batch that have a copy in the archive: equal ones go, others stay and are named. False if there
    /// was none, which may be because somebody has locked it for a moment.
    async fn settle(&mut self, before_ms: i64, from: Position, rows: u32) -> Result<bool, JobError> {
        let settled =
            batch::settle_copies(self.fence, &self.statements(), self.batch(before_ms), from, rows).await?;
        if settled.columns_changed {
            return Err(self.columns_changed());
        }
        if settled.removed.is_empty() && settled.differing.is_empty() {
            return Ok(false);
        }
        let table = self.table.rule.table.as_str();
        for id in &settled.differing {
            metric::disposal_refused(self.ctx.job().as_str(), table, "copy_differs");
            tracing::error!(
                table,
                id,
                "the archive holds another row under this id; the row stays"
            );
        }
        self.report.copies_removed += settled.removed.len() as u64;
        self.unnoted_copies += settled.removed.len() as u64;
        self.report.conflicts.extend(&settled.differing);
        self.stay.extend(settled.differing);
        self.stay.sort_unstable();
        Ok(true)
    }

    /// The next attempt reads the table anew and gives the archive the same columns first.
    fn columns_changed(&self) -> JobError {
        JobError::retry(ColumnsChanged(self.table.rule.table.to_string()))
    }

    fn another_copy(&self) -> DisposalError {
        DisposalError::refused(
            "copy",
            format!(
                "{} refuses a row that is not in it under this completion time and {}: does it have a unique constraint of \
             its own? Drop that constraint; the primary key is enough",
                self.table.rule.archive, self.table.rule.id
            ),
        )
    }

    /// Rows that were locked the first time, one by one, waiting for each as long as `disposal.lock_timeout`.
    async fn second_pass(&mut self, allowance: &mut Allowance) -> Result<(), JobError> {
        let left = {
            let mut conn = self.job.connection().await?;
            let batch = self.batch(self.table.cutoff_ms);
            let all = Position::before_ms(EARLIEST_MS);
            batch::peek(&mut conn, &self.statements(), batch, all, LEFTOVERS).await?
        };
        for row in left {
            if allowance.spent(self.ctx).is_some() || self.report.locked >= LOCKED_LIMIT {
                break;
            }
            self.ctx.check_cancelled()?;
            let month =
                Month::of_ms(row.completed_ms).ok_or_else(|| JobError::fail("a time beyond the calendar"))?;
            if self.report.waits(month) || !self.month_is_open(month).await? {
                continue;
            }
            let limit = self.job.disposal.lock_timeout;
            let began = Instant::now();
            let batch = self.batch(self.table.cutoff_ms);
            match batch::move_these(self.fence, &self.statements(), batch, &[row.id], limit).await? {
                Moved::Rows { count: 0, .. } => {}
                Moved::Rows { count, .. } => {
                    self.moved(month, count, None, began.elapsed());
                    self.report.second_pass += count;
                    allowance.rows = allowance.rows.saturating_sub(count);
                }
                Moved::Locked => self.report.locked += 1,
                Moved::ColumnsChanged => return Err(self.columns_changed()),
                // The next run meets it in its first pass and settles it there.
                Moved::CopyExists | Moved::Frozen => self.report.left_for_next += 1,
            }
        }
        Ok(())
    }

    /// Writes down what was moved since the last time.
    async fn note(&mut self) -> Result<(), JobError> {
        self.noted_at = Instant::now();
        if self.unnoted.is_empty() && self.unnoted_copies == 0 {
            return Ok(());
        }
        let rule = &self.table.rule;
        // Not through the context: a run that was told to stop still writes down what it has done, as long as it is the
        // current one.
        let fence = self
            .ctx
            .fence()
            .ok_or_else(|| JobError::fail("archive-data runs without a lock"))?;
        let mut step = fence.step(self.ctx.jobs_db()).await?;
        for (month, count) in &self.unnoted {
            let act = Act {
                unit_id: None,
                source: rule.source,
                table: self.table.relation.clone(),
                object: rule.archive.as_str().to_owned(),
                action: "move",
                rows: i64::try_from(*count).ok(),
                bytes: None,
                plan_digest: Some(self.approval.plan_digest.clone()),
                approved_by: self.approval.approved_by.clone(),
                reason: format!("finished before the retention, month {month}"),
                evidence: serde_json::json!({ "month": month.to_string(), "cutoff_ms": self.table.cutoff_ms }),
            };
            audit::record(&mut step, self.ctx, &act).await?;
        }
        if self.unnoted_copies > 0 {
            let act = Act {
                unit_id: None,
                source: rule.source,
                table: self.table.relation.clone(),
                object: rule.archive.as_str().to_owned(),
                action: "delete",
                rows: i64::try_from(self.unnoted_copies).ok(),
                bytes: None,
                plan_digest: Some(self.approval.plan_digest.clone()),
                approved_by: self.approval.approved_by.clone(),
                reason: "the archive holds a copy that is equal in every byte".to_owned(),
                evidence: serde_json::json!({ "cutoff_ms": self.table.cutoff_ms }),
            };
            audit::record(&mut step, self.ctx, &act).await?;
        }
        if let Some(last) = self.last {
            progress::record(&mut step, rule.table.as_str(), last.id).await?;
        }
        step.commit().await?;
        self.unnoted.clear();
        self.unnoted_copies = 0;
        Ok(())
    }

    /// What is still due after the run, for the alert that the archive falls behind.
    async fn look_at_backlog(&mut self) -> Result<(), JobError> {
        let first = self.next_after(Position::before_ms(EARLIEST_MS)).await?;
        self.report.oldest_left_ms = first.map(|row| row.completed_ms);
        Ok(())
    }

    fn statements(&self) -> Statements<'_> {
        Statements {
            rule: &self.table.rule,
            columns: &self.table.columns,
            references: &self.table.references,
            held: &self.held,
        }
    }

    fn batch(&self, before_ms: i64) -> Batch<'_> {
        Batch {
            table_oid: self.table.shape.oid,
            columns: &self.columns,
            before_ms,
            stay: &self.stay,
            now_ms: self.ctx.clock().now().timestamp_millis(),
        }
    }
}

/// An ALTER TABLE between two batches.
#[derive(Debug, thiserror::Error)]
#[error(
    "the columns of {0} changed during the run; the batch was rolled back, so that nothing of a row is left behind"
)]
struct ColumnsChanged(String);

/// A lock on the whole table.
#[derive(Debug, thiserror::Error)]
#[error("{0} is locked as a whole, for longer than databases.<source>.lock_timeout")]
struct TableLocked(String);
