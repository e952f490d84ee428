//! order-expirer against real PostgreSQL (jobs and trading), Redis, the matching engine of the devnet, and as a process.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests: a failure is the test's"
)]

mod cache;
mod confirm;
mod crash;
mod engine_faults;
mod fixture;
mod operation;
mod oracle;
mod orders;
mod reference;
mod sweep;
