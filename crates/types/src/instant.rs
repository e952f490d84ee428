//! [`Instant`]: a moment that a person or a program sends us. The only parser of such moments.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use crate::Slot;

/// 2000-01-01T00:00:00Z, epoch ms: the first instant that is believed.
const FIRST_MS: i64 = 946_684_800_000;
/// 2200-01-01T00:00:00Z, epoch ms: the first instant that is not believed any more.
const END_MS: i64 = 7_258_118_400_000;

/// A plausible moment: from 2000 to 2199, in UTC, with millisecond precision.
///
/// Read from RFC 3339 (`2026-01-31T08:00:00Z`, any offset) or from epoch milliseconds, as a number or as its digits. What
/// falls outside the window is refused with the reading that was made of it: seconds, micro- and nanoseconds are far
/// outside and are recognised by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(i64);

/// Why a text or number is no [`Instant`]: what it was, how it was read, and how to write it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InstantError(String);

impl Instant {
    /// From epoch milliseconds.
    ///
    /// # Errors
    /// [`InstantError`] outside 2000 to 2199, with the unit that was probably meant.
    pub fn from_ms(epoch_ms: i64) -> Result<Self, InstantError> {
        if (FIRST_MS..END_MS).contains(&epoch_ms) {
            return Ok(Self(epoch_ms));
        }
        let read = shown(Some(epoch_ms));
        let meant = meant_instead(epoch_ms).map_or_else(
            || "write RFC 3339, such as 2026-01-31T08:00:00Z, or epoch milliseconds".to_owned(),
            |(unit, ms)| {
                let text = shown(Some(ms));
                format!("read as {unit} it is {text}: if that is meant, write {text} or {ms}")
            },
        );
        Err(InstantError(format!(
            "{epoch_ms} is {read} when read as epoch milliseconds, which is not in the years 2000 to 2199; {meant}"
        )))
    }

    /// From a moment that has a type already.
    ///
    /// # Errors
    /// As [`Self::from_ms`].
    pub fn from_utc(instant: DateTime<Utc>) -> Result<Self, InstantError> {
        let ms = instant.timestamp_millis();
        if (FIRST_MS..END_MS).contains(&ms) {
            return Ok(Self(ms));
        }
        Err(InstantError(format!(
            "{} is not in the years 2000 to 2199; correct the year",
            shown(Some(ms))
        )))
    }

    /// Epoch milliseconds.
    #[must_use]
    pub const fn ms(self) -> i64 {
        self.0
    }

    /// The same moment as a date and time.
    #[must_use]
    pub fn utc(self) -> DateTime<Utc> {
        // The window is far inside what the type holds.
        DateTime::from_timestamp_millis(self.0).unwrap_or_default()
    }

    /// The same moment as a scheduled instant.
    #[must_use]
    pub fn slot(self) -> Slot {
        Slot::at(self.utc())
    }
}

/// The unit that gives a plausible moment, and that moment in epoch ms.
fn meant_instead(number: i64) -> Option<(&'static str, i64)> {
    let readings = [
        ("seconds", number.checked_mul(1_000)),
        ("microseconds", Some(number / 1_000)),
        ("nanoseconds", Some(number / 1_000_000)),
    ];
    readings
        .into_iter()
        .filter_map(|(unit, ms)| Some((unit, ms?)))
        .find(|(_, ms)| (FIRST_MS..END_MS).contains(ms))
}

/// The moment as RFC 3339.
fn shown(epoch_ms: Option<i64>) -> String {
    epoch_ms
        .and_then(DateTime::<Utc>::from_timestamp_millis)
        .map_or_else(
            || "beyond all calendars".to_owned(),
            |at| at.to_rfc3339_opts(SecondsFormat::AutoSi, true),
        )
}

impl FromStr for Instant {
    type Err = InstantError;

    fn from_str(text: &str) -> Result<Self, InstantError> {
        let text = text.trim();
        let digits = text.strip_prefix('-').unwrap_or(text);
        if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
            let number = text.parse().map_err(|_too_long| {
                InstantError(format!(
                    "'{}' has too many digits for epoch milliseconds; write RFC 3339, such as 2026-01-31T08:00:00Z",
                    cut(text)
                ))
            })?;
            return Self::from_ms(number);
        }
        let instant = DateTime::parse_from_rfc3339(text).map_err(|error| {
            InstantError(format!(
                "'{}' is neither RFC 3339 ({error}) nor epoch milliseconds; write it with date, time and offset, such as \
                 2026-01-31T08:00:00Z",
                cut(text)
            ))
        })?;
        Self::from_utc(instant.to_utc())
    }
}

