//! The guards over the whole repository: floors, manifests, settings, and that whatever can go wrong has a metric, an
//! alert and a runbook that name only what exists.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failing helper must fail the test that called it"
)]

mod compose;
mod floors;
mod import_circles;
mod manifests;
mod observability;
mod reference;
mod repository;
mod requirement;
mod runbooks;
mod statements;
mod whole_file;
