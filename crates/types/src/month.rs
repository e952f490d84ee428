//! [`Month`]: a calendar month in UTC. Everything about months is computed here and never in SQL, where the time zone of
//! a session would take part.

use std::fmt;

use chrono::{DateTime, Datelike, Months, NaiveDate, NaiveTime, Utc};

use crate::TimeRange;

/// A calendar month in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Month {
    year: i32,
    /// 1 to 12.
    month: u32,
}

impl Month {
    /// Returns the month that contains `instant`.
    #[must_use]
    pub fn of(instant: DateTime<Utc>) -> Self {
        Self {
            year: instant.year(),
            month: instant.month(),
        }
    }

    /// Returns the month that contains an epoch millisecond. `None`: beyond the calendar.
    #[must_use]
    pub fn of_ms(epoch_ms: i64) -> Option<Self> {
        DateTime::from_timestamp_millis(epoch_ms).map(Self::of)
    }

    /// Returns the calendar year.
    #[must_use]
    pub const fn year(self) -> i32 {
        self.year
    }

    /// Returns the number of the month in its year, 1 to 12.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.month
    }

    /// Returns its first instant, epoch ms.
    #[must_use]
    pub fn start_ms(self) -> i64 {
        let first = NaiveDate::from_ymd_opt(self.year, self.month, 1).unwrap_or(NaiveDate::MAX);
        first.and_time(NaiveTime::MIN).and_utc().timestamp_millis()
    }

    /// Returns the first instant after it, epoch ms.
    #[must_use]
    pub fn end_ms(self) -> i64 {
        self.plus(1).start_ms()
    }

    /// Returns the whole month as a range.
    #[must_use]
    pub fn range(self) -> TimeRange {
        TimeRange {
            lower_ms: self.start_ms(),
            upper_ms: self.end_ms(),
        }
    }

    /// Returns the month that is `months` later; this month itself where that is beyond the calendar.
    #[must_use]
    pub fn plus(self, months: u32) -> Self {
        self.moved(|first| first.checked_add_months(Months::new(months)))
            .unwrap_or(self)
    }

    /// Returns the month that is `months` earlier; this month itself where that is beyond the calendar.
    #[must_use]
    pub fn minus(self, months: u32) -> Self {
        self.checked_minus(months).unwrap_or(self)
    }

    /// Returns the month that is `months` earlier. `None`: beyond the calendar.
    #[must_use]
    pub fn checked_minus(self, months: u32) -> Option<Self> {
        self.moved(|first| first.checked_sub_months(Months::new(months)))
    }

    /// Returns this month and the `ahead` months after it, in order.
    pub fn and_next(self, ahead: u32) -> impl Iterator<Item = Self> {
        (0..=ahead).map(move |months| self.plus(months))
    }

    /// Returns the name that its partition of `table` has: `events_2024_03`.
    #[must_use]
    pub fn partition(self, table: &str) -> String {
        format!("{table}_{:04}_{:02}", self.year, self.month)
    }

    /// Returns the number of months from `earlier` to this one; negative if `earlier` is the later one.
    #[must_use]
    pub fn since(self, earlier: Self) -> i64 {
        let months = |month: Self| i64::from(month.year) * 12 + i64::from(month.month);
        months(self) - months(earlier)
    }

    fn moved(self, by: impl FnOnce(NaiveDate) -> Option<NaiveDate>) -> Option<Self> {
        let date = by(NaiveDate::from_ymd_opt(self.year, self.month, 1)?)?;
        Some(Self {
            year: date.year(),
            month: date.month(),
        })
    }
}

