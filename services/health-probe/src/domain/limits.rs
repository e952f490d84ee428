//! [`Limits`]: above which values a target that answers is not well.

use std::time::Duration;

use eidos_settings::{Problems, duration_text, ranges};
use serde::{Deserialize, Serialize};

use super::verdict::Grade;

const MINUTE: Duration = Duration::from_mins(1);
const DAY: Duration = Duration::from_hours(24);

/// Section `probes.limits`. A value above `*_warning` is a warning, above `*_critical` critical; a certificate's time is below.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Time that a certificate is still valid.
    #[serde(with = "duration_text")]
    pub certificate_warning: Duration,
    /// Time that a certificate is still valid.
    #[serde(with = "duration_text")]
    pub certificate_critical: Duration,
    /// Delay of a replica of PostgreSQL.
    #[serde(with = "duration_text")]
    pub replica_lag_warning: Duration,
    /// Delay of a replica of PostgreSQL.
    #[serde(with = "duration_text")]
    pub replica_lag_critical: Duration,
    /// Connections of PostgreSQL or clients of Redis in use, of those allowed.
    pub connections_warning_percent: u64,
    /// Connections of PostgreSQL or clients of Redis in use, of those allowed.
    pub connections_critical_percent: u64,
    /// The longest session that is idle in a transaction.
    #[serde(with = "duration_text")]
    pub idle_in_transaction_warning: Duration,
    /// The longest session that is idle in a transaction.
    #[serde(with = "duration_text")]
    pub idle_in_transaction_critical: Duration,
    /// Memory in use, of what is allowed: Redis and this machine.
    pub memory_warning_percent: u64,
    /// Memory in use, of what is allowed: Redis and this machine.
    pub memory_critical_percent: u64,
    /// Share of time that work waits for memory.
    pub pressure_warning_percent: u64,
    /// Share of time that work waits for memory.
    pub pressure_critical_percent: u64,
    /// Keys that Redis evicted since the last probe.
    pub evictions_warning: u64,
    /// Keys that Redis evicted since the last probe.
    pub evictions_critical: u64,
    /// Messages that a consumer group has not handled.
    pub consumer_lag_warning: u64,
    /// Messages that a consumer group has not handled.
    pub consumer_lag_critical: u64,
    /// Age of the newest block.
    #[serde(with = "duration_text")]
    pub head_age_warning: Duration,
    /// Age of the newest block.
    #[serde(with = "duration_text")]
    pub head_age_critical: Duration,
    /// Time between the newest and the finalized block.
    #[serde(with = "duration_text")]
    pub finalized_lag_warning: Duration,
    /// Time between the newest and the finalized block.
    #[serde(with = "duration_text")]
    pub finalized_lag_critical: Duration,
    /// Bytes or inodes of a file system in use.
    pub disk_warning_percent: u64,
    /// Bytes or inodes of a file system in use.
    pub disk_critical_percent: u64,
    /// A job is late when its newest success is older than this many of its periods.
    pub missed_periods: u32,
    /// A break above this value is critical.
    pub reconciliation_difference_usdc: u32,
    /// Reconciliation is missing when both sides were last compared longer ago.
    #[serde(with = "duration_text")]
    pub reconciliation_missing_after: Duration,
}

impl Limits {
    /// What the defaults file has; for tests and tools without settings.
    #[must_use]
    pub const fn defaults() -> Self {
        Self {
            certificate_warning: Duration::from_hours(30 * 24),
            certificate_critical: Duration::from_hours(7 * 24),
            replica_lag_warning: Duration::from_secs(30),
            replica_lag_critical: Duration::from_mins(5),
            connections_warning_percent: 80,
            connections_critical_percent: 95,
            idle_in_transaction_warning: Duration::from_mins(5),
            idle_in_transaction_critical: Duration::from_mins(30),
            memory_warning_percent: 80,
            memory_critical_percent: 95,
            pressure_warning_percent: 10,
            pressure_critical_percent: 40,
            evictions_warning: 0,
            evictions_critical: 10_000,
            consumer_lag_warning: 1_000,
            consumer_lag_critical: 100_000,
            head_age_warning: Duration::from_mins(1),
            head_age_critical: Duration::from_mins(5),
            finalized_lag_warning: Duration::from_mins(30),
            finalized_lag_critical: Duration::from_hours(2),
            disk_warning_percent: 80,
            disk_critical_percent: 90,
            missed_periods: 2,
            reconciliation_difference_usdc: 100,
            reconciliation_missing_after: Duration::from_hours(2),
        }
    }

