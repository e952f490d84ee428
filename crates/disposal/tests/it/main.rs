//! Disposal against real PostgreSQL servers and a folder as object store.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests: a failure is the test's"
)]

mod catalogue;
mod destination;
mod fixture;
mod partition;
mod partition_corrupt;
mod partition_crash;
mod partition_dependencies;
mod partition_drop;
mod partition_export;
mod partition_failed;
mod partition_freeze;
mod partition_locks;
mod partition_refused;
mod partition_servers;
mod partition_undo;
mod rows;
mod rows_failed;
mod rows_keys;
mod rows_undo;
mod rows_waits;
mod run;
