//! The statements on the engine's own tables. Writes take a step's connection, so that they are fenced.
//!
//! Breaks, records and dust are stored by dimension and subject. The columns that a subject of a wallet and a token had
//! before (`wallet_address`, `token`, `token_address`, `reference`, `job_type`) stay for one release and are written as
//! well: replicas of the release before read them.

pub mod audit;
mod bind;
pub mod breaks;
pub mod checkpoints;
pub mod edits;
pub mod listing;
pub mod pauses;
pub mod records;
pub mod reports;

/// Every statement, with its name.
pub fn all() -> impl Iterator<Item = (&'static str, &'static str)> {
    [
        audit::ALL,
        breaks::ALL,
        checkpoints::ALL,
        edits::ALL,
        listing::ALL,
        pauses::ALL,
        records::ALL,
        reports::ALL,
    ]
    .into_iter()
    .flatten()
    .copied()
}
