//! Decisions without a database: which intervals are built from which, and which windows are next.

mod levels;
mod stretch;
mod turnover;

pub use levels::{Level, levels};
pub use stretch::{Stretch, stretches};
pub use turnover::Turnover;
