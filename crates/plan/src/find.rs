//! Plans are found where their dry runs left them: in the history of executions.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgPool;

use crate::plan::digest;
use crate::{Plan, PlanError};

const NEWEST: &str = "\
    SELECT started_at, result -> 'plan' FROM eidos_jobs_executions \
    WHERE job_name = $1 AND dry_run AND status = 'success' AND result -> 'plan' ->> 'digest' = $2 \
    ORDER BY started_at DESC LIMIT 1";

/// The newest plan of `job` with this digest.
///
/// # Errors
/// [`PlanError::Refused`] when there is none, when it is older than `max_age`, when its slot has not come, or when what
/// is stored does not have the digest it claims; [`PlanError::Sql`].
pub async fn find_planned(
    pool: &PgPool,
    job: &str,
    wanted: &str,
    max_age: Duration,
    now: DateTime<Utc>,
) -> Result<Plan, PlanError> {
    let found: Option<(i64, Value)> = sqlx::query_as(NEWEST)
        .bind(job)
        .bind(wanted)
        .fetch_optional(pool)
        .await
        .map_err(PlanError::sql("look for a plan"))?;
    let Some((made_ms, stored)) = found else {
        return Err(refused(format!(
            "no dry run of {job} made a plan with the digest '{wanted}'; make one with the command `plan`"
        )));
    };
    let age_ms = now.timestamp_millis().saturating_sub(made_ms);
    if i128::from(age_ms) > i128::try_from(max_age.as_millis()).unwrap_or(i128::MAX) {
        return Err(refused(format!(
            "the plan '{wanted}' is {} hours old, older than disposal.plan_max_age; make a new one and read it",
            age_ms / 3_600_000
        )));
    }
    let plan: Plan = serde_json::from_value(stored).map_err(|error| {
        refused(format!(
            "the stored plan '{wanted}' cannot be read ({error}); make a new one"
        ))
    })?;
    // What was stored is data like any other: it must be what its digest says.
    if digest(&plan.job, plan.slot, &plan.items) != wanted || plan.job != job {
        return Err(refused(format!(
            "the stored plan '{wanted}' was changed after it was made; look into the history of executions, and make a \
             new one"
        )));
    }
    if plan.slot.instant() > now {
        return Err(refused(format!(
            "the plan '{wanted}' looks ahead to slot {}; it can be carried out when that has come",
            plan.slot
        )));
    }
    Ok(plan)
}

fn refused(what: String) -> PlanError {
    PlanError::refused("plan", what)
}
