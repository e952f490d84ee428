//! Dimension deposit: the books' deposits against the Deposit events, one by one, by transaction and log index.

pub mod sources;
pub mod verdict;

#[cfg(test)]
mod model_tests;
