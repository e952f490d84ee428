//! Whose word a piece of work needs, and whether it was given.
//!
//! The schedule may do what no rule reserves for a person. A person applies a plan by its digest: the work is found out
//! anew, and unless it is exactly what was planned nothing is done at all.

use std::collections::BTreeSet;

use eidos_disposal::DisposalError;
use eidos_disposal::catalogue::Relation;
use eidos_disposal::plan::{self, Plan, PlanItem};
use eidos_disposal::settings::DisposalSettings;
use eidos_disposal::unit::{Mandate, Unit};
use eidos_runtime::{Job, JobContext};

use super::job::DataCleanup;

/// What the schedule's own decisions are recorded under.
const POLICY: &str = "policy";

/// The newest dry run that made this plan.
///
/// # Errors
/// [`DisposalError::Refused`] when there is none, or it is too old.
pub(crate) async fn approved_plan(
    ctx: &JobContext,
    settings: &DisposalSettings,
    digest: &str,
) -> Result<Plan, DisposalError> {
    // From the primary: the plan may have been made a moment ago.
    let pool = ctx.jobs_db().control();
    plan::find_planned(
        pool,
        DataCleanup::NAME,
        digest,
        settings.plan_max_age,
        ctx.clock().now(),
    )
    .await
}

/// On whose word this run acts.
#[derive(Debug)]
pub(super) struct Approval<'a> {
    approved: Option<&'a Plan>,
    pub(super) mandate: Mandate,
}

impl<'a> Approval<'a> {
    /// Of a run that applies `approved`, or of the schedule's own run of `now`.
    pub(super) fn new(ctx: &JobContext, approved: Option<&'a Plan>, now: &Plan) -> Self {
        let by = match approved {
            Some(_) => ctx.requested_by().unwrap_or("an unnamed caller"),
            None => POLICY,
        };
        Self {
            approved,
            mandate: Mandate {
                plan_digest: approved.map_or(&now.digest, |plan| &plan.digest).clone(),
                approved_by: by.to_owned(),
            },
        }
    }

    /// Whether a piece may be done now. `required`: its rule reserves it for a person. `unit`: it is on its way already.
    pub(super) fn given(&self, required: bool, unit: Option<&Unit>) -> bool {
        !required || self.approved.is_some() || unit.is_some_and(was_approved)
    }

    /// Whether the plan a person applies has exactly this piece, and not as one that is blocked: then nobody approved it,
    /// whatever has become of the block. The schedule's own plan has all of them.
    pub(super) fn includes(&self, item: &PlanItem) -> bool {
        self.approved.is_none_or(|plan| {
            plan.items.iter().any(|planned| {
                same_piece(planned, item) && planned.identity == item.identity && planned.blocked.is_none()
            })
        })
    }
}

/// A person's word is kept through all of a unit's states.
fn was_approved(unit: &Unit) -> bool {
    unit.approved_by != POLICY
}

fn same_piece(left: &PlanItem, right: &PlanItem) -> bool {
    (left.source, &left.table, &left.object, left.action)
        == (right.source, &right.table, &right.object, right.action)
}

/// The objects that were done, or are on their way, on this plan's word: units and candles.
///
/// # Errors
/// [`DisposalError::Sql`].
pub(super) async fn done_by(
    ctx: &JobContext,
    digest: &str,
) -> Result<BTreeSet<(String, String)>, DisposalError> {
    let failed = || DisposalError::sql("look for what a plan has done already");
    let units: Vec<(String, String, String)> = sqlx::query_as(
        "SELECT schema_name, table_name, unit_name FROM eidos_jobs_disposal_units \
         WHERE plan_digest = $1 AND state NOT IN ('planned', 'abandoned')",
    )
    .bind(digest)
    .fetch_all(ctx.jobs_db().control())
    .await
    .map_err(failed())?;
    let candles: Vec<(String, String)> = sqlx::query_as(
        "SELECT DISTINCT table_name, object_name FROM eidos_jobs_disposals WHERE plan_digest = $1 AND action = 'delete'",
    )
    .bind(digest)
    .fetch_all(ctx.jobs_db().control())
    .await
    .map_err(failed())?;
    let units = units
        .into_iter()
        .map(|(schema, table, unit)| (Relation::new(schema, table).plain(), unit));
    Ok(units.chain(candles).collect())
}

/// Refuses unless the work is exactly what was planned, but for what this very plan has done already.
///
/// # Errors
/// [`DisposalError::Refused`] says what is different.
pub(crate) async fn verify(ctx: &JobContext, approved: &Plan, now: &Plan) -> Result<(), DisposalError> {
    let done = done_by(ctx, &approved.digest).await?;
    plan::verify_remaining(approved, now, |item| done.contains(&(item.table.clone(), item.object.clone())))
        .map_err(|changed| {
            DisposalError::refused(
                "changed",
                format!("{changed}; nothing was done. Make a new one with `retention-manager plan`, read it, apply that"),
            )
        })
}
