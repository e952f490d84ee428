//! The gauges of what the newest runs verified, in every replica every minute: neither a restart nor a run in a terminal
//! makes "verified an hour ago" look like "never verified".

use eidos_core::checkpoint;
use eidos_runtime::{Job, JobError, Observation};
use eidos_telemetry::metric;
use eidos_types::{Amount, JobName, Total};
use serde::Deserialize;

use super::Reconciliation;
use super::finish::done_key;
use super::params::Mode;
use super::run::{DIMENSION, Done};

/// What the gauges need of a report.
#[derive(Deserialize)]
struct Last {
    cut: LastCut,
    tokens: Vec<LastToken>,
}

#[derive(Deserialize)]
struct LastCut {
    indexer_block: u64,
    finalized_block: u64,
}

#[derive(Deserialize)]
struct LastToken {
    token: String,
    in_flight: String,
    dust_gross: String,
}

/// Sets the gauges from the stored checkpoints and the newest report. Before the first run there are none: no break is
/// not the same as nothing known.
pub(super) async fn observe(job: &Reconciliation, seen: &Observation<'_>) -> Result<(), JobError> {
    let Some(last) = seen.last_report::<Last>().await? else {
        return Ok(());
    };
    job.gauges_of_breaks(seen.jobs_db())
        .await
        .map_err(JobError::retry)?;
    metric::reconciliation_indexer_lag(last.cut.finalized_block.saturating_sub(last.cut.indexer_block));
    for token in &last.tokens {
        if let Ok(in_flight) = token.in_flight.parse::<Amount>() {
            let magnitude = Total::from(in_flight.abs());
            metric::reconciliation_in_flight_amount(DIMENSION, &token.token, magnitude);
        }
        if let Ok(dust) = token.dust_gross.parse::<Amount>() {
            metric::reconciliation_dust_amount(DIMENSION, &token.token, Total::from(dust));
        }
    }
    let name: JobName = Reconciliation::NAME.parse().map_err(JobError::fail)?;
    for mode in [Mode::Full, Mode::Incremental] {
        let done: Option<Done> = checkpoint::load(seen.jobs_db().control(), &name, &done_key(mode)).await?;
        if let Some(done) = done {
            metric::reconciliation_verified(DIMENSION, mode.as_str(), done.at);
            if mode == Mode::Full {
                metric::reconciliation_oldest_verified(DIMENSION, done.at);
            }
        }
    }
    Ok(())
}
