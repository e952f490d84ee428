//! The engine against a real PostgreSQL server, with a dimension of its own: counters by name.

#![expect(clippy::unwrap_used, reason = "helpers of tests: a failure is the test's")]

mod audit;
mod counters;
mod crash;
mod edits;
mod fixture;
mod life;
mod migration;
mod plans;
mod readings;
mod statements;
