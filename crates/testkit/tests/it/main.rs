//! The test kit against itself.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail the test that called them"
)]

mod child;
mod database;
mod polling;
mod proxy;
mod servers;
