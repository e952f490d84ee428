//! What is old enough, told by the slot and never by the time of day a run happens to start.

use std::time::Duration;

use chrono::{DateTime, Utc};
use eidos_types::Month;

const DAY_MS: i64 = 86_400_000;

/// Rows completed before this instant may move: `retention_days` before the slot, and never within `safety_lag` of the
/// database's own clock.
#[must_use]
pub fn moves_before(slot_ms: i64, retention_days: u32, database_now_ms: i64, safety_lag: Duration) -> i64 {
    let lag = i64::try_from(safety_lag.as_millis()).unwrap_or(i64::MAX);
    let by_age = slot_ms.saturating_sub(i64::from(retention_days).saturating_mul(DAY_MS));
    by_age.min(database_now_ms.saturating_sub(lag))
}

/// Returns the first instant (epoch ms) of the month `months` before the slot's: months of the archive that end at or
/// before it have expired. What is kept is therefore between `months` and `months + 1` long. `None`: beyond the calendar.
#[must_use]
pub fn expires_before(slot: DateTime<Utc>, months: u32) -> Option<i64> {
    Month::of(slot).checked_minus(months).map(Month::start_ms)
}

#[cfg(test)]
mod tests {
    use eidos_pg::bounds::EARLIEST_MS;
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn the_slot_decides_and_the_databases_clock_may_only_hold_back() {
        let slot = at("2026-11-21T03:00:00Z").timestamp_millis();
        let minutes = Duration::from_mins(5);
        let expected = at("2026-10-22T03:00:00Z").timestamp_millis();
        assert_eq!(moves_before(slot, 30, slot + 7_200_000, minutes), expected);
        let behind = at("2026-10-01T00:00:00Z").timestamp_millis();
        assert_eq!(
            moves_before(slot, 30, behind, minutes),
            behind - 300_000,
            "a slot far ahead of the database's clock"
        );
    }

    #[test]
    fn retention_counts_from_the_start_of_the_month_at_every_month_end() {
        for (slot, months, expected) in [
            ("2026-01-31T04:00:00Z", 1, "2025-12-01T00:00:00Z"),
            ("2024-02-29T23:59:59Z", 12, "2023-02-01T00:00:00Z"),
            ("2026-12-31T23:59:59Z", 24, "2024-12-01T00:00:00Z"),
            ("2027-01-01T00:00:00Z", 24, "2025-01-01T00:00:00Z"),
        ] {
            let cutoff = expires_before(at(slot), months).unwrap();
            assert_eq!(cutoff, at(expected).timestamp_millis(), "{slot} - {months}");
        }
        assert_eq!(expires_before(at("2026-01-01T00:00:00Z"), u32::MAX), None);
    }

    proptest! {
        #[test]
        fn nothing_younger_than_its_time_is_ever_old_enough(
            slot in EARLIEST_MS..4_102_444_800_000_i64, days in 1_u32..3650, ahead in -86_400_000_i64..86_400_000,
        ) {
            let cutoff = moves_before(slot, days, slot + ahead, Duration::from_mins(5));
            prop_assert!(cutoff <= slot - i64::from(days) * DAY_MS);
            prop_assert!(cutoff <= slot + ahead - 300_000);
        }
    }
}
