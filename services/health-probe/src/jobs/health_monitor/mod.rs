//! `health-monitor`: one round of probes.
//!
//! 1. Every target starts at the slot plus an offset that is hashed from its name, so that targets on one machine are not asked
//!    at the same instant, and each is asked at the same distance from its last time.
//! 2. Each result is reduced when it arrives, and receivers are told while the round goes on.
//! 3. A target of the network that fails waits for the controls: if they answer, or any target of the network does, it failed. If
//!    none of them does, the prober is blind and nothing failed.
//!
//! A round that a person starts, and one for a slot that was counted before, only looks.

mod job;
mod report;
mod round;

pub use job::{HealthMonitor, HealthMonitorParams, RoundSettings};
pub use report::{Report, TargetReport};
