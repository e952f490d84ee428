//! One module per job.

pub mod kline_agg;
