//! [`DisposalSettings`]: section `disposal` of retention-manager and archiver.

use std::time::Duration;

use eidos_settings::{Problems, duration_text};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use crate::pace::PaceSettings;

/// How units leave a database. Every key has a default, so the section may be absent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DisposalSettings {
    /// Days a detached partition rests before it is dropped, 0 to 3650; a table's own `quarantine_days` wins.
    pub quarantine_days: u32,
    /// The longest anybody may wait for a lock of ours, and we for theirs, 100 ms to 500 ms.
    #[serde(with = "duration_text")]
    pub lock_timeout: Duration,
    /// How often a lock is asked for in one run, 1 to 100.
    pub lock_attempts: u32,
    /// Pause after the first attempt; later ones grow, with jitter.
    #[serde(with = "duration_text")]
    pub lock_backoff: Duration,
    /// The longest pause between two attempts.
    #[serde(with = "duration_text")]
    pub lock_backoff_max: Duration,
    /// A plan older than this can no longer be applied.
    #[serde(with = "duration_text")]
    pub plan_max_age: Duration,
    /// Nothing is destroyed while the clocks of database and process are further apart than this.
    #[serde(with = "duration_text")]
    pub clock_skew_limit: Duration,
    /// Most partitions dropped in one run, 1 to 1000: unlinking large files costs everybody on the disk.
    pub drops_per_run: u32,
    /// Server-side limit of one long read (COPY of a partition).
    #[serde(with = "duration_text")]
    pub statement_timeout: Duration,
    /// How fast rows of plain tables go.
    pub pace: PaceSettings,
}

impl Default for DisposalSettings {
    fn default() -> Self {
        Self {
            quarantine_days: 7,
            lock_timeout: Duration::from_millis(300),
            lock_attempts: 20,
            lock_backoff: Duration::from_millis(100),
            lock_backoff_max: Duration::from_secs(5),
            plan_max_age: Duration::from_hours(7 * 24),
            clock_skew_limit: Duration::from_mins(1),
            drops_per_run: 24,
            statement_timeout: Duration::from_mins(30),
            pace: PaceSettings::default(),
        }
    }
}

impl DisposalSettings {
    /// Reports every value that cannot be used, below the key `disposal`.
    pub fn problems(&self, problems: &mut Problems) {
        let mut refuse = |key: &str, value: String, reason: &str, fix: &str| {
            problems.add_value(format!("disposal.{key}"), value, reason, fix);
        };
        let shown = |duration: Duration| format!("{duration:?}");
        if self.quarantine_days > 3650 {
            refuse(
                "quarantine_days",
                self.quarantine_days.to_string(),
                "is above 3650",
                "use 0 to 3650",
            );
        }
        if !(Duration::from_millis(100)..=Duration::from_millis(500)).contains(&self.lock_timeout) {
            refuse(
                "lock_timeout",
                shown(self.lock_timeout),
                "is outside 100ms to 500ms: it is how long the exchange's own statements may stand behind ours",
                "use 300ms",
            );
        }
        for (key, value, most) in [
            ("lock_attempts", self.lock_attempts, 100),
            ("drops_per_run", self.drops_per_run, 1000),
        ] {
            if !(1..=most).contains(&value) {
                refuse(
                    key,
                    value.to_string(),
                    "is zero or too large",
                    &format!("use 1 to {most}"),
                );
            }
        }
        if self.lock_backoff.is_zero() || self.lock_backoff > self.lock_backoff_max {
            refuse(
                "lock_backoff",
                shown(self.lock_backoff),
                "is zero or above lock_backoff_max",
                "use 100ms and 5s",
            );
        }
        for (key, value) in [
            ("plan_max_age", self.plan_max_age),
            ("clock_skew_limit", self.clock_skew_limit),
            ("statement_timeout", self.statement_timeout),
        ] {
            if value < Duration::from_secs(1) {
                refuse(key, shown(value), "is below one second", "use 7d, 1m and 30m");
            }
        }
        self.pace.problems(problems);
    }
}

/// Which rows of a table are finished business.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FinishedRule {
    /// The column that says so.
    pub column: String,
    /// Its values in finished rows: texts or integers.
    pub values: Vec<Value>,
}
