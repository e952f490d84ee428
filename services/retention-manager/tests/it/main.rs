//! retention-manager against real servers: PostgreSQL and Redis, as a process and as a job in this one.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests: a failure is the test's"
)]

mod candles;
mod cleanup_approval;
mod cleanup_fixture;
mod cleanup_names;
mod cleanup_partitions;
mod cleanup_plan;
mod cleanup_rows;
mod cleanup_service;
mod fixture;
mod partitions_crash;
mod partitions_default;
mod partitions_fixture;
mod partitions_layout;
mod partitions_names;
mod partitions_poolers;
mod partitions_service;
mod partitions_traffic;
