//! `archive-data`: finished rows leave the hot tables for the archive tables, and expired months leave the archive.
//!
//! ```text
//! survey ── both tables, their archives, indexes, what stands in the way
//!   └─ plan ── what would be done; a dry run ends here, an apply compares it with the plan that was read
//!        ├─ aging ── what an earlier run left; expired months: freeze, export, verify, quarantine, drop
//!        └─ moves ── archive tables brought in step; trades, then orders: batch by batch
//! ```

pub mod aging;
mod allowance;
mod failures;
mod gauges;
mod job;
mod moves;
mod plan;
mod report;
pub mod survey;

use eidos_core::fence::ForeignFence;
use eidos_disposal::PersonsAct;
use eidos_disposal::destination::{self, StoreAct, StoreRequest};
use eidos_disposal::partition::UndoRequest;
use eidos_disposal::unit::Mandate;
use eidos_runtime::{Job, JobContext, JobError, Observation};
use serde::{Deserialize, Serialize};

use crate::store::archive_table;

use failures::Failures;
pub use job::ArchiveData;
pub use report::{AgedReport, Ended, Report, TableReport};

/// What a caller may ask of one run.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ArchiveParams {
    /// Carry out exactly the plan with this digest, or refuse.
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
        let approved = match &params.plan {
            Some(digest) => Some(plan::planned(ctx, &self.disposal, digest).await?),
            None => None,
        };
        // An approved plan is for the slot it was made for: its cutoffs are those that were read and agreed to.
        let slot = approved.as_ref().map_or(ctx.slot(), |planned| planned.slot);
        let world = plan::World::read(self, ctx, slot).await?;
        let plan = world.plan(self, ctx)?;
        if let Some(planned) = &approved {
            plan::verify_unchanged(ctx, planned, &plan).await?;
        }
        let mut report = Report::new(plan, ctx.dry_run());
        if ctx.dry_run() {
            return Ok(report);
        }
        let mandate = Mandate {
            // What somebody approved, also when a part of it was done before.
            plan_digest: approved
                .as_ref()
                .map_or(&report.plan.digest, |planned| &planned.digest)
                .clone(),
            approved_by: match &approved {
                Some(_) => ctx.requested_by().unwrap_or("unnamed").to_owned(),
                None => "policy".to_owned(),
            },
        };
        report.approved_by = Some(mandate.approved_by.clone());
        let fence = ctx.raised_in(&self.pool).await?;
        let mut failures = Failures::default();
        let may_age = approved.is_some() || !self.options.require_approval;
        let aging = aging::carry_out(
            self,
            ctx,
            &fence,
            &world,
            &mandate,
            may_age,
            &mut report,
            &mut failures,
        );
        Box::pin(aging).await?;
        self.moves(ctx, &fence, &world, &mandate, &mut report, &mut failures)
            .await?;
        failures.into_result(report)
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

impl ArchiveData {
    async fn moves(
        &self,
        ctx: &JobContext,
        fence: &ForeignFence,
        world: &plan::World,
        mandate: &Mandate,
        report: &mut Report,
        failures: &mut Failures,
    ) -> Result<(), JobError> {
        let mut allowance = allowance::Allowance::new(ctx, self.options.max_rows_per_run);
        for table in &world.tables {
            archive_table::change(fence, &table.rule, &table.changes, self.disposal.lock_timeout).await?;
            report
                .archive_changes
                .extend(table.changes.iter().map(ToString::to_string));
            let movement = moves::Mover::new(self, ctx, fence, table, mandate).await?;
            let done = movement.carry_out(&mut allowance).await?;
            if !done.conflicts.is_empty() {
                failures.add(table.rule.table.as_str(), format!(
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
