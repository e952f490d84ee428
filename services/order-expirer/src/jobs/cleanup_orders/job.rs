//! The job's sentence: confirm, ask, purge.

use eidos_runtime::{Job, JobContext, JobError, Observation};
use eidos_telemetry::metric;

use super::{CleanupOrders, CleanupParams, CleanupReport, ask, candidates, confirm, purge};
use crate::domain::life::{Outcome, Verdict};
use crate::jobs::{gauges, stored};
use crate::store::requests;

impl Job for CleanupOrders {
    const NAME: &'static str = "cleanup-orders";
    type Params = CleanupParams;
    type Report = CleanupReport;

    async fn run(&self, ctx: &JobContext, params: CleanupParams) -> Result<CleanupReport, JobError> {
        let mut report = CleanupReport::new(ctx.dry_run());
        if ctx.dry_run() {
            candidates::preview(self, ctx, &mut report).await?;
            return Ok(report);
        }
        if params.retry {
            report.retried = self.retry_given_up(ctx).await?;
        }
        confirm::run(self, ctx, &mut report).await?;
        let asked = ask::run(self, ctx, &mut report).await;
        // The cache does not wait for an engine that is away; a run that may not go on ends here.
        if !matches!(asked, Ok(()) | Err(JobError::Retry(_) | JobError::Fail(_))) {
            return asked.map(|()| report);
        }
        let purged = purge::run(self, ctx, &mut report).await;
        let ended = asked.and(purged);
        ended.map_err(|error| {
            let text = self.render(&report);
            error.with_report(&report, text)
        })?;
        Ok(report)
    }

    async fn observe(&self, seen: &Observation<'_>) -> Result<(), JobError> {
        gauges::requests(seen).await
    }

    fn series_from_zero(&self) {
        metric::expiry_from_zero(Verdict::WORDS, Outcome::WORDS);
    }

    fn render(&self, report: &CleanupReport) -> String {
        report.render()
    }
}

impl CleanupOrders {
    async fn retry_given_up(&self, ctx: &JobContext) -> Result<u64, JobError> {
        let mut step = ctx.step().await?;
        let limit = i64::from(self.settings.requests_per_run);
        let count = requests::retry_given_up(step.conn(), ctx.slot().ms(), limit)
            .await
            .map_err(stored("retry given-up requests"))?;
        step.commit().await?;
        Ok(count)
    }
}
