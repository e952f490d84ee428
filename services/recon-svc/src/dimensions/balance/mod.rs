//! Dimension balance: the Vault's balances against the books, account by account, and the Vault's solvency.
//!
//! The decisions are pure: nothing beside [`sources`] and [`schema::check`] does I/O or reads a clock. They are
//! property-tested against a naive model.
//!
//! The sentence of a reconciliation: [`in_flight`] says what the books owe the cut, [`merge`] puts the books, the chain's
//! known accounts and these lines next to each other, [`verdict`] compares exactly, the engine weighs in USDC, adds up what
//! is too small and asks again before believing, [`classify`] guesses the cause.

pub mod account;
pub mod canary;
pub mod classify;
pub mod in_flight;
pub mod kind;
pub mod merge;
pub mod point;
pub mod schema;
pub mod shard;
pub mod sources;
pub mod sum;
pub mod tally;
pub mod verdict;

#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod severity_tests;
