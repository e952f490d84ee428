//! How long to wait before trying again, and when to stop trying.

use std::time::Duration;

use rand::RngExt;

/// The retry rule of one job.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RetryRule {
    /// Attempts in all, the first one included.
    pub(crate) max_attempts: u32,
    /// Upper bound of the first wait.
    pub(crate) base: Duration,
    /// Upper bound of every wait.
    pub(crate) max: Duration,
}

impl RetryRule {
    /// The wait after attempt number `attempt` (from 1): uniformly random between zero and
    /// `min(max, base · 2^(attempt−1))`, so that many nodes that failed together do not return together. `None` when
    /// the attempts are used up or the next one would start beyond `time_left`.
    pub(crate) fn wait_after(&self, attempt: u32, time_left: Duration) -> Option<Duration> {
        if attempt >= self.max_attempts {
            return None;
        }
        let ceiling = self.ceiling(attempt);
        let wait = ceiling.mul_f64(rand::rng().random::<f64>());
        (wait < time_left).then_some(wait)
    }

    fn ceiling(&self, attempt: u32) -> Duration {
        let doublings = attempt.saturating_sub(1).min(30);
        self.base.saturating_mul(1 << doublings).min(self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn waits_are_bounded_and_end(
            max_attempts in 1..10_u32, base_ms in 1..10_000_u64, max_ms in 1..60_000_u64,
            attempt in 1..40_u32, left_ms in 0..120_000_u64,
        ) {
            let rule = RetryRule {
                max_attempts, base: Duration::from_millis(base_ms), max: Duration::from_millis(max_ms),
            };
            let left = Duration::from_millis(left_ms);
            match rule.wait_after(attempt, left) {
                None => prop_assert!(attempt >= max_attempts || left_ms < max_ms),
                Some(wait) => {
                    prop_assert!(attempt < max_attempts);
                    prop_assert!(wait <= rule.max && wait < left);
                    prop_assert!(wait.as_millis() <= u128::from(base_ms) << (attempt - 1));
                }
            }
        }
    }
}
