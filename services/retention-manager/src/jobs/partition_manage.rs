//! `partition-manage`: every configured table has partitions for its gaps and for the months ahead, and rows that
//! arrived in a default partition move to the month they belong to.
//!
//! ```text
//! survey           for each table: catalogue, default partition, what is wanted; a dry run ends here
//! recover          finalize what an interrupted detach left, and survey that table again
//! apply            for each table: create, one transaction per partition; what is in the way is reported, the next goes on
//! the end          survey again: the report shows what is, and a table that failed fails the run
//! ```

mod apply;
mod gauges;
mod job;
mod plan;
mod report;
mod survey;

use std::time::Duration;

use eidos_plan::{Approved, Failure, Plan, PlanItem, PlannedJob, Request};
use eidos_runtime::{Job, JobContext, JobError, Observation};
use eidos_settings::CronLine;
use serde::{Deserialize, Serialize};

use crate::store::plans;
use survey::Survey;

pub use job::{ManagedTable, PartitionManage};
pub use report::{Report, TableReport};

/// What a caller may ask of one run.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Params {
    /// Does what this plan says, or refuses: the digest of a dry run.
    pub plan: Option<String>,
}

impl Job for PartitionManage {
    const NAME: &'static str = "partition-manage";
    type Params = Params;
    type Report = Report;

    fn extra_schedules(&self) -> Vec<CronLine> {
        self.options.daily_cron.clone().into_iter().collect()
    }

    async fn run(&self, ctx: &JobContext, params: Params) -> Result<Report, JobError> {
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

impl PlannedJob for PartitionManage {
    const NEW_PLAN: &'static str = ". Nothing was done; make a new plan and read it: retention-manager plan --job \
         partition-manage";
    type Survey = Survey;

    fn plan_max_age(&self) -> Duration {
        self.disposal.plan_max_age
    }

    async fn survey(&self, ctx: &JobContext, request: &Request<'_, Params>) -> Result<Survey, JobError> {
        survey::all(self, ctx, request.slot).await
    }

    async fn done<'p>(&self, ctx: &JobContext, planned: &'p Plan) -> Result<Vec<&'p PlanItem>, JobError> {
        let created = plans::created_by(ctx.jobs_db().control(), Self::NAME, &planned.digest).await?;
        Ok(plan::covered(planned, &created))
    }

    async fn preview(&self, _ctx: &JobContext, survey: Survey) -> Result<Report, JobError> {
        Ok(Report::planned(survey, survey::strangers(self).await))
    }

    async fn recover(
        &self,
        ctx: &JobContext,
        _request: &Request<'_, Params>,
        mut survey: Survey,
    ) -> Result<Survey, JobError> {
        survey::recover(self, ctx, &mut survey).await?;
        Ok(survey)
    }

    async fn apply(
        &self,
        ctx: &JobContext,
        mut survey: Survey,
        approved: &Approved<'_>,
    ) -> Result<Report, JobError> {
        if let Some(planned) = approved.planned() {
            plan::keep_to(planned, &mut survey);
        }
        let strangers = survey::strangers(self).await;
        let done = apply::all(self, ctx, &survey.tables, approved.approval()).await?;
        let after = survey::all_again(self, &survey).await;
        Ok(Report::applied(survey, &done, &after, strangers))
    }

    fn failure(&self, report: &Report) -> Option<Failure> {
        report.failure()
    }
}
