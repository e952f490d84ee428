//! The guards against the real servers.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failing helper of a test must fail the test that called it"
)]

mod claims;
mod executions;
mod fences;
mod fixture;
mod leases;
mod leases_in_a_cluster;
mod leases_under_faults;
mod outbox;
mod poolers;
mod redis_tls;
mod roles;
mod schema;
mod triggers;