/// `2024-03`.
impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{:04}-{:02}", self.year, self.month))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn month(text: &str) -> Month {
        Month::of(text.parse().unwrap())
    }

    #[test]
    fn partitions_are_named_by_year_and_month() {
        let january = month("2024-01-31T23:59:59.999Z");
        assert_eq!(january.partition("t"), "t_2024_01");
        assert_eq!(january.minus(1).partition("t"), "t_2023_12");
        assert_eq!(january.plus(13).partition("t"), "t_2025_02");
    }

    #[test]
    fn months_are_those_of_utc() {
        let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap().timestamp_millis();
        for (instant, lower, upper) in [
            (
                "2024-02-29T23:59:59.999Z",
                "2024-02-01T00:00:00Z",
                "2024-03-01T00:00:00Z",
            ),
            (
                "2024-12-31T23:59:59Z",
                "2024-12-01T00:00:00Z",
                "2025-01-01T00:00:00Z",
            ),
            (
                "2025-01-01T00:00:00Z",
                "2025-01-01T00:00:00Z",
                "2025-02-01T00:00:00Z",
            ),
            (
                "1969-12-31T23:00:00Z",
                "1969-12-01T00:00:00Z",
                "1970-01-01T00:00:00Z",
            ),
        ] {
            let range = Month::of_ms(at(instant)).unwrap().range();
            assert_eq!(
                (range.lower_ms, range.upper_ms),
                (at(lower), at(upper)),
                "{instant}"
            );
        }
    }

    #[test]
    fn beyond_the_calendar_there_is_no_month() {
        let january = month("2024-01-31T23:59:59.999Z");
        assert_eq!(january.checked_minus(u32::MAX), None);
        assert_eq!(january.minus(u32::MAX), january);
        assert_eq!(Month::of_ms(i64::MAX), None);
    }

    #[test]
    fn the_ends_of_months_are_no_trap() {
        // 31 January plus one month is February, not 2 or 3 March.
        assert_eq!(month("2024-01-31T23:59:59.999Z").plus(1).to_string(), "2024-02");
        assert_eq!(month("2024-03-31T00:00:00Z").minus(1).to_string(), "2024-02");
        // Leap and ordinary February.
        let days = |month: Month| (month.end_ms() - month.start_ms()) / 86_400_000;
        assert_eq!(days(month("2024-02-29T12:00:00Z")), 29);
        assert_eq!(days(month("2023-02-01T00:00:00Z")), 28);
        assert_eq!(days(month("2000-02-29T00:00:00Z")), 29);
        // Year end.
        assert_eq!(month("2024-12-31T23:59:59.999Z").plus(1).to_string(), "2025-01");
        assert_eq!(month("2024-12-01T00:00:00Z").end_ms(), 1_735_689_600_000);
        assert_eq!(
            month("2025-01-01T00:00:00Z").since(month("2024-11-30T00:00:00Z")),
            2
        );
        // The instants of the requirement's own example.
        assert_eq!(month("2024-01-15T00:00:00Z").start_ms(), 1_704_067_200_000);
        assert_eq!(month("2024-01-15T00:00:00Z").end_ms(), 1_706_745_600_000);
    }

    proptest! {
        #[test]
        fn every_instant_lies_in_its_month_and_months_follow_each_other(ms in -62_000_000_000_000_i64..250_000_000_000_000) {
            let month = Month::of_ms(ms).unwrap();
            prop_assert!(month.start_ms() <= ms && ms < month.end_ms());
            prop_assert_eq!(Month::of_ms(month.end_ms()).unwrap(), month.plus(1));
            prop_assert_eq!(Month::of_ms(month.start_ms() - 1).unwrap(), month.minus(1));
            prop_assert_eq!(Month::of_ms(month.start_ms()).unwrap(), month);
            prop_assert_eq!(Month::of_ms(month.end_ms() - 1).unwrap(), month);
        }

        #[test]
        fn counting_months_forth_and_back_ends_where_it_began(ms in 0_i64..4_102_444_800_000, count in 0_u32..1200) {
            let month = Month::of_ms(ms).unwrap();
            prop_assert_eq!(month.plus(count).minus(count), month);
            prop_assert_eq!(month.plus(count).since(month), i64::from(count));
        }

        /// Months tile the time line, whatever the start and across years and leap days.
        #[test]
        fn months_tile_the_time_line(start_ms in 0_i64..4_102_444_800_000, ahead in 0_u32..60) {
            let months: Vec<Month> = Month::of_ms(start_ms).unwrap().and_next(ahead).collect();
            prop_assert_eq!(months.len(), ahead as usize + 1);
            prop_assert!(months[0].range().contains_ms(start_ms));
            for pair in months.windows(2) {
                prop_assert_eq!(pair[0].end_ms(), pair[1].start_ms());
            }
            for month in &months {
                // The naive model: walk the days; every one of them is in this month, its neighbours are not.
                let days = month.range().length_ms() / 86_400_000;
                prop_assert_eq!(month.range().length_ms() % 86_400_000, 0);
                for day in -1..=days {
                    let date = DateTime::from_timestamp_millis(month.start_ms() + day * 86_400_000).unwrap();
                    let inside = (date.year(), date.month()) == (month.year(), month.number());
                    prop_assert_eq!(inside, (0..days).contains(&day));
                }
            }
        }
    }
}
