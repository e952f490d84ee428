//! archiver against real PostgreSQL (jobs and trading), a folder as object store, and as a process.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests: a failure is the test's"
)]

mod aging;
mod every_type;
mod fixture;
mod gauges;
mod moves;
mod names;
mod obstacles;
mod plans;
mod process;
mod reference;
mod restore_original;
mod store_accept;
