//! Pure decisions: what an address means, what an answer means, what a result changes.

pub mod address;
pub mod certificates;
pub mod evm;
pub mod health_body;
pub mod jobs;
pub mod kafka;
pub mod limits;
pub mod machine;
pub mod observation;
pub mod postgres;
pub mod reconciliation;
pub mod redis;
pub mod reducer;
mod text;
pub mod verdict;
pub mod vote;
