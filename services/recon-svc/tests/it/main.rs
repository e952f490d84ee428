//! recon-svc as a process against real servers: PostgreSQL, Redis, an EVM node, and a world with an oracle.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests: a failure is the test's"
)]

mod adversary;
mod break_life;
mod breaks_api;
mod canaries;
mod chain_defaults;
mod check_config;
mod crash;
mod deposits;
mod desk;
mod explain;
mod fee_account;
mod fixture;
mod incremental;
mod limits;
mod metrics;
mod node_behind;
mod outbox;
mod pauses;
mod prices;
mod providers;
mod refused;
mod reorgs;
mod repin;
mod report_pages;
mod reports;
mod second_reading;
mod settlement;
mod statements;
mod thresholds;
mod traffic;
mod withdrawals;
mod world;
