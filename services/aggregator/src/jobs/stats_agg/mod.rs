//! `stats-agg`: the statistics of every closed hour, and of the day that an hour closes.
//!
//! The hours from the watermark on are added up one by one, and those of the look-back again. One step writes the figures of
//! an hour, of the day if the hour is its last (ruling 7), and the watermark. A backfill does the same for the hours of a
//! past range, and moves no watermark.

mod backfill;
mod gauges;
mod job;
mod report;
mod run;
mod watermark;

use eidos_runtime::{Job, JobContext, JobError, Observation};
use eidos_types::Instant;
use serde::{Deserialize, Serialize};

pub use job::StatsAgg;
pub use report::{Report, Unpriced};
pub use watermark::Watermark;

/// What a caller may ask of one run.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StatsAggParams {
    /// Adds up the whole hours from this instant on, and does nothing else.
    pub from: Option<Instant>,
    /// Where these hours end.
    pub to: Option<Instant>,
    /// Writes only the figures of this market.
    pub market: Option<String>,
}

impl Job for StatsAgg {
    const NAME: &'static str = "stats-agg";
    type Params = StatsAggParams;
    type Report = Report;

    fn validate_params(&self, params: &StatsAggParams) -> Result<(), String> {
        match (params.from, params.to) {
            (None, None) if params.market.is_some() => {
                Err("market goes with from and to: it adds up the hours of a past range".to_owned())
            }
            (None, None) => Ok(()),
            (Some(from), Some(to)) if from < to => Ok(()),
            (Some(from), Some(to)) => Err(format!("from ({from}) is not before to ({to})")),
            (Some(_), None) => Err("from needs to: where the range ends".to_owned()),
            (None, Some(_)) => Err("to needs from: where the range begins".to_owned()),
        }
    }

    async fn run(&self, ctx: &JobContext, params: StatsAggParams) -> Result<Report, JobError> {
        if let (Some(from), Some(to)) = (params.from, params.to) {
            return backfill::run(self, ctx, (from.ms(), to.ms()), params.market.as_deref()).await;
        }
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
