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
mod gauges;
mod moves;
mod plan;
mod report;
pub mod survey;

use eidos_archive_store::ArchiveStore;
use eidos_core::fence::ForeignFence;
use eidos_disposal::destination::{self, StoreAct, StoreRequest};
use eidos_disposal::pace::{Pace, PaceMode, PaceSettings};
use eidos_disposal::partition::UndoRequest;
use eidos_disposal::settings::DisposalSettings;
use eidos_disposal::unit::Mandate;
use eidos_disposal::{DisposalError, PersonsAct, source_connection};
use eidos_runtime::{Job, JobContext, JobError, Observation};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use sqlx::pool::PoolConnection;
use sqlx::postgres::Postgres;

use crate::profile::MoveRule;
use crate::settings::{ArchiveDataOptions, Mode};
use crate::store::archive_table;

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

/// The job.
#[derive(Debug)]
pub struct ArchiveData {
    /// Its own settings.
    pub options: ArchiveDataOptions,
    /// How carefully months are destroyed.
    pub disposal: DisposalSettings,
    /// What moves, in order.
    pub rules: [MoveRule; 2],
    /// The database of both tables; read-only outside of fenced steps.
    pub pool: PgPool,
    /// Where exports go.
    pub store: ArchiveStore,
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
            report.archive_changes.extend(table.changes.iter().cloned());
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

    /// A replica that was promoted, or an address that points at one.
    async fn refuse_standby(&self) -> Result<(), JobError> {
        let standby: bool = sqlx::query_scalar("SELECT pg_is_in_recovery()")
            .fetch_one(&self.pool)
            .await
            .map_err(DisposalError::sql("ask whether the server is a primary"))?;
        if standby {
            return Err(DisposalError::refused(
                "standby",
                format!(
                    "databases.{} points at a standby, which cannot be written to; point it at the primary",
                    self.rules[0].source
                ),
            )
            .into());
        }
        Ok(())
    }

    async fn connection(&self) -> Result<PoolConnection<Postgres>, DisposalError> {
        source_connection(&self.pool).await
    }

    fn pace(&self) -> Pace {
        let mode = match self.options.mode {
            Mode::Fixed => PaceMode::Fixed,
            Mode::Adaptive => PaceMode::Adaptive,
        };
        let settings = PaceSettings {
            mode,
            ..self.disposal.pace.clone()
        };
        let sleep = std::time::Duration::from_millis(u64::from(self.options.sleep_ms));
        Pace::new(&settings, self.options.batch_rows, sleep)
    }
}

/// What went wrong without ending the run: told at its end, with a non-zero exit.
#[derive(Debug, Default)]
pub(crate) struct Failures(Vec<(String, String)>);

/// The run did what it could, and something must be looked at.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Incomplete(String);

impl Failures {
    pub(crate) fn add(&mut self, table: &str, what: String) {
        tracing::error!(table, what, "the run goes on and will end as failed");
        self.0.push((table.to_owned(), what));
    }

    fn into_result(self, mut report: Report) -> Result<Report, JobError> {
        if self.0.is_empty() {
            return Ok(report);
        }
        for (table, _) in &self.0 {
            *report.refused.entry(table.clone()).or_default() += 1;
        }
        let mut problems: Vec<String> = self.0.into_iter().map(|(_, what)| what).collect();
        // Months that meet the same store say the same.
        problems.dedup();
        let moved: u64 = report.tables.iter().map(|table| table.moved).sum();
        let error = JobError::fail(Incomplete(format!(
            "{} ({moved} other rows were moved)",
            problems.join("; ")
        )));
        Err(error.with_report(&report, report::render(&report)))
    }
}
