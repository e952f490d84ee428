//! Dimension withdrawal: the books' withdrawals, with the chain service's transactions, against the Withdraw events.
//!
//! A row names a transaction and no log, so rows and events of a transaction are paired ([`pairing`]) before they are
//! compared ([`verdict`]).

pub mod pairing;
pub mod sources;
pub mod verdict;

#[cfg(test)]
mod model_tests;
