//! Candles: intervals, which coarser one proves a finer one, and which stretch of time may be looked at next.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, NaiveTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;
/// Monday, 5 January 1970, 00:00 UTC: weeks are counted from here. The epoch itself was a Thursday (ruling 39).
const FIRST_MONDAY_MS: i64 = 4 * DAY_MS;

/// How long one candle lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Interval {
    /// One minute.
    #[serde(rename = "1m")]
    M1,
    /// Five minutes.
    #[serde(rename = "5m")]
    M5,
    /// A quarter of an hour.
    #[serde(rename = "15m")]
    M15,
    /// Half an hour.
    #[serde(rename = "30m")]
    M30,
    /// One hour.
    #[serde(rename = "1h")]
    H1,
    /// Four hours, from 00, 04, 08, ... UTC.
    #[serde(rename = "4h")]
    H4,
    /// A day in UTC.
    #[serde(rename = "1d")]
    D1,
    /// A week from Monday 00:00 UTC.
    #[serde(rename = "1w")]
    W1,
}

/// The text names no interval.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a candle interval; use 1m, 5m, 15m, 30m, 1h, 4h, 1d or 1w")]
pub struct IntervalError(String);

impl Interval {
    /// All, finest first.
    pub const ALL: [Self; 8] = [
        Self::M1,
        Self::M5,
        Self::M15,
        Self::M30,
        Self::H1,
        Self::H4,
        Self::D1,
        Self::W1,
    ];

