//! recon-svc as a process against real servers: PostgreSQL, Redis, an EVM node, and a world with an oracle.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests: a failure is the test's"
)]

mod break_life;
mod breaks_api;
mod chain_defaults;
mod check_config;
mod crash;
mod deposits;
mod desk;
mod explain;
mod fixture;
mod incremental;
mod limits;
mod metrics;
mod node_behind;
mod outbox;
mod pauses;
mod prices;
mod refused;
mod repin;
mod report_pages;
mod reports;
mod second_reading;
mod statements;
mod thresholds;
mod withdrawals;
mod world;
