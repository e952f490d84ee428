//! [`Month`]: a calendar month in UTC. Everything about months is computed here and never in SQL, where a session's
//! time zone would take part (ruling 33).

use std::fmt;

use chrono::{DateTime, Datelike, Months, NaiveDate, NaiveTime, Utc};

/// A calendar month in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Month {
    year: i32,
    /// 1 to 12.
    month: u32,
}

impl Month {
    /// The month `instant` lies in.
    #[must_use]
    pub fn of(instant: DateTime<Utc>) -> Self {
        Self {
            year: instant.year(),
            month: instant.month(),
        }
    }

    /// The month an epoch millisecond lies in; `None` beyond the calendar's range.
    #[must_use]
    pub fn of_ms(epoch_ms: i64) -> Option<Self> {
        DateTime::from_timestamp_millis(epoch_ms).map(Self::of)
    }

    /// The calendar year.
    #[must_use]
    pub const fn year(self) -> i32 {
        self.year
    }

    /// 1 to 12.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.month
    }

    /// Its first instant, epoch ms; the last month of the calendar if it lies beyond.
    #[must_use]
    pub fn start_ms(self) -> i64 {
        let first = NaiveDate::from_ymd_opt(self.year, self.month, 1).unwrap_or(NaiveDate::MAX);
        first.and_time(NaiveTime::MIN).and_utc().timestamp_millis()
    }

    /// The first instant after it, epoch ms.
    #[must_use]
    pub fn end_ms(self) -> i64 {
        self.plus(1).start_ms()
    }

    /// So many months later. It counts months, so it does not matter that they differ in length.
    #[must_use]
    pub fn plus(self, months: u32) -> Self {
        self.moved(|first| first.checked_add_months(Months::new(months)))
    }

    /// So many months earlier.
    #[must_use]
    pub fn minus(self, months: u32) -> Self {
        self.moved(|first| first.checked_sub_months(Months::new(months)))
    }

    /// Months from `earlier` to this one; negative if it is the later one.
    #[must_use]
    pub fn since(self, earlier: Self) -> i64 {
        let months = |month: Self| i64::from(month.year) * 12 + i64::from(month.month);
        months(self) - months(earlier)
    }

    /// Stays where it is at the ends of the calendar.
    fn moved(self, by: impl FnOnce(NaiveDate) -> Option<NaiveDate>) -> Self {
        let moved = NaiveDate::from_ymd_opt(self.year, self.month, 1).and_then(by);
        moved.map_or(self, |date| Self {
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
        }

        #[test]
        fn counting_months_forth_and_back_ends_where_it_began(ms in 0_i64..4_102_444_800_000, count in 0_u32..1200) {
            let month = Month::of_ms(ms).unwrap();
            prop_assert_eq!(month.plus(count).minus(count), month);
            prop_assert_eq!(month.plus(count).since(month), i64::from(count));
        }
    }
}
