//! What `data-cleanup` is made of.
//!
//! [`rules`] what the settings say · `survey` what has outlived its time, as a plan · `recover` what earlier runs left ·
//! `undo` one unit, back · `apply` the run in its order · `candles` proof and deletion of candles · [`report`]
//! what people read.

mod apply;
pub mod candles;
pub(crate) mod gauges;
mod holds;
pub(crate) mod job;
mod pieces;
mod record;
mod recover;
pub mod report;
pub mod rules;
mod stop;
mod survey;
mod survey_candles;
mod survey_partitions;
mod survey_plain;
mod undo;
pub mod without_rule;

pub(crate) use apply::apply;
pub(crate) use recover::recover;
pub(crate) use survey::{Survey, survey};
pub(crate) use undo::undo;

pub use crate::store::candles::Verdict;
