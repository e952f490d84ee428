//! The decisions: pure, and the same whatever the clock, the time zone or the order of the catalogue.

pub mod candles;
pub(crate) mod hypertable;
pub mod layout;
pub mod naming;
pub mod odd;
pub mod retention;
pub mod tiling;
