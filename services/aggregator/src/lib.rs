//! aggregator builds candles of one hour and more, and the statistics of hours and days.
//!
//! | job | what it does |
//! |---|---|
//! | `kline-agg` | closed candles of 1h, 4h, 1d and 1w from finer ones ([`jobs::kline_agg`]) |
//! | `stats-agg` | statistics of every closed hour and day ([`jobs::stats_agg`]) |
//!
//! Tables it owns: `eidos_jobs_kline_windows`, `eidos_jobs_statistics`. It writes candles of the intervals that are set to the market service's
//! table, by fenced steps.
//!
//! Invariants: a candle is written only if its window is over and every source candle is there; a window whose source
//! was deleted keeps the candle it has; a run that finds nothing new writes no row. A crash between the candles of a
//! batch and its checkpoint repeats that batch, which then writes nothing.
//!
//! Read in this order: [`domain`] (which windows), [`store::candles`] (the fold in SQL), [`jobs::kline_agg`].

pub mod domain;
pub mod jobs;
pub mod profile;
pub mod settings;
mod start;
pub mod store;

use eidos_runtime::Start;
use eidos_server::{JobCommand, ServiceDefinition};

pub use settings::AggregatorSettings;

const COMMANDS: &[JobCommand] = &[JobCommand {
    name: "backfill",
    about: "Build the candles of a past range: --from 2024-03-01 --to 2024-03-08 [--market M] [--dry-run]",
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
    }
}
