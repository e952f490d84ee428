//! `alert-drill`: proves that every receiver can be told.
//!
//! 1. Each receiver is told of an alert that is marked as a drill, all of them at the same time.
//! 2. What it accepted is looked for: an Alertmanager must have the alert and notify a receiver of it.
//! 3. An Alertmanager gets the time in which it notifies; then each receiver is told of the end, also if the run is interrupted
//!    or the begin may have arrived although it was not accepted.
//! 4. That it ended is looked for in the same way.
//!
//! It uses neither the states of targets nor what other replicas told: a drill is always sent. The run fails unless every
//! receiver accepted both. Receivers are the same as those of real alerts, with the same time limits.

mod job;
mod report;

pub use job::{AlertDrill, AlertDrillParams};
pub use report::{DrillReport, SinkReport};
