//! Expired months of the archive tables: what an earlier run left, then what is new, each as far as it may go.

use std::time::Duration;

use eidos_core::fence::ExternalFence;
use eidos_disposal::DisposalError;
use eidos_disposal::partition::{
    DropQuota, PartitionDisposal, PartitionIdentity, PartitionPolicy, UndoRequest, UnitOutcome, Waiting,
    unit_to_undo,
};
use eidos_disposal::unit::{self, Unit, UnitKind};
use eidos_plan::{Action, Approved, Plan, PlanItem};
use eidos_runtime::{Job, JobContext, JobError};
use eidos_telemetry::metric;

use super::job::ArchiveData;
use super::plan::Survey;
use super::report::{AgedReport, Report};
use super::survey::MovedTable;
use crate::store::holds;

/// What aging works with, and the report it adds to.
struct Aging<'a> {
    job: &'a ArchiveData,
    ctx: &'a JobContext,
    fence: &'a ExternalFence,
    quota: DropQuota,
    /// The part of the run's time that belongs to the moves: no month is begun once only this is left.
    reserve: Duration,
    /// Whether the next month may be tried: not after one that failed as every other would.
    goes_on: bool,
    report: &'a mut Report,
}

/// The rules of an archive table's partitions.
#[must_use]
pub fn policy(job: &ArchiveData, table: &MovedTable) -> PartitionPolicy {
    PartitionPolicy {
        source: table.rule.source,
        archive: Some(job.options.archive_format),
        quarantine_days: job.disposal.quarantine_days,
        held_with: vec![table.relation.clone()],
    }
}

/// Takes expired months as far as they may go. A month that is refused does not stop the others, nor the moves; it
/// makes the run end as failed.
pub(super) async fn apply(
    job: &ArchiveData,
    ctx: &JobContext,
    fence: &ExternalFence,
    survey: &Survey,
    approved: &Approved<'_>,
    report: &mut Report,
) -> Result<(), JobError> {
    let mut aging = Aging {
        job,
        ctx,
        fence,
        quota: DropQuota::new(job.disposal.drops_per_run),
        reserve: ctx.budget_left() / 2,
        goes_on: true,
        report,
    };
    for table in &survey.tables {
        if table.archive.is_some() && aging.goes_on {
            aging.goes_on = Box::pin(aging.continue_open(table)).await?;
        }
    }
    for item in &survey.plan.items {
        let is_month = item.action == Action::ArchiveAndDrop;
        if is_month && !Box::pin(aging.month(survey, item, approved)).await? {
            break;
        }
    }
    Ok(())
}

/// Takes one month back, under the lease and the fence of the job, and does nothing else.
pub(super) async fn undo(
    job: &ArchiveData,
    ctx: &JobContext,
    named: &str,
    request: &UndoRequest,
) -> Result<Report, JobError> {
    let unit = unit_to_undo(ctx, named).await?;
    let fence = ctx.raised_in(&job.pool).await?;
    let policy = PartitionPolicy {
        source: unit.source,
        archive: unit.format,
        quarantine_days: job.disposal.quarantine_days,
        held_with: Vec::new(),
    };
    let disposal = PartitionDisposal {
        ctx,
        external: &fence,
        store: Some(&job.store),
        settings: &job.disposal,
        policy,
        quota: &DropQuota::new(0),
    };
    let undone = disposal.undo(unit, request).await?;
    let nothing = Plan::new(ArchiveData::NAME, ctx.slot(), Vec::new(), Vec::new())?;
    let mut report = Report::new(nothing, false);
    report.undone = Some(undone);
    Ok(report)
}

