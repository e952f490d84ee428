//! The operator's tool as a process, and the guards over the whole repository: floors, manifests, and that whatever can
//! go wrong has a metric, an alert and a runbook.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failing helper must fail the test that called it"
)]

mod api;
mod floors;
mod manifests;
mod migrate;
mod observability;
mod program;
mod repository;
