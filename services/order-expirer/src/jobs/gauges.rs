//! Gauges of requests that have not ended.

use std::time::Duration;

use eidos_runtime::{JobError, Observation};
use eidos_telemetry::metric;

use super::stored;
use crate::domain::life::State;
use crate::store::requests;

/// Sets them from the table.
pub(super) async fn requests(seen: &Observation<'_>) -> Result<(), JobError> {
    let totals = requests::totals(seen.jobs_db().read())
        .await
        .map_err(stored("count open requests"))?;
    for state in [State::Requested, State::Answered, State::GivenUp] {
        let count = totals
            .iter()
            .find(|total| total.state == state.as_str())
            .map_or(0, |total| total.count);
        metric::expiry_requests_open(state.as_str(), count.unsigned_abs());
    }
    let contradicted: i64 = totals.iter().map(|total| total.contradicted).sum();
    metric::expiry_contradictions(contradicted.unsigned_abs());
    // A given-up order waits for an operator: another gauge, and another alert.
    let waiting = totals
        .iter()
        .filter(|total| total.state != State::GivenUp.as_str());
    let oldest = waiting.map(|total| total.oldest_ms).min();
    let age_ms = oldest.map_or(0, |oldest| seen.now().timestamp_millis().saturating_sub(oldest));
    metric::expiry_oldest_open(Duration::from_millis(age_ms.max(0).unsigned_abs()));
    Ok(())
}
