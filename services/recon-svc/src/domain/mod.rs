//! Pure decisions: what is expected, what differs, how bad it is, and whether it is real.
//!
//! Nothing here does I/O or reads a clock. Each module is property-tested against a naive model.
//!
//! The sentence of a reconciliation: [`in_flight`] says what the books owe the cut, [`merge`] puts both sides
//! next to each other, [`verdict`] compares exactly, [`severity`] weighs in USDC, [`dust`] adds up what is too
//! small, [`confirm`] asks again before believing, [`classify`] guesses the cause.

pub mod account;
pub mod classify;
pub mod confirm;
pub mod dust;
pub mod in_flight;
pub mod merge;
pub mod severity;
pub mod shard;
pub mod sum;
pub mod tally;
pub mod verdict;

#[cfg(test)]
mod model_tests;
