//! How long a failed delivery waits.

use std::time::Duration;

use rand::RngExt;

/// Upper bound of the wait after the first attempt.
const BASE: Duration = Duration::from_secs(1);
/// Upper bound of every wait: a destination that recovers receives its events within this time.
const MAX: Duration = Duration::from_mins(5);

/// The wait after attempt number `attempt` (from 1): random between half of `min(MAX, BASE · 2^(attempt−1))` and all of
/// it, so that replicas and events that failed together do not return together.
pub(super) fn wait_after(attempt: u32) -> Duration {
    let half = ceiling(attempt) / 2;
    half + half.mul_f64(rand::rng().random::<f64>())
}

fn ceiling(attempt: u32) -> Duration {
    BASE.saturating_mul(1 << attempt.saturating_sub(1).min(20))
        .min(MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn waits_double_up_to_a_limit(attempt in 0..u32::MAX) {
            let wait = wait_after(attempt);
            prop_assert!(wait <= MAX && wait >= BASE / 2);
            prop_assert!(ceiling(attempt.saturating_add(1)) >= ceiling(attempt));
        }
    }
}
