//! `archive-data`: finished rows leave the hot tables for the archive tables, and expired months leave the archive.
//!
//! ```text
//! survey ── both tables, their archives, indexes, what is in the way
//!   └─ plan ── what would be done; a dry run ends here, an apply compares it with the plan that was read
//!        ├─ aging ── what an earlier run left; expired months: freeze, export, verify, quarantine, drop
//!        └─ moves ── archive tables brought in step; trades, then orders: batch by batch
//! ```

pub mod aging;
mod allowance;
mod gauges;
mod job;
mod moves;
mod plan;
mod report;
pub mod survey;

use std::time::Duration;

use eidos_core::fence::ExternalFence;
use eidos_disposal::PersonsAct;
use eidos_disposal::destination::{self, StoreAct, StoreRequest};
use eidos_disposal::partition::UndoRequest;
use eidos_plan::{Action, Approval, Approved, Failure, Plan, PlanItem, PlannedJob, Request};
use eidos_runtime::{Job, JobContext, JobError, Observation};
use serde::{Deserialize, Serialize};

use crate::store::{archive_table, units};
use plan::Survey;

pub use job::ArchiveData;
pub use report::{AgedReport, Ended, Report, TableReport};

/// What a caller may ask of one run.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ArchiveParams {
    /// Applies exactly the plan with this digest, or refuses.
    pub plan: Option<String>,
    /// Takes this unit back, by its id or the name of its partition, and does nothing else.
    pub undo: Option<String>,
    /// Accepts the archive store, or shows what is known of it, and does nothing else.
    pub store: Option<StoreAct>,
    /// The location that is accepted, as `store show` prints it.
    pub location: Option<String>,
    /// Why the unit is taken back, or the store accepted.
    pub reason: Option<String>,
    /// Whether its month is held afterwards; it is unless told.
    pub hold: Option<bool>,
}

impl Job for ArchiveData {
    const NAME: &'static str = "archive-data";
    type Params = ArchiveParams;
    type Report = Report;

    fn validate_params(&self, params: &ArchiveParams) -> Result<(), String> {
        PersonsAct {
            store: params.store,
            location: params.location.as_deref(),
            undo: params.undo.is_some(),
            reason: params.reason.as_deref(),
            hold: params.hold,
            run: params.plan.is_some(),
        }
        .check()
    }

    async fn run(&self, ctx: &JobContext, params: ArchiveParams) -> Result<Report, JobError> {
        if let Some(act) = params.store {
            let request = StoreRequest::of(act, params.location.as_deref(), params.reason.as_deref());
            let told = destination::requested(ctx, &self.store, &request).await?;
            return Report::of_store(ctx, told);
        }
        self.refuse_standby().await?;
        if let Some(unit) = &params.undo {
            let request = UndoRequest::of(params.reason.as_deref(), params.hold);
            return Box::pin(aging::undo(self, ctx, unit, &request)).await;
        }
        eidos_plan::run(self, ctx, &params, params.plan.as_deref()).await
    }

    async fn observe(&self, seen: &Observation<'_>) -> Result<(), JobError> {
        gauges::observe(self, seen).await
    }

    fn series_from_zero(&self) {
        gauges::series_from_zero(self);
    }

    fn render(&self, report: &Report) -> String {
        report::render(report)
    }
}

impl PlannedJob for ArchiveData {
    const NEW_PLAN: &'static str =
        "; nothing was done. Make a new plan with `archiver plan`, read it, and apply that";
    type Survey = Survey;

    fn plan_max_age(&self) -> Duration {
        self.disposal.plan_max_age
    }

    async fn survey(
        &self,
        ctx: &JobContext,
        request: &Request<'_, ArchiveParams>,
    ) -> Result<Survey, JobError> {
        Survey::read(self, ctx, request.slot).await
    }

    /// Months that the plan has begun to remove. Moves are in every plan.
    async fn done<'p>(&self, ctx: &JobContext, planned: &'p Plan) -> Result<Vec<&'p PlanItem>, JobError> {
        let begun = units::of_plan(ctx, &planned.digest).await?;
        let months = planned
            .items
            .iter()
            .filter(|item| item.action == Action::ArchiveAndDrop);
        Ok(months.filter(|item| begun.contains(&item.object)).collect())
    }

    async fn preview(&self, _ctx: &JobContext, survey: Survey) -> Result<Report, JobError> {
        Ok(Report::new(survey.plan, true))
    }

    async fn apply(
        &self,
        ctx: &JobContext,
        survey: Survey,
        approved: &Approved<'_>,
    ) -> Result<Report, JobError> {
        let mut report = Report::new(survey.plan.clone(), false);
        report.approved_by = Some(approved.approval().approved_by.clone());
        let fence = ctx.raised_in(&self.pool).await?;
        Box::pin(aging::apply(self, ctx, &fence, &survey, approved, &mut report)).await?;
        self.moves(ctx, &fence, &survey, approved.approval(), &mut report)
            .await?;
        Ok(report)
    }

    fn failure(&self, report: &Report) -> Option<Failure> {
        report.failure()
    }
}

impl ArchiveData {
    async fn moves(
        &self,
        ctx: &JobContext,
        fence: &ExternalFence,
        survey: &Survey,
        approval: &Approval,
        report: &mut Report,
    ) -> Result<(), JobError> {
        let mut allowance = allowance::Allowance::new(ctx, self.options.max_rows_per_run);
        for table in &survey.tables {
            archive_table::change(fence, &table.rule, &table.changes, self.disposal.lock_timeout).await?;
            report
                .archive_changes
                .extend(table.changes.iter().map(ToString::to_string));
            let movement = moves::Mover::new(self, ctx, fence, table, approval).await?;
            let done = movement.apply(&mut allowance).await?;
            if !done.conflicts.is_empty() {
                report.fail(table.rule.table.as_str(), format!(
                    "{}: the archive holds other content under {} {:?}; these rows stay, see docs/runbooks/archive-data.md",
                    done.table,
                    table.rule.id.as_str(),
                    &done.conflicts[..done.conflicts.len().min(10)]
                ));
            }
            report.tables.push(done);
        }
        Ok(())
    }
}
