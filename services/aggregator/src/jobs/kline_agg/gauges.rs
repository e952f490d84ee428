//! The gauges, in every replica every minute.

use std::collections::BTreeMap;
use std::time::Duration;

use eidos_core::checkpoint;
use eidos_runtime::{Job, JobError, Observation};
use eidos_telemetry::metric;
use eidos_types::JobName;

use super::job::KlineAgg;
use super::watermark::Watermark;
use crate::store::proofs::Difference;
use crate::store::{ledger, repairs};

/// The states of a window in the ledger that need somebody.
const STATES: [&str; 4] = ["missing", "partial", "unusable", "dirty"];

pub(super) fn series_from_zero(job: &KlineAgg) {
    for level in &job.levels {
        for outcome in ["written", "unchanged", "missing", "partial", "unusable"] {
            metric::kline_windows(&level.interval.to_string(), outcome, 0);
        }
    }
    metric::kline_minutes_proved(0);
    for outcome in ["done", "not_done"] {
        metric::kline_repairs(outcome, 0);
    }
}

/// Sets them from the watermarks and the ledger, so that they do not depend on which replica ran last.
pub(super) async fn observe(job: &KlineAgg, seen: &Observation<'_>) -> Result<(), JobError> {
    let name: JobName = KlineAgg::NAME.parse().map_err(JobError::fail)?;
    let db = seen.jobs_db().read();
    let counted: BTreeMap<(String, String), i64> = ledger::counts(db)
        .await?
        .into_iter()
        .map(|(interval, state, count)| ((interval, state), count))
        .collect();
    let differences = repairs::counts(db).await?;
    for kind in Difference::ALL {
        let found = differences.iter().find(|(found, _)| *found == kind);
        let count = found.map_or(0, |(_, count)| u64::try_from(*count).unwrap_or_default());
        metric::kline_differences(kind.as_str(), count);
    }
    for level in &job.levels {
        let interval = level.interval.to_string();
        for state in STATES {
            let count = counted
                .get(&(interval.clone(), state.to_owned()))
                .copied()
                .unwrap_or_default();
            metric::kline_windows_incomplete(&interval, state, u64::try_from(count).unwrap_or_default());
        }
        let watermark: Option<Watermark> =
            checkpoint::load(db, &name, &Watermark::key(level.interval)).await?;
        if let Some(newest_ms) = watermark.and_then(|watermark| watermark.newest_whole_ms) {
            let lag_ms = seen.now().timestamp_millis().saturating_sub(newest_ms);
            metric::kline_lag(
                &interval,
                Duration::from_millis(u64::try_from(lag_ms).unwrap_or_default()),
            );
        }
    }
    Ok(())
}
