//! When something has outlived its time: months counted from month starts in UTC, whatever the length of the months,
//! the hour of the run or anybody's time zone.

use chrono::{DateTime, Utc};
use eidos_pg::bounds::{Bounds, EARLIEST_MS};

use eidos_types::Month;

/// Everything before this instant (epoch ms) has outlived `retention_months` whole months at `slot`: the start of the
/// slot's month, that many months back. On 31 March with one month kept it is 1 February.
#[must_use]
pub fn cutoff_ms(slot: DateTime<Utc>, retention_months: u32) -> i64 {
    Month::of(slot).minus(retention_months).start_ms()
}

/// What a partition's bounds say about its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// All that can be in it has outlived its time: its bounds.
    Expired(i64, i64),
    /// Its end lies behind the cutoff, but it has no beginning: there is no month to archive it as.
    WithoutBeginning,
    /// Its end lies before [`EARLIEST_MS`]: bounds in seconds, most likely, and its rows may be of today.
    Unbelievable,
    /// Not yet, or never.
    Stays,
}

/// Whether a partition has outlived its time: its *upper* bound is not after the cutoff.
#[must_use]
pub fn expiry(bounds: &Bounds, cutoff_ms: i64) -> Expiry {
    match (bounds.lower, bounds.upper) {
        (Some(_), Some(upper)) if upper <= EARLIEST_MS => Expiry::Unbelievable,
        (Some(lower), Some(upper)) if upper <= cutoff_ms => Expiry::Expired(lower, upper),
        (None, Some(upper)) if upper <= cutoff_ms => Expiry::WithoutBeginning,
        _ => Expiry::Stays,
    }
}

#[cfg(test)]
mod tests {
    use chrono::{Datelike, FixedOffset, TimeDelta, TimeZone};
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        DateTime::parse_from_rfc3339(text).unwrap().with_timezone(&Utc)
    }

    fn cutoff(slot: &str, months: u32) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(cutoff_ms(at(slot), months)).unwrap()
    }

    #[test]
    fn months_are_counted_from_month_starts() {
        // 31 January minus one month is December, and 31 March minus one month is February, not 2 or 3 March.
        assert_eq!(cutoff("2024-01-31T04:00:00Z", 1), at("2023-12-01T00:00:00Z"));
        assert_eq!(cutoff("2024-03-31T04:00:00Z", 1), at("2024-02-01T00:00:00Z"));
        assert_eq!(cutoff("2023-03-31T23:59:59.999Z", 1), at("2023-02-01T00:00:00Z"));
        // 29 February: a year earlier there is none.
        assert_eq!(cutoff("2024-02-29T04:00:00Z", 12), at("2023-02-01T00:00:00Z"));
        assert_eq!(cutoff("2024-02-29T04:00:00Z", 24), at("2022-02-01T00:00:00Z"));
        // Year end.
        assert_eq!(cutoff("2024-12-31T23:59:59.999Z", 6), at("2024-06-01T00:00:00Z"));
        assert_eq!(cutoff("2025-01-01T00:00:00Z", 6), at("2024-07-01T00:00:00Z"));
        assert_eq!(cutoff("2024-01-01T00:00:00Z", 3), at("2023-10-01T00:00:00Z"));
    }

    #[test]
    fn the_same_instant_has_the_same_cutoff_in_every_time_zone() {
        // Already 1 March in Shanghai, still 29 February in New York and in UTC.
        for slot in [
            "2024-03-01T07:59:59+08:00",
            "2024-02-29T18:59:59-05:00",
            "2024-02-29T23:59:59Z",
        ] {
            assert_eq!(cutoff(slot, 1), at("2024-01-01T00:00:00Z"), "{slot}");
        }
        // Half an hour of offset, and the day line.
        assert_eq!(cutoff("2024-03-01T05:30:00+05:30", 1), at("2024-02-01T00:00:00Z"));
        assert_eq!(cutoff("2024-03-01T13:59:00+14:00", 1), at("2024-01-01T00:00:00Z"));
    }

    #[test]
    fn a_partition_expires_with_its_upper_bound() {
        let cutoff = cutoff_ms(at("2024-07-15T04:00:00Z"), 6);
        let month = |text: &str| Month::of(at(text));
        let bounds = |month: Month| Bounds {
            lower: Some(month.start_ms()),
            upper: Some(month.end_ms()),
        };
        let december = bounds(month("2023-12-05T00:00:00Z"));
        let january = bounds(month("2024-01-05T00:00:00Z"));
        assert!(matches!(expiry(&december, cutoff), Expiry::Expired(..)));
        assert_eq!(expiry(&january, cutoff), Expiry::Stays);
        // January 2024 in seconds.
        let seconds = Bounds {
            lower: january.lower.map(|lower| lower / 1000),
            upper: january.upper.map(|upper| upper / 1000),
        };
        assert_eq!(expiry(&seconds, cutoff), Expiry::Unbelievable);
        // One millisecond too many, an open end, an open beginning.
        let longer = Bounds {
            upper: december.upper.map(|upper| upper + 1),
            ..december
        };
        assert_eq!(expiry(&longer, cutoff), Expiry::Stays);
        assert_eq!(
            expiry(
                &Bounds {
                    upper: None,
                    ..december
                },
                cutoff
            ),
            Expiry::Stays
        );
        assert_eq!(
            expiry(
                &Bounds {
                    lower: None,
                    ..december
                },
                cutoff
            ),
            Expiry::WithoutBeginning
        );
        assert_eq!(
            expiry(
                &Bounds {
                    lower: None,
                    upper: None
                },
                cutoff
            ),
            Expiry::Stays
        );
    }

    proptest! {
        /// The naive model counts years and months by hand, on the date somebody in another zone would write in UTC.
        #[test]
        fn the_cutoff_is_what_counting_by_hand_gives(
            ms in 946_684_800_000_i64..4_102_444_800_000, months in 1_u32..1200, zone in -14_i32..=14,
        ) {
            let utc = DateTime::from_timestamp_millis(ms).unwrap();
            let local = FixedOffset::east_opt(zone * 3600).unwrap().from_utc_datetime(&utc.naive_utc());
            let back = local - TimeDelta::hours(i64::from(zone));
            let (mut year, mut month) = (back.naive_local().year(), back.naive_local().month());
            for _ in 0..months {
                if month == 1 {
                    (year, month) = (year - 1, 12);
                } else {
                    month -= 1;
                }
            }
            let expected = Utc.with_ymd_and_hms(year, month, 1, 0, 0, 0).unwrap().timestamp_millis();
            prop_assert_eq!(cutoff_ms(local.with_timezone(&Utc), months), expected);
        }

        #[test]
        fn nothing_younger_than_the_kept_months_ever_expires(
            ms in 946_684_800_000_i64..4_102_444_800_000, months in 1_u32..600, back in 0_u32..700,
        ) {
            let slot = DateTime::from_timestamp_millis(ms).unwrap();
            let cutoff = cutoff_ms(slot, months);
            let month = Month::of(slot).minus(back);
            let bounds = Bounds { lower: Some(month.start_ms()), upper: Some(month.end_ms()) };
            prop_assert!(cutoff <= ms);
            prop_assert_eq!(matches!(expiry(&bounds, cutoff), Expiry::Expired(..)), back > months && month.end_ms() > EARLIEST_MS);
        }
    }
}
