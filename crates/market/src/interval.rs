//! [`Interval`]: how long a candle lasts, and where its windows begin.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

const MINUTE_MS: i64 = 60_000;
const DAY_MINUTES: u32 = 1_440;
const WEEK_MINUTES: u32 = 7 * DAY_MINUTES;
/// Monday, 5 January 1970, 00:00 UTC. The epoch itself was a Thursday (ruling 39).
const FIRST_MONDAY_MS: i64 = 4 * 86_400_000;

/// The day on which weeks begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WeekStart {
    /// Monday 00:00 UTC.
    #[default]
    Monday,
    /// Thursday 00:00 UTC, which is what rounding down epoch time gives.
    EpochThursday,
}

/// How long one candle lasts: whole minutes that divide a day, or a week. Windows are aligned in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Interval {
    minutes: u32,
    week: WeekStart,
}

/// The text names no interval.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not a candle interval; {fix}")]
pub struct IntervalError {
    text: String,
    fix: String,
}

impl Interval {
    /// One minute.
    pub const M1: Self = Self::of(1);
    /// Five minutes.
    pub const M5: Self = Self::of(5);
    /// A quarter of an hour.
    pub const M15: Self = Self::of(15);
    /// Half an hour.
    pub const M30: Self = Self::of(30);
    /// One hour.
    pub const H1: Self = Self::of(60);
    /// Four hours, from 00, 04, 08, ... UTC.
    pub const H4: Self = Self::of(240);
    /// A day in UTC.
    pub const D1: Self = Self::of(DAY_MINUTES);
    /// A week, from Monday unless [`Interval::starting`] says otherwise.
    pub const W1: Self = Self::of(WEEK_MINUTES);
    /// Those of the requirement, finest first.
    pub const STANDARD: [Self; 8] = [
        Self::M1,
        Self::M5,
        Self::M15,
        Self::M30,
        Self::H1,
        Self::H4,
        Self::D1,
        Self::W1,
    ];

    const fn of(minutes: u32) -> Self {
        Self {
            minutes,
            week: WeekStart::Monday,
        }
    }

    /// Returns the same interval with weeks that begin on this day. Only a week changes.
    #[must_use]
    pub const fn starting(self, week: WeekStart) -> Self {
        if self.is_week() {
            return Self { week, ..self };
        }
        self
    }

    /// Checks whether this is a week.
    #[must_use]
    pub const fn is_week(self) -> bool {
        self.minutes == WEEK_MINUTES
    }

    /// Returns its length in milliseconds.
    #[must_use]
    pub const fn width_ms(self) -> i64 {
        self.minutes as i64 * MINUTE_MS
    }

    /// Returns an instant (epoch ms) at which one of its windows begins.
    #[must_use]
    pub const fn origin_ms(self) -> i64 {
        match self.week {
            WeekStart::Monday if self.is_week() => FIRST_MONDAY_MS,
            WeekStart::Monday | WeekStart::EpochThursday => 0,
        }
    }

    /// Returns the beginning of the window that has this instant (epoch ms).
    #[must_use]
    pub const fn floor_ms(self, epoch_ms: i64) -> i64 {
        epoch_ms - (epoch_ms - self.origin_ms()).rem_euclid(self.width_ms())
    }

    /// Returns the beginning of the first window that begins at this instant (epoch ms) or later.
    #[must_use]
    pub const fn ceil_ms(self, epoch_ms: i64) -> i64 {
        let floor = self.floor_ms(epoch_ms);
        if floor == epoch_ms {
            return floor;
        }
        floor + self.width_ms()
    }

    /// Checks whether each window of `coarser` consists of whole windows of this one, more than one of them.
    #[must_use]
    pub const fn is_part_of(self, coarser: Self) -> bool {
        let (fine, coarse) = (self.width_ms(), coarser.width_ms());
        fine < coarse && coarse % fine == 0 && (coarser.origin_ms() - self.origin_ms()) % fine == 0
    }

    /// Returns how many of its candles one window of `coarser` has at most.
    #[must_use]
    pub const fn per_window(self, coarser: Self) -> u32 {
        let count = coarser.minutes / self.minutes;
        if count == 0 { 1 } else { count }
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self.minutes {
            WEEK_MINUTES => "1w".to_owned(),
            DAY_MINUTES => "1d".to_owned(),
            minutes if minutes % 60 == 0 => format!("{}h", minutes / 60),
            minutes => format!("{minutes}m"),
        };
        f.pad(&text)
    }
}

impl FromStr for Interval {
    type Err = IntervalError;