impl Aging<'_> {
    fn disposal<'d>(&'d self, table: &MovedTable) -> PartitionDisposal<'d> {
        PartitionDisposal {
            ctx: self.ctx,
            external: self.fence,
            store: Some(&self.job.store),
            settings: &self.job.disposal,
            policy: policy(self.job, table),
            quota: &self.quota,
        }
    }

    fn note(&mut self, table: String, object: &str, outcome: String) {
        self.report.aged.push(AgedReport {
            table,
            object: object.to_owned(),
            outcome,
        });
    }

    /// Begins to remove one expired month, if that may be done. Returns whether later months are to be looked at.
    async fn month(
        &mut self,
        survey: &Survey,
        item: &PlanItem,
        approved: &Approved<'_>,
    ) -> Result<bool, JobError> {
        let identity = PartitionIdentity::from_value(&item.identity)?;
        let Some(table) = survey.of_archive(&identity.table) else {
            return Ok(true);
        };
        let archive = table.rule.archive.as_str();
        if let Some(blocked) = &item.blocked {
            // A hold is somebody's wish; anything else is for a person to settle.
            if let Some((reason, _)) = survey.obstacle(&identity).filter(|(_, what)| what == blocked) {
                metric::disposal_refused(self.ctx.job().as_str(), &identity.table.plain(), reason);
                self.report.fail(archive, blocked.clone());
            }
            return Ok(true);
        }
        if !approved.permits(self.job.options.require_approval, None) {
            let waiting = &mut self.report.waiting_for_approval;
            *waiting.entry(archive.to_owned()).or_default() += 1;
            return Ok(true);
        }
        if !self.goes_on {
            return Ok(false);
        }
        let object = &identity.partition.name;
        // Again, right before: a hold that was placed since the plan was made.
        let window = (identity.lower_ms, identity.upper_ms);
        if let Some(hold) = holds::covering(self.ctx, table, window).await? {
            self.note(identity.table.plain(), object, format!("kept by {hold}"));
            return Ok(true);
        }
        if self.is_out_of_time(table, object) {
            return Ok(false);
        }
        let outcome = self.disposal(table).advance(&identity, approved.approval()).await;
        self.goes_on = self.outcome(table, object, outcome)?;
        Ok(true)
    }

    /// Checks whether the rest of the run is for the moves, and reports that of the first month that was not reached.
    fn is_out_of_time(&mut self, table: &MovedTable, object: &str) -> bool {
        let is_out = self.ctx.budget_left() <= self.reserve;
        if is_out {
            let outcome =
                "not reached, like those after it: half of the run is for moves; the next run goes on";
            self.note(table.rule.archive.as_str().to_owned(), object, outcome.to_owned());
        }
        is_out
    }

    /// Pending detaches, half exports, months in quarantine. Returns whether other months may be tried after it.
    async fn continue_open(&mut self, table: &MovedTable) -> Result<bool, JobError> {
        let archive = table.archive.as_ref().map(|shape| shape.relation.clone());
        let Some(archive) = archive else { return Ok(true) };
        let recovered = self.disposal(table).recover(&table.rule.archive).await;
        match recovered {
            Ok(recovered) => self.report.recovered.extend(recovered),
            Err(error) => return self.refusal(table, &archive.plain(), error),
        }
        let control = self.ctx.jobs_db().control();
        let open = unit::list_open(control, table.rule.source, Some(&archive)).await?;
        let job = self.ctx.job().as_str();
        // What another job began is that job's to finish (docs/adr/0007-a-floor-for-disposal.md).
        let ours = |unit: &Unit| unit.kind == UnitKind::Partition && unit.job_name == job;
        for open in open.into_iter().filter(ours) {
            let name = open.unit_name.clone();
            let window = (open.lower_ms, open.upper_ms);
            if let Some(hold) = holds::covering(self.ctx, table, window).await? {
                self.note(archive.plain(), &name, format!("{}, kept by {hold}", open.state));
                continue;
            }
            if self.is_out_of_time(table, &name) {
                return Ok(false);
            }
            let outcome = self.disposal(table).resume(open).await;
            if !self.outcome(table, &name, outcome)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Reports how far a month came. Returns whether others may be tried after it.
    fn outcome(
        &mut self,
        table: &MovedTable,
        object: &str,
        outcome: Result<UnitOutcome, DisposalError>,
    ) -> Result<bool, JobError> {
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(error) => return self.refusal(table, object, error),
        };
        let rest = match outcome.waiting {
            Some(Waiting::Until(ms)) => format!(", to be dropped after {}", eidos_types::rfc3339(ms)),
            Some(Waiting::Quota) => ", to be dropped by a later run (disposal.drops_per_run)".to_owned(),
            None => String::new(),
        };
        let archive = table.rule.archive.as_str().to_owned();
        self.note(archive, object, format!("{}{rest}", outcome.unit.state));
        Ok(true)
    }

    /// Nothing was removed. The run goes on unless it may not; months that would meet the same store are not frozen
    /// for nothing.
    fn refusal(&mut self, table: &MovedTable, object: &str, error: DisposalError) -> Result<bool, JobError> {
        if error.ends_the_run() {
            return Err(error.into());
        }
        self.report
            .fail(table.rule.archive.as_str(), format!("{object}: {error}"));
        Ok(!error.is_about_the_store())
    }
}