/// The text as far as a message should repeat it.
fn cut(text: &str) -> String {
    text.chars().take(80).collect()
}

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&shown(Some(self.0)))
    }
}

impl Serialize for Instant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Instant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reading;

        impl Visitor<'_> for Reading {
            type Value = Instant;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an instant: RFC 3339 such as 2026-01-31T08:00:00Z, or epoch milliseconds")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Instant, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Instant, E> {
                Instant::from_ms(number).map_err(E::custom)
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Instant, E> {
                match i64::try_from(number) {
                    Ok(number) => self.visit_i64(number),
                    Err(_too_large) => self.visit_str(&number.to_string()),
                }
            }
        }

        deserializer.deserialize_any(Reading)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const AT_MS: i64 = 1_769_846_400_000;

    #[test]
    fn rfc_3339_and_epoch_milliseconds_name_the_same_moment() {
        for text in [
            "2026-01-31T08:00:00Z",
            "2026-01-31T16:00:00+08:00",
            "2026-01-31 08:00:00Z",
            "1769846400000",
            " 1769846400000 ",
        ] {
            assert_eq!(text.parse::<Instant>().map(Instant::ms), Ok(AT_MS), "{text}");
        }
        let read: Vec<Instant> =
            serde_json::from_str(r#"[1769846400000, "2026-01-31T08:00:00Z", "1769846400000"]"#).unwrap();
        assert!(read.iter().all(|instant| instant.ms() == AT_MS));
        assert_eq!(
            serde_json::to_string(&read[0]).unwrap(),
            r#""2026-01-31T08:00:00Z""#
        );
    }

    /// Issue 8, 22: seconds were taken for milliseconds and covered January 1970.
    #[test]
    fn another_unit_is_refused_with_the_reading_that_was_made_and_the_one_that_was_meant() {
        for (number, read_as, unit) in [
            (1_769_846_400, "1970-01-21T11:37:26.400Z", "seconds"),
            (1_769_846_400_000_000, "58054-", "microseconds"),
            (1_769_846_400_000_000_000, "beyond all calendars", "nanoseconds"),
        ] {
            let said = Instant::from_ms(number).unwrap_err().to_string();
            for part in [read_as, unit, "2026-01-31T08:00:00Z", "1769846400000"] {
                assert!(said.contains(part), "{number}: {part} in {said}");
            }
        }
        assert!(
            Instant::from_ms(0)
                .unwrap_err()
                .to_string()
                .contains("1970-01-01T00:00:00Z")
        );
        assert!(Instant::from_ms(i64::MIN).is_err());
    }

    #[test]
    fn the_window_is_the_years_2000_to_2199_whatever_the_form() {
        for (text, is_in) in [
            ("2000-01-01T00:00:00Z", true),
            ("1999-12-31T23:59:59.999Z", false),
            ("2199-12-31T23:59:59.999Z", true),
            ("2200-01-01T00:00:00Z", false),
            ("0026-01-31T08:00:00Z", false),
        ] {
            assert_eq!(text.parse::<Instant>().is_ok(), is_in, "{text}");
        }
    }

    #[test]
    fn what_is_no_moment_is_refused_in_words() {
        for text in [
            "",
            "noon",
            "2026-01-31",
            "2026-01-31T08:00:00",
            "2026-02-30T00:00:00Z",
            "17698464000001769846400000",
        ] {
            let said = text.parse::<Instant>().unwrap_err().to_string();
            assert!(said.contains("RFC 3339"), "{text}: {said}");
        }
        for json in ["1769846400000.5", "true", "[1]", "18446744073709551615"] {
            assert!(serde_json::from_str::<Instant>(json).is_err(), "{json}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,40}", number in any::<i64>()) {
            let _read_or_refused = text.parse::<Instant>();
            if let Ok(instant) = Instant::from_ms(number) {
                prop_assert_eq!(instant.to_string().parse::<Instant>(), Ok(instant));
            }
        }
    }
}
