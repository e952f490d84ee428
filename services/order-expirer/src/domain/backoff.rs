//! When an order is asked for again: exponential pauses, with a jitter that follows from the order's id, so that a repeated
//! run decides the same and orders of one outage do not come back in one moment.

/// First and longest pause, milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The pause after the first try.
    pub first_ms: i64,
    /// No pause is longer.
    pub longest_ms: i64,
}

/// A pause is up to this many percent longer than its exponential part.
const JITTER_PERCENT: i64 = 20;

impl Backoff {
    /// Returns the pause after try number `tries` (from 1) of this order: the first pause doubled with each try, at most the
    /// longest, and up to 20 % more by the order's id.
    #[must_use]
    pub fn pause_ms(&self, order_id: &str, tries: u32) -> i64 {
        let doublings = tries.saturating_sub(1).min(32);
        let pause = i128::from(self.first_ms.max(0)) << doublings;
        let pause = i64::try_from(pause)
            .unwrap_or(i64::MAX)
            .min(self.longest_ms.max(0));
        let share = i64::from(digest(order_id, tries) % 1_000);
        pause.saturating_add((pause / 100).saturating_mul(JITTER_PERCENT).saturating_mul(share) / 1_000)
    }
}

/// FNV-1a: the same in every release and on every machine, which the hashes of the standard library do not promise.
fn digest(order_id: &str, tries: u32) -> u32 {
    let bytes = order_id.bytes().chain(tries.to_le_bytes());
    bytes.fold(0x811c_9dc5, |hash: u32, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The pause is between its exponential part, computed naively, and 20 % more; it never overflows.
        #[test]
        fn a_pause_doubles_up_to_the_longest(
            id in "[a-z0-9]{1,20}", tries in 1..200_u32, first_ms in 0..1_000_000_i64, longest_ms in 0..100_000_000_i64
        ) {
            let mut plain = first_ms;
            for _ in 1..tries {
                plain = (plain * 2).min(longest_ms.max(first_ms));
            }
            let plain = plain.min(longest_ms);
            let pause = Backoff { first_ms, longest_ms }.pause_ms(&id, tries);
            prop_assert!(pause >= plain, "{} < {}", pause, plain);
            prop_assert!(pause <= plain + plain / 5, "{} > {} + 20 %", pause, plain);
        }

        #[test]
        fn no_value_overflows(tries in any::<u32>(), first_ms in any::<i64>(), longest_ms in any::<i64>()) {
            let pause = Backoff { first_ms, longest_ms }.pause_ms("o", tries);
            prop_assert!(pause >= 0);
        }
    }

    #[test]
    fn orders_of_one_outage_come_back_at_different_times() {
        let backoff = Backoff {
            first_ms: 60_000,
            longest_ms: 600_000,
        };
        let pauses: std::collections::BTreeSet<i64> = (0..100)
            .map(|n| backoff.pause_ms(&format!("order-{n}"), 3))
            .collect();
        assert!(pauses.len() > 80, "{} different pauses", pauses.len());
    }
}
