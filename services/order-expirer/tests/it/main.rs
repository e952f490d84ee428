//! order-expirer against real PostgreSQL (jobs and trading), Redis, Kafka, the matching engine of the devnet, and as a process.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests: a failure is the test's"
)]

mod cache;
mod confirm;
mod crash;
mod engine_faults;
mod events;
mod fixture;
mod kafka;
mod operation;
mod oracle;
mod orders;
mod over_kafka;
mod reference;
mod sweep;