    /// As it is written in the column `interval`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::M1 => "1m",
            Self::M5 => "5m",
            Self::M15 => "15m",
            Self::M30 => "30m",
            Self::H1 => "1h",
            Self::H4 => "4h",
            Self::D1 => "1d",
            Self::W1 => "1w",
        }
    }

    /// Its length in milliseconds.
    #[must_use]
    pub const fn width_ms(self) -> i64 {
        match self {
            Self::M1 => MINUTE_MS,
            Self::M5 => 5 * MINUTE_MS,
            Self::M15 => 15 * MINUTE_MS,
            Self::M30 => 30 * MINUTE_MS,
            Self::H1 => HOUR_MS,
            Self::H4 => 4 * HOUR_MS,
            Self::D1 => DAY_MS,
            Self::W1 => 7 * DAY_MS,
        }
    }

    /// An instant (epoch ms) at which one of its windows begins.
    #[must_use]
    pub const fn origin_ms(self) -> i64 {
        match self {
            Self::W1 => FIRST_MONDAY_MS,
            _ => 0,
        }
    }

    /// The beginning of the window an instant (epoch ms) lies in.
    #[must_use]
    pub const fn floor_ms(self, epoch_ms: i64) -> i64 {
        epoch_ms - (epoch_ms - self.origin_ms()).rem_euclid(self.width_ms())
    }

    /// What proves it unless the settings say otherwise: an hour its minutes, four hours the hour, a day the four
    /// hours. Nothing proves days and weeks by itself.
    #[must_use]
    pub const fn default_prover(self) -> Option<Self> {
        match self {
            Self::M1 | Self::M5 | Self::M15 | Self::M30 => Some(Self::H1),
            Self::H1 => Some(Self::H4),
            Self::H4 => Some(Self::D1),
            Self::D1 | Self::W1 => None,
        }
    }

    /// Whether each window of `coarser` is made of whole windows of this one, more than one of them.
    #[must_use]
    pub const fn is_part_of(self, coarser: Self) -> bool {
        let (fine, coarse) = (self.width_ms(), coarser.width_ms());
        fine < coarse && coarse % fine == 0 && coarser.origin_ms() % fine == 0
    }

    /// How many of its candles one window of `coarser` has at most.
    #[must_use]
    pub fn per_window(self, coarser: Self) -> u32 {
        u32::try_from(coarser.width_ms() / self.width_ms())
            .unwrap_or(1)
            .max(1)
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Interval {
    type Err = IntervalError;

    fn from_str(text: &str) -> Result<Self, IntervalError> {
        let found = Self::ALL.into_iter().find(|interval| interval.as_str() == text);
        found.ok_or_else(|| IntervalError(text.chars().take(20).collect()))
    }
}

/// Candles that ended before this instant (epoch ms) have outlived so many whole days at `slot`: the start of the
/// slot's day in UTC, that many days back. `None` for 0 days: they are kept for ever.
#[must_use]
pub fn cutoff_ms(slot: DateTime<Utc>, days: u32) -> Option<i64> {
    if days == 0 {
        return None;
    }
    let today = slot.date_naive().and_time(NaiveTime::MIN).and_utc();
    today
        .checked_sub_signed(TimeDelta::days(i64::from(days)))
        .map(|cutoff| cutoff.timestamp_millis())
}

/// The next whole windows of `prover` that may be looked at together: from the one `from_ms` lies in, at most
/// `at_most` of them, all ending by `until_ms`, none touching a held range (`[from, to)`, epoch ms; a side that is
/// `None` is open). `None` if there is nothing left.
#[must_use]
pub fn next_stretch(
    prover: Interval,
    from_ms: i64,
    until_ms: i64,
    at_most: u32,
    held: &[(Option<i64>, Option<i64>)],
) -> Option<(i64, i64)> {
    let width = prover.width_ms();
    let mut lower = prover.floor_ms(from_ms);
    loop {
        let first_end = lower.checked_add(width)?;
        if first_end > until_ms {
            return None;
        }
        let in_the_way = held
            .iter()
            .find(|(from, to)| from.is_none_or(|from| from < first_end) && to.is_none_or(|to| lower < to));
        match in_the_way {
            None => break,
            Some((_, None)) => return None,
            Some((_, Some(to))) => {
                let window = prover.floor_ms(*to);
                lower = if window == *to { window } else { window + width };
            }
        }
    }
    let wanted = lower.saturating_add(width.saturating_mul(i64::from(at_most.max(1))));
    let mut upper = prover.floor_ms(wanted.min(until_ms));
    for (from, _) in held {
        if let Some(from) = from
            && (lower..upper).contains(from)
        {
            upper = prover.floor_ms(*from);
        }
    }
    Some((lower, upper))
}

#[cfg(test)]
mod tests {
    use chrono::{Datelike, Weekday};
    use proptest::prelude::*;

    use super::*;

    fn ms(text: &str) -> i64 {
        text.parse::<DateTime<Utc>>().unwrap().timestamp_millis()
    }

    #[test]
    fn weeks_begin_on_monday_and_four_hours_at_midnight() {
        let week = Interval::W1.floor_ms(ms("2024-02-29T12:00:00Z"));
        assert_eq!(week, ms("2024-02-26T00:00:00Z"));
        assert_eq!(Interval::W1.floor_ms(ms("2024-03-03T23:59:59.999Z")), week);
        assert_eq!(
            Interval::W1.floor_ms(ms("2024-03-04T00:00:00Z")),
            ms("2024-03-04T00:00:00Z")
        );
        assert_eq!(
            Interval::H4.floor_ms(ms("2024-03-31T03:30:00Z")),
            ms("2024-03-31T00:00:00Z")
        );
        // Before 1970 as well: floor, not towards zero.
        assert_eq!(Interval::H1.floor_ms(-1), -3_600_000);
        assert_eq!(
            DateTime::from_timestamp_millis(FIRST_MONDAY_MS)
                .unwrap()
                .weekday(),
            Weekday::Mon
        );
    }

    #[test]
    fn each_interval_is_proved_by_what_it_is_part_of() {
        for interval in Interval::ALL {
            if let Some(prover) = interval.default_prover() {
                assert!(interval.is_part_of(prover), "{interval} by {prover}");
            }
            assert!(!interval.is_part_of(interval));
            assert_eq!(interval.as_str().parse(), Ok(interval));
        }
        assert!(Interval::D1.is_part_of(Interval::W1));
        assert!(!Interval::W1.is_part_of(Interval::D1));
        assert_eq!(Interval::M1.per_window(Interval::H1), 60);
        assert_eq!(Interval::D1.per_window(Interval::W1), 7);
        assert!("1M".parse::<Interval>().is_err());
    }

    #[test]
    fn days_are_counted_from_midnight_and_zero_keeps_for_ever() {
        let slot = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        assert_eq!(
            cutoff_ms(slot("2024-03-01T04:00:00Z"), 7),
            Some(ms("2024-02-23T00:00:00Z"))
        );
        assert_eq!(
            cutoff_ms(slot("2024-03-01T00:00:00Z"), 1),
            Some(ms("2024-02-29T00:00:00Z"))
        );
        assert_eq!(
            cutoff_ms(slot("2024-02-29T23:59:59.999Z"), 365),
            Some(ms("2023-03-01T00:00:00Z"))
        );
        assert_eq!(cutoff_ms(slot("2024-03-01T04:00:00Z"), 0), None);
    }

    #[test]
    fn a_held_range_is_stepped_over() {
        let hour = |n: i64| n * HOUR_MS;
        let held = [(Some(hour(2) + 1), Some(hour(3) + 1))];
        let next = |from| next_stretch(Interval::H1, from, hour(10), 100, &held);
        assert_eq!(next(hour(0)), Some((hour(0), hour(2))));
        assert_eq!(next(hour(2)), Some((hour(4), hour(10))));
        assert_eq!(next(hour(10)), None);
        assert_eq!(
            next_stretch(Interval::H1, 0, hour(10), 100, &[(None, None)]),
            None
        );
        assert_eq!(
            next_stretch(Interval::H1, 0, hour(10), 3, &[(Some(hour(5)), None)]),
            Some((0, hour(3)))
        );
    }

    proptest! {
        /// The naive model looks at every window from the first one on.
        #[test]
        fn stretches_together_are_the_windows_that_no_hold_touches(
            from in 0_i64..400, until in 0_i64..400, at_most in 1_u32..9,
            held in proptest::collection::vec((proptest::option::of(0_i64..400), proptest::option::of(0_i64..400)), 0..4),
        ) {
            let tick = 900_000;
            let prover = Interval::H1;
            let held: Vec<_> = held
                .into_iter()
                .filter(|(from, to)| from.zip(*to).is_none_or(|(from, to)| from < to))
                .map(|(from, to)| (from.map(|from| from * tick), to.map(|to| to * tick)))
                .collect();
            let (from, until) = (from * tick, until * tick);
            let mut expected = Vec::new();
            let mut window = prover.floor_ms(from);
            while window + prover.width_ms() <= until {
                let end = window + prover.width_ms();
                if !held.iter().any(|(a, b)| a.unwrap_or(i64::MIN) < end && window < b.unwrap_or(i64::MAX)) {
                    expected.push(window);
                }
                window = end;
            }
            let mut seen = Vec::new();
            let mut next = from;
            while let Some((lower, upper)) = next_stretch(prover, next, until, at_most, &held) {
                prop_assert!(lower < upper && upper - lower <= i64::from(at_most) * prover.width_ms());
                let mut window = lower;
                while window < upper {
                    seen.push(window);
                    window += prover.width_ms();
                }
                next = upper;
            }
            prop_assert_eq!(seen, expected);
        }
    }
}
