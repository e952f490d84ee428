//! aggregator against real PostgreSQL (jobs, market and trading), and as a process.

#![expect(clippy::unwrap_used, reason = "helpers of tests: a failure is the test's")]

mod bad_data;
mod candles;
mod catch_up;
mod fixture;
mod keys;
mod late;
mod process;
mod proof;
mod quiet;
mod statements;
mod stats;
mod world;
