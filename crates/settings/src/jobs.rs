//! Section `jobs`: when each job runs, within which limits, under which lock.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{CronLine, duration_text};

/// One block below `jobs`. Keys that are not listed here belong to the job itself and land in `options`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobSection {
    /// When it is due.
    pub cron: CronLine,
    /// Time limit of one run; see [`JobSection::budget`] for the effective one.
    #[serde(with = "duration_text")]
    pub timeout: Duration,
    /// Whether its schedule is followed; a disabled job can still be triggered by hand.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// What happens to slots nobody ran.
    #[serde(default)]
    pub catch_up: CatchUp,
    /// What happens to a slot that comes due while a run is still going.
    #[serde(default)]
    pub overlap: Overlap,
    /// The lease a run works under.
    pub lock: LockSection,
    /// What happens after a failure.
    #[serde(default)]
    pub retry: RetrySection,
    /// The worker pool it runs in (`scheduler.pools`).
    #[serde(default = "default_pool")]
    pub pool: String,
    /// The job's own keys (written beside the ones above, such as `retention_days`) as they are shown, an object. The
    /// service has them as [`crate::Effective::options`].
    #[serde(default)]
    pub options: serde_json::Value,
}

const fn yes() -> bool {
    true
}

fn default_pool() -> String {
    "default".to_owned()
}

/// The keys of a job block that every job has.
pub(crate) const JOB_KEYS: [&str; 8] = [
    "cron", "timeout", "enabled", "catch_up", "overlap", "lock", "retry", "pool",
];

impl JobSection {
    /// How long a run may take: the timeout, and for a lock nobody renews no longer than it can be trusted,
    /// `min(timeout, TTL − margin − grace)` (ruling 4). Zero if the TTL leaves no time at all.
    ///
    /// `cancel_grace` is how long a cancelled run may take to return.
    pub fn budget(&self, cancel_grace: Duration) -> Duration {
        match self.lock.kind {
            LockKind::Basic => {
                let trusted = self
                    .lock
                    .ttl
                    .saturating_sub(lease_margin(self.lock.ttl))
                    .saturating_sub(cancel_grace);
                self.timeout.min(trusted)
            }
            LockKind::Watchdog | LockKind::None => self.timeout,
        }
    }
}

/// The part of a lease's TTL that is given up to clock drift and request time: max(1 s, 2 % of the TTL).
#[must_use]
pub fn lease_margin(ttl: Duration) -> Duration {
    (ttl / 50).max(Duration::from_secs(1))
}

/// How the lease of a run behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LockKind {
    /// Taken once for its TTL, never renewed.
    Basic,
    /// Renewed every third of its TTL until the run returns.
    Watchdog,
    /// No lock: every replica runs.
    None,
}

/// Block `lock` of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockSection {
    /// How the lease behaves.
    pub kind: LockKind,
    /// How long it holds without renewal, 3 s – 24 h; ignored for `none`.
    #[serde(with = "duration_text")]
    pub ttl: Duration,
}

/// What happens to slots nobody ran, inside `scheduler.catch_up_periods`. Written `none`, `latest`, `all:24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CatchUp {
    /// They are skipped.
    None,
    /// One run for the newest of them, which receives the whole missed range (ruling 6).
    #[default]
    Latest,
    /// One run each, at most this many (the newest).
    All(u32),
}

impl FromStr for CatchUp {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.trim() {
            "none" => Ok(Self::None),
            "latest" => Ok(Self::Latest),
            other => other
                .strip_prefix("all:")
                .and_then(|max| max.trim().parse().ok())
                .filter(|max| (1..=1000).contains(max))
                .map(Self::All)
                .ok_or_else(|| {
                    "is not a catch-up rule: write none, latest or all:N with N from 1 to 1000".to_owned()
                }),
        }
    }
}

impl fmt::Display for CatchUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Latest => f.write_str("latest"),
            Self::All(max) => write!(f, "all:{max}"),
        }
    }
}

impl Serialize for CatchUp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for CatchUp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// What happens to a slot that comes due while the previous run is still going.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Overlap {
    /// It is recorded as skipped.
    #[default]
    Skip,
    /// It waits; one at most.
    Queue,
    /// The running one is cancelled.
    Replace,
}

/// Block `retry` of a job: exponential with full jitter, ended before the next slot (ruling 8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetrySection {
    /// Attempts of one slot including the first, 1–10.
    pub max_attempts: u32,
    /// Upper bound of the first pause, in milliseconds; doubles with each attempt.
    pub base_ms: u64,
    /// Upper bound of every pause, in milliseconds.
    pub max_ms: u64,
}

impl Default for RetrySection {
    fn default() -> Self {
        Self {
            max_attempts: 3,
            base_ms: 1000,
            max_ms: 60_000,
        }
    }
}
