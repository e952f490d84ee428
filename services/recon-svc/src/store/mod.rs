//! Statements on our own tables beside those of the engine ([`eidos_recon::store`]). Writes take a step's connection, so
//! that they are fenced.

pub mod breaks;
pub mod chain_blocks;
pub mod chain_limits;
pub mod reports;

pub use eidos_recon::store::pauses;

/// Every statement, with its name.
pub fn all() -> impl Iterator<Item = (&'static str, &'static str)> {
    [breaks::ALL, chain_blocks::ALL, chain_limits::ALL, reports::ALL]
        .into_iter()
        .flatten()
        .copied()
}
