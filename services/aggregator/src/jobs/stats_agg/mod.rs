//! `stats-agg`: the statistics of every closed hour, and of the day that an hour closes.
//!
//! The hours from the watermark on are added up one by one, and those of the look-back again. One step writes the figures of
//! an hour, of the day if the hour is its last (ruling 7), and the watermark.

mod gauges;
mod job;
mod report;
mod run;
mod watermark;

use eidos_runtime::{Job, JobContext, JobError, Observation};
use serde::{Deserialize, Serialize};

pub use job::StatsAgg;
pub use report::{Report, Unpriced};
pub use watermark::Watermark;

/// What a caller may ask of one run: nothing.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StatsAggParams {}

impl Job for StatsAgg {
    const NAME: &'static str = "stats-agg";
    type Params = StatsAggParams;
    type Report = Report;

    async fn run(&self, ctx: &JobContext, _params: StatsAggParams) -> Result<Report, JobError> {
        run::run(self, ctx).await
    }

    async fn observe(&self, seen: &Observation<'_>) -> Result<(), JobError> {
        gauges::observe(seen).await
    }

    fn series_from_zero(&self) {
        gauges::series_from_zero();
    }

    fn render(&self, report: &Report) -> String {
        report.render()
    }
}
