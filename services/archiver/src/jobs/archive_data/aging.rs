//! Expired months of the archive tables: what an earlier run left, then what is new, each as far as it may go.

use std::time::Duration;

use eidos_core::fence::ForeignFence;
use eidos_disposal::DisposalError;
use eidos_disposal::partition::{
    DropQuota, PartitionDisposal, PartitionIdentity, PartitionPolicy, UndoRequest, UnitOutcome, Waiting,
    unit_to_undo,
};
use eidos_disposal::plan::{Action, Plan};
use eidos_disposal::unit::{self, Mandate, Unit, UnitKind};
use eidos_runtime::{Job, JobContext, JobError};
use eidos_telemetry::metric;

use super::failures::Failures;
use super::job::ArchiveData;
use super::plan::World;
use super::report::{AgedReport, Report};
use super::survey::Surveyed;
use crate::store::holds;

/// What aging works with.
struct Aging<'a> {
    job: &'a ArchiveData,
    ctx: &'a JobContext,
    fence: &'a ForeignFence,
    quota: DropQuota,
    /// The part of the run's time that belongs to the moves: no month is begun once only this is left.
    reserve: Duration,
}

/// The rules of an archive table's partitions.
#[must_use]
pub fn policy(job: &ArchiveData, table: &Surveyed) -> PartitionPolicy {
    PartitionPolicy {
        source: table.rule.source,
        archive: Some(job.options.archive_format),
        quarantine_days: job.disposal.quarantine_days,
        held_with: vec![table.relation.clone()],
    }
}

/// Takes expired months as far as they may go. A month that is refused does not stop the others, nor the moves; it
/// makes the run end as failed.
#[expect(clippy::too_many_arguments, reason = "one call, from the sentence the job is")]
pub(super) async fn carry_out(
    job: &ArchiveData,
    ctx: &JobContext,
    fence: &ForeignFence,
    world: &World,
    mandate: &Mandate,
    may_begin: bool,
    report: &mut Report,
    failures: &mut Failures,
) -> Result<(), JobError> {
    let aging = Aging {
        job,
        ctx,
        fence,
        quota: DropQuota::new(job.disposal.drops_per_run),
        reserve: ctx.budget_left() / 2,
    };
    let mut goes_on = true;
    for table in &world.tables {
        if table.archive.is_some() && goes_on {
            goes_on = Box::pin(aging.continue_open(table, report, failures)).await?;
        }
    }
    for item in report.plan.items.clone() {
        if item.action != Action::ArchiveAndDrop {
            continue;
        }
        let identity = PartitionIdentity::from_value(&item.identity)?;
        let Some(table) = world.of_archive(&identity.table) else {
            continue;
        };
        if let Some(blocked) = item.blocked {
            // A hold is somebody's wish; anything else is for a person to settle.
            if let Some((reason, _)) = world.obstacle(&identity).filter(|(_, what)| *what == blocked) {
                metric::disposal_refused(ctx.job().as_str(), &identity.table.plain(), reason);
                failures.add(table.rule.archive.as_str(), blocked);
            }
            continue;
        }
        if !may_begin {
            let archive = table.rule.archive.as_str().to_owned();
            *report.waiting_for_approval.entry(archive).or_default() += 1;
            continue;
        }
        if !goes_on {
            break;
        }
        // Again, right before: a hold that was placed since the plan was made.
        let window = (identity.lower_ms, identity.upper_ms);
        if let Some(hold) = holds::covering(ctx, table, window).await? {
            report.aged.push(AgedReport {
                table: identity.table.plain(),
                object: identity.partition.name,
                outcome: format!("kept by {hold}"),
            });
            continue;
        }
        if aging.is_out_of_time(table, &identity.partition.name, report) {
            break;
        }
        let outcome = aging.disposal(table).advance(&identity, mandate).await;
        goes_on = Aging::tell(table, &identity.partition.name, outcome, report, failures)?;
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
        foreign: &fence,
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

impl<'a> Aging<'a> {
    fn disposal(&'a self, table: &Surveyed) -> PartitionDisposal<'a> {
        PartitionDisposal {
            ctx: self.ctx,
            foreign: self.fence,
            store: Some(&self.job.store),
            settings: &self.job.disposal,
            policy: policy(self.job, table),
            quota: &self.quota,
        }
    }

    /// Whether the rest of the run is for the moves; said in the report of the first month that was not reached.
    fn is_out_of_time(&self, table: &Surveyed, object: &str, report: &mut Report) -> bool {
        let is_out = self.ctx.budget_left() <= self.reserve;
        if is_out {
            report.aged.push(AgedReport {
                table: table.rule.archive.as_str().to_owned(),
                object: object.to_owned(),
                outcome:
                    "not reached, like those after it: half of the run is for moves; the next run goes on"
                        .to_owned(),
            });
        }
        is_out
    }

    /// Pending detaches, half exports, months in quarantine. Whether other months may be tried after it.
    async fn continue_open(
        &self,
        table: &Surveyed,
        report: &mut Report,
        failures: &mut Failures,
    ) -> Result<bool, JobError> {
        let disposal = self.disposal(table);
        let archive = table.archive.as_ref().map(|shape| shape.relation.clone());
        let Some(archive) = archive else { return Ok(true) };
        match disposal.recover(&table.rule.archive).await {
            Ok(recovered) => report.recovered.extend(recovered),
            Err(error) => return Self::refusal(table, &archive.plain(), error, failures),
        }
        let control = self.ctx.jobs_db().control();
        let open = unit::list_open(control, table.rule.source, Some(&archive)).await?;
        // What another job began is that job's to finish (docs/adr/0007-a-floor-for-disposal.md).
        let ours = |unit: &Unit| unit.kind == UnitKind::Partition && unit.job_name == self.ctx.job().as_str();
        for open in open.into_iter().filter(ours) {
            let name = open.unit_name.clone();
            let window = (open.lower_ms, open.upper_ms);
            if let Some(hold) = holds::covering(self.ctx, table, window).await? {
                report.aged.push(AgedReport {
                    table: archive.plain(),
                    object: name,
                    outcome: format!("{}, kept by {hold}", open.state),
                });
                continue;
            }
            if self.is_out_of_time(table, &name, report) {
                return Ok(false);
            }
            let outcome = disposal.resume(open).await;
            if !Self::tell(table, &name, outcome, report, failures)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// How far a month came; whether others may be tried after it.
    fn tell(
        table: &Surveyed,
        object: &str,
        outcome: Result<UnitOutcome, DisposalError>,
        report: &mut Report,
        failures: &mut Failures,
    ) -> Result<bool, JobError> {
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(error) => return Self::refusal(table, object, error, failures),
        };
        let rest = match outcome.waiting {
            Some(Waiting::Until(ms)) => format!(", to be dropped after {}", eidos_types::rfc3339(ms)),
            Some(Waiting::Quota) => ", to be dropped by a later run (disposal.drops_per_run)".to_owned(),
            None => String::new(),
        };
        report.aged.push(AgedReport {
            table: table.rule.archive.as_str().to_owned(),
            object: object.to_owned(),
            outcome: format!("{}{rest}", outcome.unit.state),
        });
        Ok(true)
    }

    /// Nothing was removed. The run goes on unless it may not; months that would meet the same store are not frozen
    /// for nothing.
    fn refusal(
        table: &Surveyed,
        object: &str,
        error: DisposalError,
        failures: &mut Failures,
    ) -> Result<bool, JobError> {
        if error.ends_the_run() {
            return Err(error.into());
        }
        failures.add(table.rule.archive.as_str(), format!("{object}: {error}"));
        Ok(!error.is_about_the_store())
    }
}
