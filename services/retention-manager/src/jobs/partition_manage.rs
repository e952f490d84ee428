//! `partition-manage`: every configured table has partitions for its gaps and for the months ahead, and rows that
//! arrived in a default partition move to the month they belong to.
//!
//! ```text
//! for each table   finalize what an interrupted detach left, survey: catalogue, default partition, what is wanted
//! the plan         what would be created, in the words of every other plan; a dry run ends here
//! for each table   create, one transaction per partition; what is in the way is reported, the next goes on
//! the end          survey again: the report shows what is, and a table that failed fails the run
//! ```

mod carry_out;
mod gauges;
mod job;
mod plan;
mod report;
mod survey;

use eidos_runtime::{Job, JobContext, JobError, Observation};
use eidos_settings::CronLine;
use serde::{Deserialize, Serialize};

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
        let approved = match &params.plan {
            Some(digest) => Some(plan::find(self, ctx, digest).await?),
            None => None,
        };
        // An approved plan is made again for the slot it was made for, or a new month would look like a difference.
        let slot = approved.as_ref().map_or_else(|| ctx.slot(), |plan| plan.slot);
        let mut surveys = survey::all(self, ctx, slot).await?;
        let plan = plan::make(slot, &surveys)?;
        if let Some(approved) = &approved {
            plan::keep_to(ctx, approved, &plan, &mut surveys).await?;
        }
        let strangers = survey::strangers(self).await;
        if ctx.dry_run() {
            return Ok(Report::planned(slot, plan, &surveys, strangers));
        }
        let done = carry_out::all(self, ctx, &surveys, &plan).await?;
        let after = survey::all_again(self, slot, &surveys).await;
        let report = Report::carried_out(slot, plan, &surveys, &done, &after, strangers);
        report.verdict()?;
        Ok(report)
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
