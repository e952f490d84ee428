//! The reader against a real EVM node, honest and dishonest.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a helper of a test fails the test; clippy sees only the test functions themselves"
)]

mod adversary;
mod ancestry;
mod artifacts;
mod connect;
mod fixture;
mod ladder;
mod limits;
mod logs;
mod pinned;
mod rate_limits;
mod requests;
mod settlement;
mod start;
mod state;