    fn from_str(text: &str) -> Result<Self, IntervalError> {
        let refuse = |fix: String| IntervalError {
            text: text.chars().take(20).collect(),
            fix,
        };
        let usual = || {
            refuse(
                "use 1m, 5m, 15m, 30m, 1h, 4h, 1d, 1w, or other minutes or hours that divide a day"
                    .to_owned(),
            )
        };
        let (number, unit) = match text.char_indices().next_back() {
            Some((at, unit)) if text.is_ascii() => (text.get(..at).unwrap_or_default(), unit),
            _ => return Err(usual()),
        };
        let number: u32 = number.parse().map_err(|_not_a_number| usual())?;
        let factor = match unit {
            'm' => 1,
            'h' => 60,
            'd' => DAY_MINUTES,
            'w' => WEEK_MINUTES,
            _ => return Err(usual()),
        };
        let minutes = number.checked_mul(factor).ok_or_else(usual)?;
        if minutes == 0 || (minutes != WEEK_MINUTES && !DAY_MINUTES.is_multiple_of(minutes)) {
            return Err(usual());
        }
        let interval = Self::of(minutes);
        // Candles are stored under this text: one interval must not have two.
        if interval.to_string() == text {
            Ok(interval)
        } else {
            Err(refuse(format!("write {interval}")))
        }
    }
}

impl Serialize for Interval {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Interval {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Datelike, Utc, Weekday};
    use proptest::prelude::*;

    use super::*;

    fn ms(text: &str) -> i64 {
        text.parse::<DateTime<Utc>>().unwrap().timestamp_millis()
    }

    #[test]
    fn ruling_39_weeks_begin_on_monday_and_four_hours_at_midnight() {
        let week = Interval::W1.floor_ms(ms("2024-02-29T12:00:00Z"));
        assert_eq!(week, ms("2024-02-26T00:00:00Z"));
        assert_eq!(Interval::W1.floor_ms(ms("2024-03-03T23:59:59.999Z")), week);
        let next = ms("2024-03-04T00:00:00Z");
        assert_eq!(
            (Interval::W1.floor_ms(next), Interval::W1.ceil_ms(next)),
            (next, next)
        );
        assert_eq!(Interval::W1.ceil_ms(next - 1), next);
        let four = Interval::H4.floor_ms(ms("2024-03-31T03:30:00Z"));
        assert_eq!(four, ms("2024-03-31T00:00:00Z"));
        // Before 1970 as well: floor, not towards zero.
        assert_eq!(Interval::H1.floor_ms(-1), -3_600_000);
        let monday = DateTime::from_timestamp_millis(FIRST_MONDAY_MS).unwrap();
        assert_eq!(monday.weekday(), Weekday::Mon);
    }

    #[test]
    fn a_week_may_begin_on_the_epoch_s_thursday_and_nothing_else_changes() {
        let thursday = Interval::W1.starting(WeekStart::EpochThursday);
        let start = DateTime::from_timestamp_millis(thursday.floor_ms(ms("2024-02-29T12:00:00Z"))).unwrap();
        assert_eq!(start.weekday(), Weekday::Thu);
        assert_eq!(thursday.to_string(), "1w");
        assert_eq!(Interval::D1.starting(WeekStart::EpochThursday), Interval::D1);
    }

    #[test]
    fn one_interval_has_one_text() {
        for interval in Interval::STANDARD {
            assert_eq!(interval.to_string().parse(), Ok(interval));
        }
        assert_eq!("12h".parse::<Interval>().unwrap().width_ms(), 12 * 3_600_000);
        for (text, fix) in [
            ("60m", "write 1h"),
            ("24h", "write 1d"),
            ("7d", "write 1w"),
            ("01m", "write 1m"),
        ] {
            let refused = text.parse::<Interval>().unwrap_err().to_string();
            assert!(refused.ends_with(fix), "{refused}");
        }
        for text in [
            "",
            "m",
            "0m",
            "7m",
            "2d",
            "2w",
            "1M",
            "1 h",
            "-1h",
            "9999999999h",
            "１m",
        ] {
            assert!(text.parse::<Interval>().is_err(), "{text}");
        }
    }

    #[test]
    fn whole_windows_are_parts() {
        assert!(Interval::D1.is_part_of(Interval::W1));
        assert!(!Interval::W1.is_part_of(Interval::D1));
        assert!(!Interval::H1.is_part_of(Interval::H1));
        assert!(!Interval::H4.is_part_of("6h".parse().unwrap()));
        assert_eq!(Interval::M1.per_window(Interval::H1), 60);
        assert_eq!(Interval::D1.per_window(Interval::W1), 7);
    }

    proptest! {
        #[test]
        fn each_instant_is_in_the_window_it_is_floored_to(
            at in -4_000_000_000_000_i64..4_000_000_000_000, which in 0_usize..8, thursday: bool,
        ) {
            let week = if thursday { WeekStart::EpochThursday } else { WeekStart::Monday };
            let interval = Interval::STANDARD[which].starting(week);
            let floor = interval.floor_ms(at);
            prop_assert!(floor <= at && at < floor + interval.width_ms());
            prop_assert_eq!((floor - interval.origin_ms()) % interval.width_ms(), 0);
            let ceil = interval.ceil_ms(at);
            prop_assert!(at <= ceil && ceil < at + interval.width_ms());
            prop_assert_eq!(interval.floor_ms(ceil), ceil);
        }
    }
}
