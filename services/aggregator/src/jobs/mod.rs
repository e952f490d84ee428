//! One module per job.

pub mod kline_agg;
pub mod stats_agg;
