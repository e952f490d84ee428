//! The gauges, in every replica every minute.

use std::time::Duration;

use eidos_core::checkpoint;
use eidos_runtime::{Job, JobError, Observation};
use eidos_telemetry::metric;
use eidos_types::JobName;
use serde::Deserialize;

use super::job::StatsAgg;
use super::report::Unpriced;
use super::watermark::Watermark;

/// What the gauges need of a report.
#[derive(Deserialize)]
struct Last {
    refused: u64,
    unpriced: Vec<Unpriced>,
}

pub(super) fn series_from_zero() {
    for kind in ["hourly", "daily"] {
        metric::statistics_rows_written(kind, 0);
    }
}

/// Sets them from the watermark and the newest report, whichever replica that was in.
pub(super) async fn observe(seen: &Observation<'_>) -> Result<(), JobError> {
    let name: JobName = StatsAgg::NAME.parse().map_err(JobError::fail)?;
    let watermark: Option<Watermark> = checkpoint::load(seen.jobs_db().read(), &name, Watermark::KEY).await?;
    if let Some(watermark) = watermark {
        let lag_ms = seen.now().timestamp_millis().saturating_sub(watermark.until_ms);
        metric::statistics_lag(Duration::from_millis(u64::try_from(lag_ms).unwrap_or_default()));
    }
    if let Some(last) = seen.last_report::<Last>().await? {
        metric::statistics_refused_rows(last.refused);
        metric::statistics_unpriced_hours(u64::try_from(last.unpriced.len()).unwrap_or(u64::MAX));
    }
    Ok(())
}
