//! The gauges of what the newest runs verified, in every replica every minute: neither a restart nor a run in a terminal
//! makes "verified an hour ago" look like "never verified".

use eidos_core::checkpoint;
use eidos_recon::report::coverage;
use eidos_recon::run::Done;
use eidos_runtime::{Job, JobError, Observation};
use eidos_telemetry::metric;
use eidos_types::{Amount, JobName, Total};
use serde::Deserialize;

use super::canaries;
use super::finish::done_key;
use super::job::Reconciliation;
use super::movements::{DEPOSIT, FEE_ACCOUNT, SETTLEMENT, WITHDRAWAL};
use super::params::Mode;
use super::pause_keys::LISTED_PAUSES;
use super::run::DIMENSION;
use crate::settings::Operation;
use crate::store::pauses::{self, PauseRow};

/// What the gauges need of a report.
#[derive(Deserialize)]
struct Last {
    cut: LastCut,
    tokens: Vec<LastToken>,
    /// `None`: an older version's report.
    node_behind_accounts: Option<u64>,
    /// Absent in an older version's report.
    #[serde(default)]
    canaries: Vec<LastCanary>,
}

#[derive(Deserialize)]
struct LastCanary {
    found: bool,
}

#[derive(Deserialize)]
#[expect(clippy::struct_field_names, reason = "the names of the stored report")]
struct LastCut {
    indexer_block: u64,
    finalized_block: u64,
    /// `None`: an older version's report.
    head_block: Option<u64>,
}

#[derive(Deserialize)]
struct LastToken {
    token: String,
    in_flight: String,
    dust_gross: String,
}

/// Why a run takes a new cut, as `reconciliation_repins_total{reason}` says it: what the chain had is gone or reorganised.
pub(super) const CHAIN: &str = "chain";

/// The counters of this job at zero.
pub(super) fn series_from_zero() {
    for dimension in [DIMENSION, DEPOSIT, WITHDRAWAL, SETTLEMENT, FEE_ACCOUNT] {
        metric::reconciliation_checked(dimension, 0);
    }
    metric::reconciliation_repins_from_zero(CHAIN);
}

/// Which operations are paused now, whichever replica paused one, or lifted it, and whatever was restarted since. What is not
/// paused is set to zero explicitly: a gauge that is not set keeps its old value.
async fn gauges_of_pauses(job: &Reconciliation, seen: &Observation<'_>) -> Result<(), JobError> {
    let rows = pauses::list(seen.jobs_db().read(), LISTED_PAUSES)
        .await
        .map_err(JobError::retry)?;
    let listed = rows
        .iter()
        .filter_map(|row| Some((Operation::named(&row.operation)?, row.token.as_str())));
    let known = job
        .tokens
        .iter()
        .flat_map(|(_, token)| Operation::ALL.map(|operation| (operation, token.symbol.as_str())));
    for (operation, token) in known.chain(listed) {
        let is_it = |row: &PauseRow| row.operation == operation.as_str() && row.token == token;
        let active = rows.iter().any(|row| row.lifted_at.is_none() && is_it(row));
        metric::operation_pause_active(operation.as_str(), token, active);
    }
    Ok(())
}

/// How much was proved lately, and when a run found nothing. A dimension that no run has finished has no value.
async fn gauges_of_coverage(seen: &Observation<'_>) -> Result<(), JobError> {
    let lines = coverage::read(seen.jobs_db().read(), None, seen.now())
        .await
        .map_err(JobError::retry)?;
    for line in &lines {
        for (window, share) in [("24h", line.day), ("7d", line.week)] {
            if let Some(points) = share.basis_points() {
                metric::reconciliation_coverage(&line.dimension, window, points);
            }
        }
        if let Some(at) = line.last_clean {
            metric::reconciliation_last_clean(&line.dimension, at);
        }
    }
    Ok(())
}

/// Sets the gauges from the stored checkpoints and the newest report. Before the first run there are none: no break is
/// not the same as nothing known.
pub(super) async fn observe(job: &Reconciliation, seen: &Observation<'_>) -> Result<(), JobError> {
    gauges_of_pauses(job, seen).await?;
    job.gauges_of_ages(seen.jobs_db(), seen.now())
        .await
        .map_err(JobError::retry)?;
    let Some(last) = seen.last_report::<Last>().await? else {
        return Ok(());
    };
    job.gauges_of_breaks(seen.jobs_db())
        .await
        .map_err(JobError::retry)?;
    metric::reconciliation_indexer_lag(last.cut.finalized_block.saturating_sub(last.cut.indexer_block));
    if let Some(head) = last.cut.head_block {
        metric::reconciliation_node_lag(last.cut.indexer_block.saturating_sub(head));
    }
    if let Some(accounts) = last.node_behind_accounts {
        metric::reconciliation_node_behind_accounts(accounts);
    }
    if !last.canaries.is_empty() {
        canaries::gauge(last.canaries.iter().map(|canary| canary.found));
    }
    for token in &last.tokens {
        if let Ok(in_flight) = token.in_flight.parse::<Amount>() {
            let magnitude = Total::from(in_flight.abs());
            metric::reconciliation_in_flight_amount(DIMENSION, &token.token, magnitude);
        }
        if let Ok(dust) = token.dust_gross.parse::<Amount>() {
            metric::reconciliation_dust_amount(DIMENSION, &token.token, Total::from(dust));
        }
    }
    gauges_of_coverage(seen).await?;
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
    for dimension in job.movement_dimensions() {
        for mode in [Mode::Full, Mode::Incremental] {
            let key = format!("{dimension}/done/{}", mode.as_str());
            let done: Option<Done> = checkpoint::load(seen.jobs_db().control(), &name, &key).await?;
            if let Some(done) = done {
                metric::reconciliation_verified(dimension, mode.as_str(), done.at);
                if mode == Mode::Full {
                    metric::reconciliation_oldest_verified(dimension, done.at);
                }
            }
        }
    }
    Ok(())
}
