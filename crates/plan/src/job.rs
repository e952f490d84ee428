//! [`PlannedJob`]: a job whose work is a plan; [`run`]: the order in which such a job works.

use std::future::Future;
use std::time::Duration;

use eidos_runtime::{Job, JobContext, JobError};
use eidos_types::Slot;

use crate::{Approved, Plan, PlanError, PlanItem, find_planned, verify_remaining};

/// What a survey found to be done.
pub trait Surveyed {
    /// Returns it as a person reads it.
    fn plan(&self) -> &Plan;
}

/// What one run is asked for.
#[derive(Debug)]
pub struct Request<'a, P> {
    /// The slot every cutoff follows from: that of the approved plan, else that of the run.
    pub slot: Slot,
    /// The caller's parameters.
    pub params: &'a P,
    /// The plan a person applies; `None`: the schedule's own run.
    pub planned: Option<&'a Plan>,
}

/// What of a run a person must look at. What could be done was done all the same.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct Failure {
    /// What is wrong, all of it.
    pub what: String,
    /// Whether trying again may help.
    pub retryable: bool,
}

/// A job whose work can be read before it is done: [`run`] surveys, compares with what was approved, and applies.
pub trait PlannedJob: Job {
    /// Ends the refusal of a plan that no longer fits: says that nothing was done, and how a new plan is made.
    const NEW_PLAN: &'static str;
    /// What is to be done, with all that is needed to do it.
    type Survey: Surveyed + Send;

    /// Returns the age above which a plan can no longer be applied.
    fn plan_max_age(&self) -> Duration;

    /// Finds out what is to be done for the slot of the request. Changes nothing.
    fn survey(
        &self,
        ctx: &JobContext,
        request: &Request<'_, Self::Params>,
    ) -> impl Future<Output = Result<Self::Survey, JobError>> + Send;

    /// Returns the items of an approved plan that this very plan has done or begun: no later survey has them.
    fn done<'p>(
        &self,
        ctx: &JobContext,
        planned: &'p Plan,
    ) -> impl Future<Output = Result<Vec<&'p PlanItem>, JobError>> + Send;

    /// Returns the report of a dry run. Changes nothing.
    fn preview(
        &self,
        ctx: &JobContext,
        survey: Self::Survey,
    ) -> impl Future<Output = Result<Self::Report, JobError>> + Send;

    /// Puts in order what earlier runs left, and surveys again what that has changed. Unless a job says otherwise,
    /// nothing is left.
    fn recover(
        &self,
        ctx: &JobContext,
        request: &Request<'_, Self::Params>,
        survey: Self::Survey,
    ) -> impl Future<Output = Result<Self::Survey, JobError>> + Send {
        let _ = (ctx, request);
        std::future::ready(Ok(survey))
    }

    /// Does what is due and may be done. What is in the way of one piece is in the report and does not stop the others.
    fn apply(
        &self,
        ctx: &JobContext,
        survey: Self::Survey,
        approved: &Approved<'_>,
    ) -> impl Future<Output = Result<Self::Report, JobError>> + Send;

    /// Returns what must be looked at after a run; `None`: nothing.
    fn failure(&self, report: &Self::Report) -> Option<Failure>;
}

/// One run of a planned job. `digest`: the plan that a person applies.
///
/// # Errors
/// [`JobError`] where the plan is refused, before anything was done; where the run must end; and with its report where
/// something must be looked at.
pub async fn run<J: PlannedJob>(
    job: &J,
    ctx: &JobContext,
    params: &J::Params,
    digest: Option<&str>,
) -> Result<J::Report, JobError> {
    let planned = find(job, ctx, digest).await?;
    let request = Request {
        // A plan is made again for the slot it was made for: a new month would look like a difference.
        slot: planned.as_ref().map_or_else(|| ctx.slot(), |plan| plan.slot),
        params,
        planned: planned.as_ref(),
    };
    let survey = Box::pin(job.survey(ctx, &request)).await?;
    if let Some(planned) = request.planned {
        verify(job, ctx, planned, survey.plan()).await?;
    }
    if ctx.dry_run() {
        return Box::pin(job.preview(ctx, survey)).await;
    }
    let survey = Box::pin(job.recover(ctx, &request, survey)).await?;
    let approved = Approved::new(ctx, request.planned, survey.plan());
    let report = Box::pin(job.apply(ctx, survey, &approved)).await?;
    finish(job, report)
}

/// The newest dry run's plan of this digest. From the primary: it may have been made a moment ago.
async fn find<J: PlannedJob>(
    job: &J,
    ctx: &JobContext,
    digest: Option<&str>,
) -> Result<Option<Plan>, PlanError> {
    let Some(digest) = digest else { return Ok(None) };
    let (pool, now) = (ctx.jobs_db().control(), ctx.clock().now());
    let found = find_planned(pool, ctx.job().as_str(), digest, job.plan_max_age(), now).await?;
    Ok(Some(found))
}

/// Refuses unless the work is exactly what was planned, but for what this very plan has done already.
async fn verify<J: PlannedJob>(
    job: &J,
    ctx: &JobContext,
    planned: &Plan,
    now: &Plan,
) -> Result<(), JobError> {
    let done = job.done(ctx, planned).await?;
    verify_remaining(planned, now, |item| done.contains(&item)).map_err(|changed| {
        let refused = PlanError::refused("changed", format!("{changed}{}", J::NEW_PLAN));
        JobError::fail(refused)
    })
}

/// Fails the run if anything must be looked at, with the report of all that was done.
fn finish<J: PlannedJob>(job: &J, report: J::Report) -> Result<J::Report, JobError> {
    let Some(failure) = job.failure(&report) else {
        return Ok(report);
    };
    let rendered = job.render(&report);
    tracing::error!(job = J::NAME, report = rendered, "the run has problems");
    let error = if failure.retryable {
        JobError::retry(failure)
    } else {
        JobError::fail(failure)
    };
    Err(error.with_report(&report, rendered))
}
