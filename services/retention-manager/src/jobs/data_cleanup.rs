//! `data-cleanup`: what has outlived its time leaves, proved first.
//!
//! ```text
//! survey           catalogue, rules, holds, open units: what is due, as a plan; a dry run ends here
//! approval         a plan that a person applies must still be exactly the work; the schedule leaves what is reserved
//! recover          what earlier runs left is put in order
//! apply            due drops, new partitions, rows, candles; each table for itself
//! the end          report; anything in doubt fails the run after everything else was done
//! ```
//!
//! Creating partitions is never this job's business: a failed drop must not keep tomorrow's partition from being made.

use std::collections::BTreeSet;
use std::time::Duration;

use eidos_core::ident::SqlIdent;
use eidos_disposal::PersonsAct;
use eidos_disposal::catalogue::Relation;
use eidos_disposal::destination::{self, StoreAct, StoreRequest};
use eidos_disposal::partition::UndoRequest;
use eidos_plan::{Approved, Failure, Plan, PlanItem, PlannedJob, Request};
use eidos_runtime::{Job, JobContext, JobError, Observation};
use serde::{Deserialize, Serialize};

pub use crate::cleanup::job::DataCleanup;
use crate::cleanup::report::Report;
use crate::cleanup::{Survey, apply, gauges, recover, survey, undo};
use crate::store::plans;

/// What a caller may ask of one run.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Params {
    /// Does what this plan says, or refuses: the digest of a dry run.
    pub plan: Option<String>,
    /// Only these tables, named as in the rules: a list, or names between commas.
    #[serde(deserialize_with = "eidos_runtime::params::words")]
    pub tables: Option<Vec<String>>,
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

impl DataCleanup {
    /// The tables a run is about: those that were asked for, or those an approved plan names.
    fn only(&self, request: &Request<'_, Params>) -> Option<BTreeSet<String>> {
        if let Some(tables) = &request.params.tables {
            let known = tables.iter().filter_map(|table| self.known(table));
            return Some(known.map(|table| table.as_str().to_owned()).collect());
        }
        let planned: Vec<SqlIdent> = request
            .planned?
            .items
            .iter()
            .filter_map(|item| item.table.parse().ok())
            .collect();
        let is_planned = |table: &SqlIdent| {
            planned
                .iter()
                .any(|plain| table.may_mean(plain.schema().unwrap_or_default(), plain.name()))
        };
        let tables = self.rules.tables().map(|(_, table)| table);
        Some(
            tables
                .filter(|table| is_planned(table))
                .map(|table| table.as_str().to_owned())
                .collect(),
        )
    }

    /// The table of the rules that a person means: written the same way, or the same table of `public`.
    fn known(&self, text: &str) -> Option<&SqlIdent> {
        let asked: SqlIdent = text.parse().ok()?;
        let tables = || self.rules.tables().map(|(_, table)| table);
        tables()
            .find(|table| **table == asked)
            .or_else(|| tables().find(|table| Relation::named(table) == Relation::named(&asked)))
    }
}

impl Job for DataCleanup {
    const NAME: &'static str = "data-cleanup";
    type Params = Params;
    type Report = Report;

    fn validate_params(&self, params: &Params) -> Result<(), String> {
        PersonsAct {
            store: params.store,
            location: params.location.as_deref(),
            undo: params.undo.is_some(),
            reason: params.reason.as_deref(),
            hold: params.hold,
            run: params.plan.is_some() || params.tables.is_some(),
        }
        .check()?;
        let unknown: Vec<&str> = params
            .tables
            .iter()
            .flatten()
            .map(String::as_str)
            .filter(|table| self.known(table).is_none())
            .collect();
        if unknown.is_empty() {
            return Ok(());
        }
        Err(format!(
            "tables: no rule in data_retention for {}",
            unknown.join(", ")
        ))
    }

    async fn run(&self, ctx: &JobContext, params: Params) -> Result<Report, JobError> {
        if let Some(act) = params.store {
            let request = StoreRequest::of(act, params.location.as_deref(), params.reason.as_deref());
            let told = destination::requested(ctx, self.archive()?, &request).await?;
            return Ok(Report::of_store(ctx.slot(), told)?);
        }
        if let Some(unit) = &params.undo {
            let request = UndoRequest::of(params.reason.as_deref(), params.hold);
            return Box::pin(undo(self, ctx, unit, &request)).await;
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
        report.render()
    }
}

impl PlannedJob for DataCleanup {
    const NEW_PLAN: &'static str =
        "; nothing was done. Make a new one with `retention-manager plan`, read it, apply that";
    type Survey = Survey;

    fn plan_max_age(&self) -> Duration {
        self.disposal.plan_max_age
    }

    async fn survey(&self, ctx: &JobContext, request: &Request<'_, Params>) -> Result<Survey, JobError> {
        survey(self, ctx, request.slot, self.only(request).as_ref()).await
    }

    async fn done<'p>(&self, ctx: &JobContext, planned: &'p Plan) -> Result<Vec<&'p PlanItem>, JobError> {
        let removed = plans::removed_by(ctx.jobs_db().control(), &planned.digest).await?;
        let is_removed = |item: &&PlanItem| removed.contains(&(item.table.clone(), item.object.clone()));
        Ok(planned.items.iter().filter(is_removed).collect())
    }

    async fn preview(&self, ctx: &JobContext, survey: Survey) -> Result<Report, JobError> {
        survey.preview(self, ctx).await
    }

    async fn recover(
        &self,
        ctx: &JobContext,
        request: &Request<'_, Params>,
        survey: Survey,
    ) -> Result<Survey, JobError> {
        recover(self, ctx, request.slot, self.only(request).as_ref(), survey).await
    }

    async fn apply(
        &self,
        ctx: &JobContext,
        survey: Survey,
        approved: &Approved<'_>,
    ) -> Result<Report, JobError> {
        Box::pin(apply(self, ctx, survey, approved)).await
    }

    fn failure(&self, report: &Report) -> Option<Failure> {
        report.failure()
    }
}
