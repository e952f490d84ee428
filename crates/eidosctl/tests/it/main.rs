//! The operator's tool as a process.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failing helper must fail the test that called it"
)]

mod alerts;
mod api;
mod breaks;
mod canned;
mod check_config;
mod disposal;
mod migrate;
mod prepare;
mod profiles;
mod program;
mod status;
mod watch;
