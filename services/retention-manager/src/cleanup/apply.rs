//! The run in its order: what is due leaves quarantine, expired partitions go there, rows are deleted, candles are
//! thinned out. What is in the way of one table never stops another.

use std::collections::BTreeSet;

use eidos_disposal::DisposalError;
use eidos_disposal::partition::{DropQuota, PartitionDisposal, UnitOutcome, Waiting};
use eidos_disposal::rows::{RowDisposal, RowIdentity};
use eidos_disposal::unit::Unit;
use eidos_plan::Approved;
use eidos_runtime::{JobContext, JobError};
use eidos_settings::SourceName;
use eidos_telemetry::metric;

use super::candles::CandleRun;
use super::job::{DataCleanup, Fences};
use super::pieces::{Piece, Task};
use super::record::Recorder;
use super::report::{Report, UnitReport};
use super::rules::{PartitionRule, PlainRule};
use super::stop::Budget;
use super::survey::Survey;
use super::survey_partitions::policy;
use crate::store::progress;

/// One run's means.
struct Run<'a> {
    job: &'a DataCleanup,
    ctx: &'a JobContext,
    fences: Fences,
    approved: &'a Approved<'a>,
    quota: DropQuota,
    budget: Budget,
    /// Tables that failed in a way that will not pass within this run.
    given_up: BTreeSet<(SourceName, String)>,
}

/// Does the work.
///
/// # Errors
/// [`JobError`] once the run must end.
pub(crate) async fn apply(
    job: &DataCleanup,
    ctx: &JobContext,
    survey: Survey,
    approved: &Approved<'_>,
) -> Result<Report, JobError> {
    let Survey {
        pieces,
        releases,
        fences,
        mut report,
    } = survey;
    let mut run = Run {
        approved,
        quota: DropQuota::new(job.disposal.drops_per_run),
        budget: Budget::of(ctx),
        given_up: BTreeSet::new(),
        job,
        ctx,
        fences,
    };
    report.applied = approved.planned().map(|plan| plan.digest.clone());
    for release in releases {
        let table = release.rule.table.as_str();
        let released = run.release(&release.rule, &release.unit, &release.reason).await;
        match released {
            Ok(unit) => report
                .table(release.rule.source, table)
                .units
                .push(UnitReport::of(&unit, &["release"])),
            Err(error) => run.note(&mut report, release.rule.source, table, error)?,
        }
    }
    let total = u64::try_from(pieces.len()).ok();
    for (number, piece) in (1..).zip(pieces) {
        ctx.check_cancelled()?;
        if run.budget.is_spent(ctx) {
            report.to_be_continued = true;
            break;
        }
        run.piece(&mut report, &piece).await?;
        ctx.progress(number, total);
    }
    Ok(report)
}