    /// Reports every value that makes no sense.
    pub(crate) fn validate(&self, problems: &mut Problems) {
        let year = DAY * 366;
        ranges!(problems, "probes.limits", self;
            duration certificate_warning: MINUTE..=year;
            duration certificate_critical: MINUTE..=year;
            duration replica_lag_warning: Duration::from_secs(1)..=DAY;
            duration replica_lag_critical: Duration::from_secs(1)..=DAY;
            number connections_warning_percent: 1..=100;
            number connections_critical_percent: 1..=100;
            duration idle_in_transaction_warning: Duration::from_secs(1)..=DAY;
            duration idle_in_transaction_critical: Duration::from_secs(1)..=DAY;
            number memory_warning_percent: 1..=100;
            number memory_critical_percent: 1..=100;
            number pressure_warning_percent: 1..=100;
            number pressure_critical_percent: 1..=100;
            duration head_age_warning: Duration::from_secs(1)..=DAY;
            duration head_age_critical: Duration::from_secs(1)..=DAY;
            duration finalized_lag_warning: Duration::from_secs(1)..=DAY;
            duration finalized_lag_critical: Duration::from_secs(1)..=DAY;
            number disk_warning_percent: 1..=100;
            number disk_critical_percent: 1..=100;
            number missed_periods: 1..=100;
            number reconciliation_difference_usdc: 0..=1_000_000_000;
            duration reconciliation_missing_after: MINUTE..=DAY * 31;
        );
        self.validate_order(problems);
    }

    /// A limit whose warning is not before its critical value would never warn.
    fn validate_order(&self, problems: &mut Problems) {
        let ordered = [
            (
                "certificate_warning",
                self.certificate_warning > self.certificate_critical,
                "longer",
            ),
            (
                "replica_lag_warning",
                self.replica_lag_warning < self.replica_lag_critical,
                "shorter",
            ),
            (
                "connections_warning_percent",
                self.connections_warning_percent < self.connections_critical_percent,
                "lower",
            ),
            (
                "idle_in_transaction_warning",
                self.idle_in_transaction_warning < self.idle_in_transaction_critical,
                "shorter",
            ),
            (
                "memory_warning_percent",
                self.memory_warning_percent < self.memory_critical_percent,
                "lower",
            ),
            (
                "pressure_warning_percent",
                self.pressure_warning_percent < self.pressure_critical_percent,
                "lower",
            ),
            (
                "evictions_warning",
                self.evictions_warning < self.evictions_critical,
                "lower",
            ),
            (
                "consumer_lag_warning",
                self.consumer_lag_warning < self.consumer_lag_critical,
                "lower",
            ),
            (
                "head_age_warning",
                self.head_age_warning < self.head_age_critical,
                "shorter",
            ),
            (
                "finalized_lag_warning",
                self.finalized_lag_warning < self.finalized_lag_critical,
                "shorter",
            ),
            (
                "disk_warning_percent",
                self.disk_warning_percent < self.disk_critical_percent,
                "lower",
            ),
        ];
        for (key, is_ordered, word) in ordered {
            if !is_ordered {
                let critical = key.replace("warning", "critical");
                problems.add(
                    format!("probes.limits.{key}"),
                    format!("is not {word} than probes.limits.{critical}: it would never be a warning"),
                    format!("make it {word}"),
                );
            }
        }
    }

    pub(crate) const fn replica_lag(&self) -> Grade<Duration> {
        Grade {
            warning: self.replica_lag_warning,
            critical: self.replica_lag_critical,
        }
    }

    pub(crate) const fn connections(&self) -> Grade<u64> {
        Grade {
            warning: self.connections_warning_percent,
            critical: self.connections_critical_percent,
        }
    }

    pub(crate) const fn idle_in_transaction(&self) -> Grade<Duration> {
        Grade {
            warning: self.idle_in_transaction_warning,
            critical: self.idle_in_transaction_critical,
        }
    }

    pub(crate) const fn memory(&self) -> Grade<u64> {
        Grade {
            warning: self.memory_warning_percent,
            critical: self.memory_critical_percent,
        }
    }

    /// In hundredths of a percent, as the kernel says it.
    pub(crate) const fn pressure(&self) -> Grade<u64> {
        Grade {
            warning: self.pressure_warning_percent * 100,
            critical: self.pressure_critical_percent * 100,
        }
    }

    pub(crate) const fn evictions(&self) -> Grade<u64> {
        Grade {
            warning: self.evictions_warning,
            critical: self.evictions_critical,
        }
    }

    pub(crate) const fn consumer_lag(&self) -> Grade<u64> {
        Grade {
            warning: self.consumer_lag_warning,
            critical: self.consumer_lag_critical,
        }
    }

    pub(crate) const fn head_age(&self) -> Grade<Duration> {
        Grade {
            warning: self.head_age_warning,
            critical: self.head_age_critical,
        }
    }

    pub(crate) const fn finalized_lag(&self) -> Grade<Duration> {
        Grade {
            warning: self.finalized_lag_warning,
            critical: self.finalized_lag_critical,
        }
    }

    pub(crate) const fn disk(&self) -> Grade<u64> {
        Grade {
            warning: self.disk_warning_percent,
            critical: self.disk_critical_percent,
        }
    }
}
