//! Dimension fee account: what the platform booked as its fees against the fees that its settled trades paid, by token.
//!
//! The balances compare the fee account with the Vault's balance of the fee recipient; both may be right together and the
//! account still have fees that no trade paid.

pub mod sources;
pub mod verdict;

#[cfg(test)]
mod model_tests;
