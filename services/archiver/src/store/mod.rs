//! Every SQL statement of this service: on the trading service's tables by fenced steps, on our own by steps.

pub mod archive_table;
pub mod batch;
pub mod holds;
pub mod progress;
pub mod units;
