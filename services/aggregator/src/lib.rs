//! aggregator builds candles of one hour and more, and the statistics of hours and days.
//!
//! | job | what it does |
//! |---|---|
//! | `kline-agg` | closed candles of 1h, 4h, 1d and 1w from finer ones ([`jobs::kline_agg`]) |
//! | `stats-agg` | statistics of every closed hour and day ([`jobs::stats_agg`]) |
//!
//! Beside the jobs, `statistics-keys` keeps the statistics in Redis fresh ([`workers::statistics_keys`]).
//!
//! Tables it owns: `eidos_jobs_kline_windows`, `eidos_jobs_kline_differences`, `eidos_jobs_kline_repairs`,
//! `eidos_jobs_statistics`. It writes candles of the intervals that are set to the market service's table, and on request
//! candles of one minute that differ from their trades, by fenced steps.
//!
//! Invariants: a candle is written only if its window is over and every source candle is there, or its time had no trade; a
//! window whose source was deleted keeps the candle it has; a run that finds nothing new writes no row. A crash between the candles of a
//! batch and its checkpoint repeats that batch, which then writes nothing.
//!
//! Read in this order: [`domain`] (which windows), [`store::candles`] (the fold in SQL), [`jobs::kline_agg`],
//! [`store::proofs`] (candles beside trades).

pub mod domain;
pub mod jobs;
pub mod profile;
pub mod settings;
pub mod sources;
mod start;
pub mod store;
pub mod workers;

use eidos_runtime::Start;
use eidos_server::{JobCommand, ServiceDefinition};

pub use settings::AggregatorSettings;

const COMMANDS: &[JobCommand] = &[JobCommand {
    name: "backfill",
    about: "Build a past range, of candles or (--job stats-agg) statistics: --from 2026-03-01T00:00:00Z --to \
            2026-03-08T00:00:00Z [--market M]; run kline-agg or run stats-agg with these and --dry-run shows it first",
    job: "kline-agg",
    dry_run: false,
    required: &["from", "to"],
}];

/// What `main` runs.
#[must_use]
pub fn service() -> ServiceDefinition<AggregatorSettings> {
    ServiceDefinition {
        name: "aggregator",
        about: "Builds candles of one hour and more, and the statistics of hours and days.",
        start: Start::Connected,
        build: |deps| Box::pin(start::build(deps)),
        routes: None,
        reports: None,
        openapi: None,
        commands: COMMANDS,
        queries: &[],
    }
}
