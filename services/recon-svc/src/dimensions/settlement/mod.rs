//! Dimension settlement: the books' trades against the Settlement contract's events and views, by the trade's id.
//!
//! The contract has 32 bytes of each id ([`sources`]); a trade is judged ([`verdict`]) by everything that both sides know
//! about these bytes.

pub mod on_chain;
pub mod sources;
pub mod verdict;

#[cfg(test)]
mod model_tests;
