//! p50, p99 and the extremes of a series of durations.
#![expect(
    clippy::float_arithmetic,
    reason = "seconds, milliseconds and MiB for people to read"
)]

use std::fmt;
use std::time::Duration;

use serde::Serialize;

/// A summary in milliseconds.
#[derive(Debug, Clone, Serialize)]
pub struct Quantiles {
    /// How many were measured.
    pub count: usize,
    /// The median.
    pub p50_ms: f64,
    /// 99 of 100 took no longer.
    pub p99_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

impl Quantiles {
    /// Of at least one duration.
    #[must_use]
    pub fn of(mut durations: Vec<Duration>) -> Self {
        assert!(!durations.is_empty(), "nothing was measured");
        durations.sort_unstable();
        let at = |percent: usize| durations[(durations.len() - 1) * percent / 100].as_secs_f64() * 1000.0;
        Self {
            count: durations.len(),
            p50_ms: at(50),
            p99_ms: at(99),
            max_ms: at(100),
        }
    }
}

impl fmt::Display for Quantiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "p50 {:>9.3} ms   p99 {:>9.3} ms   max {:>9.3} ms   n {:>5}",
            self.p50_ms, self.p99_ms, self.max_ms, self.count
        )
    }
}
