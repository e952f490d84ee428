//! Every statement on our own tables. Writes take a step's connection, so that they are fenced.

pub mod breaks;
pub mod chain_limits;
pub mod pauses;
pub mod records;
pub mod reports;
pub mod shards;
