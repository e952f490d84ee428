//! `health-monitor`: one round of probes.
//!
//! 1. Every target starts at the slot plus an offset that is hashed from its name, so that targets on one machine are not asked
//!    at the same instant, and each is asked at the same distance from its last time.
//! 2. Each result is reduced when it arrives, and receivers are told while the round goes on.
//! 3. A target of the network that fails waits for the controls: if they answer, or any target of the network does, it failed. If
//!    none of them does, the prober is blind and nothing failed.
//!
//! The alert of a target does not open while something fails that the target depends on. It is probed all the same, and its alert
//! opens at the end of the first round in which only the target itself fails.
//!
//! A round that a person starts, and one for a slot that was counted before, only looks.

mod job;
mod report;
mod round;

pub use job::{HealthMonitor, HealthMonitorParams, RoundSettings};
pub use report::{Report, TargetReport};