impl Run<'_> {
    async fn piece(&mut self, report: &mut Report, piece: &Piece) -> Result<(), JobError> {
        let (source, table) = piece.place();
        if self.given_up.contains(&(source, table.clone())) {
            return Ok(());
        }
        if let Some(reason) = piece.refused {
            metric::disposal_refused(self.ctx.job().as_str(), &piece.item.table, reason);
        }
        if piece.item.blocked.is_some() || !self.approved.includes(&piece.item) {
            tracing::info!(object = piece.item.object, blocked = ?piece.item.blocked, "stays");
            return Ok(());
        }
        let begun_by = piece.unit.as_ref().map(|unit| unit.approved_by.as_str());
        if !self.approved.permits(piece.approval, begun_by) {
            report.table(source, &table).waiting_for_approval += 1;
            return Ok(());
        }
        let done = match &piece.task {
            Task::Drop(rule) | Task::Partition(rule, _) => self.partition(report, rule, piece).await,
            Task::Rows(rule, identity) => self.rows(report, rule, identity.as_deref(), piece).await,
            Task::Candles(_) => self.candles(report, piece).await,
        };
        match done {
            Ok(()) => Ok(()),
            Err(error) => self.note(report, source, &table, error),
        }
    }

    async fn partition(
        &mut self,
        report: &mut Report,
        rule: &PartitionRule,
        piece: &Piece,
    ) -> Result<(), DisposalError> {
        let external = self.fences.of(self.job, self.ctx, rule.source).await?;
        let disposal = PartitionDisposal {
            ctx: self.ctx,
            external: &external,
            store: self.job.store.as_ref(),
            settings: &self.job.disposal,
            policy: policy(rule),
            quota: &self.quota,
        };
        let outcome: UnitOutcome = match (&piece.task, &piece.unit) {
            (Task::Drop(_), Some(unit)) => disposal.resume(unit.clone()).await?,
            (Task::Partition(_, identity), _) => disposal.advance(identity, self.approved.approval()).await?,
            _ => return Ok(()),
        };
        if outcome.waiting == Some(Waiting::Quota) {
            report.to_be_continued = true;
        }
        report
            .table(rule.source, rule.table.as_str())
            .units
            .push(UnitReport::of(&outcome.unit, &outcome.acts));
        if !outcome.acts.is_empty() {
            let mut step = self.ctx.step().await?;
            let name = progress::name_of(&outcome.unit.table);
            progress::note(&mut step, &name, outcome.unit.upper_ms).await?;
            step.commit().await?;
        }
        Ok(())
    }

    async fn rows(
        &mut self,
        report: &mut Report,
        rule: &PlainRule,
        identity: Option<&RowIdentity>,
        piece: &Piece,
    ) -> Result<(), DisposalError> {
        let external = self.fences.of(self.job, self.ctx, rule.source).await?;
        let disposal = RowDisposal {
            ctx: self.ctx,
            external: &external,
            store: self.job.store.as_ref(),
            settings: &self.job.disposal,
            rule: &rule.rows,
        };
        let outcome = match (identity, &piece.unit) {
            (Some(identity), _) => disposal.advance(identity, self.approved.approval()).await?,
            (None, Some(unit)) => disposal.resume(unit.clone()).await?,
            (None, None) => return Ok(()),
        };
        let (unit, table) = (&outcome.unit, report.table(rule.source, rule.table.as_str()));
        let act = if unit.archived {
            "archive and delete"
        } else {
            "delete"
        };
        let mut done = UnitReport::of(unit, &[act]);
        done.rows = i64::try_from(outcome.deleted).ok();
        table.units.push(done);
        if let Some(left) = outcome.left {
            table.problems.push(format!("{}: {left}", unit.unit_name));
        }
        let mut step = self.ctx.step().await?;
        progress::note(&mut step, &progress::name_of(&unit.table), unit.upper_ms).await?;
        step.commit().await?;
        Ok(())
    }

    async fn release(
        &mut self,
        rule: &PartitionRule,
        unit: &Unit,
        reason: &str,
    ) -> Result<Unit, DisposalError> {
        let external = self.fences.of(self.job, self.ctx, rule.source).await?;
        let disposal = PartitionDisposal {
            ctx: self.ctx,
            external: &external,
            store: self.job.store.as_ref(),
            settings: &self.job.disposal,
            policy: policy(rule),
            quota: &self.quota,
        };
        disposal.release(unit, reason).await
    }

    async fn candles(&mut self, report: &mut Report, piece: &Piece) -> Result<(), DisposalError> {
        let Task::Candles(work) = &piece.task else {
            return Ok(());
        };
        let external = self.fences.of(self.job, self.ctx, work.rule.source).await?;
        let means = CandleRun {
            ctx: self.ctx,
            external: &external,
            settings: &self.job.disposal,
            recorder: Recorder {
                ctx: self.ctx,
                approval: self.approved.approval().clone(),
            },
            budget: self.budget,
        };
        let mut candles = work.report();
        let done = work.delete(&means, &mut candles).await;
        let doubt = match &done {
            Err(error) => error.refusal(),
            Ok(()) => (!candles.kept.is_empty()).then_some("candles_kept"),
        };
        if let Some(reason) = doubt {
            metric::disposal_refused(self.ctx.job().as_str(), &work.shape.relation.plain(), reason);
        }
        report.to_be_continued |= candles.to_be_continued;
        report.candles.push(candles);
        done
    }

    /// What is in the way of a piece goes into the report, unless the run itself must end. Only a refusal is about the
    /// piece alone; anything else would meet the table's other pieces as well, and freeze them for nothing.
    fn note(
        &mut self,
        report: &mut Report,
        source: SourceName,
        table: &str,
        error: DisposalError,
    ) -> Result<(), JobError> {
        if error.ends_the_run() {
            return Err(error.into());
        }
        report.failed(source, table, &error);
        if error.refusal().is_none() || error.is_about_the_store() {
            self.given_up.insert((source, table.to_owned()));
        }
        Ok(())
    }
}

impl Piece {
    /// The database and the table as the rule names it.
    pub(super) fn place(&self) -> (SourceName, String) {
        let (source, table) = match &self.task {
            Task::Drop(rule) | Task::Partition(rule, _) => (rule.source, &rule.table),
            Task::Rows(rule, _) => (rule.source, &rule.table),
            Task::Candles(work) => (work.rule.source, &work.rule.table),
        };
        (source, table.as_str().to_owned())
    }
}
