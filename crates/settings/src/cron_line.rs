//! [`CronLine`]: five fields (minute first) or six (second first), in UTC (ruling 1).

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// When a job is due. Parsed once, always in UTC, and known to fire.
#[derive(Clone)]
pub struct CronLine {
    text: String,
    cron: Cron,
    largest_gap: Duration,
}

/// The text is not a cron line this suite accepts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CronError {
    /// Not 5 or 6 fields.
    #[error(
        "has {0} fields; write 5 (minute hour day month weekday) or 6 (second first), such as \"*/2 * * * *\""
    )]
    Fields(usize),
    /// A field is wrong.
    #[error("is not a cron line: {0}")]
    Syntax(String),
    /// No date matches, such as 30 February.
    #[error("never fires: no date matches its day and month fields")]
    NeverFires,
}

impl CronLine {
    /// The line as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The first due instant strictly after `instant`; `None` beyond the calendar's range.
    pub fn next_after(&self, instant: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.cron.find_next_occurrence(&instant, false).ok()
    }

    /// The last due instant at or before `instant`.
    pub fn previous_at_or_before(&self, instant: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let whole_second = DateTime::from_timestamp(instant.timestamp(), 0)?;
        self.cron.find_previous_occurrence(&whole_second, true).ok()
    }

    /// True if `instant` is due (to the second).
    pub fn matches(&self, instant: DateTime<Utc>) -> bool {
        instant.timestamp_subsec_nanos() == 0 && self.cron.is_time_matching(&instant).unwrap_or(false)
    }

    /// The longest time between two consecutive due instants, sampled over the ten years after 2000 or the
    /// first 400 instants, whichever ends first, and over every midnight of two months: what "missed two periods" is measured with.
    pub const fn largest_gap(&self) -> Duration {
        self.largest_gap
    }
}

/// How many consecutive instants [`CronLine::largest_gap`] looks at.
const GAP_SAMPLES: usize = 400;

/// The sample starts a little before a midnight, a month's end and a leap day, so that the daily, monthly and
/// four-yearly seams of frequent lines lie inside it.
const GAP_SAMPLE_START: DateTime<Utc> = match DateTime::from_timestamp(951_695_999, 0) {
    Some(instant) => instant, // 2000-02-27T23:59:59Z
    None => DateTime::UNIX_EPOCH,
};

fn largest_gap(cron: &Cron) -> Result<Duration, CronError> {
    let mut from = cron
        .find_next_occurrence(&GAP_SAMPLE_START, false)
        .map_err(|error| never_or_syntax(&error))?;
    let end = GAP_SAMPLE_START + TimeDelta::days(3660);
    let mut largest = Duration::ZERO;
    for _ in 0..GAP_SAMPLES {
        let Ok(next) = cron.find_next_occurrence(&from, false) else {
            break;
        };
        largest = largest.max((next - from).to_std().unwrap_or_default());
        if next > end {
            break;
        }
        from = next;
    }
    // Lines with a rest at night, at the weekend or most of the year: look over the seams of days and months too.
    let mut day = GAP_SAMPLE_START;
    for _ in 0..62 {
        let before = cron.find_previous_occurrence(&day, true);
        let after = cron.find_next_occurrence(&day, false);
        if let (Ok(before), Ok(after)) = (before, after) {
            largest = largest.max((after - before).to_std().unwrap_or_default());
        }
        day += TimeDelta::days(1);
    }
    Ok(largest)
}

fn never_or_syntax(error: &croner::errors::CronError) -> CronError {
    match error {
        croner::errors::CronError::TimeSearchLimitExceeded => CronError::NeverFires,
        other => CronError::Syntax(other.to_string()),
    }
}

impl FromStr for CronLine {
    type Err = CronError;

    fn from_str(text: &str) -> Result<Self, CronError> {
        let fields = text.split_whitespace().count();
        // `@daily` and its kin are one field: spelled-out lines only, so that a slot can be read off the line.
        if !matches!(fields, 5 | 6) {
            return Err(CronError::Fields(fields));
        }
        let parser = CronParser::builder()
            .seconds(Seconds::Optional)
            .year(Year::Disallowed)
            .build();
        let cron = parser.parse(text).map_err(|error| never_or_syntax(&error))?;
        let largest_gap = largest_gap(&cron)?;
        Ok(Self {
            text: text.trim().to_owned(),
            cron,
            largest_gap,
        })
    }
}

impl PartialEq for CronLine {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}
impl Eq for CronLine {}

impl fmt::Display for CronLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl fmt::Debug for CronLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

impl Serialize for CronLine {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for CronLine {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}
