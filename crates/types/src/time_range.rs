//! [`TimeRange`]: a half-open range of time, and the one parser of ranges that people write.

use std::fmt;

use chrono::{DateTime, SecondsFormat};
use serde::Serialize;

use crate::{Instant, Month};

/// A half-open range `[lower, upper)` of epoch milliseconds. [`Self::new`] makes none that is empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct TimeRange {
    /// The first millisecond inside.
    pub lower_ms: i64,
    /// The first millisecond after it.
    pub upper_ms: i64,
}

impl TimeRange {
    /// Returns `[lower, upper)`. `None`: it would be empty.
    #[must_use]
    pub const fn new(lower_ms: i64, upper_ms: i64) -> Option<Self> {
        if lower_ms < upper_ms {
            Some(Self { lower_ms, upper_ms })
        } else {
            None
        }
    }

    /// Reads `FIRST..LAST` or one month: `2024-01..2024-03`, `2024-02`, or instants (RFC 3339 or epoch milliseconds).
    /// Months are whole, and the last one is inside; an instant in the place of the last is not inside.
    ///
    /// # Errors
    /// A sentence for the person who wrote it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (first, last) = text.split_once("..").unwrap_or((text, text));
        Self::new(edge(first.trim())?.lower_ms(), edge(last.trim())?.upper_ms())
            .ok_or_else(|| format!("'{text}' is empty: write the earlier end first"))
    }

    /// Reads the beginning of an open range: a month or an instant. Epoch ms.
    ///
    /// # Errors
    /// A sentence for the person who wrote it.
    pub fn parse_start(text: &str) -> Result<i64, String> {
        edge(text.trim()).map(|edge| edge.lower_ms())
    }

    /// Checks whether a time lies inside.
    #[must_use]
    pub const fn contains_ms(self, epoch_ms: i64) -> bool {
        self.lower_ms <= epoch_ms && epoch_ms < self.upper_ms
    }

    /// Checks whether both share a millisecond.
    #[must_use]
    pub const fn overlaps(self, other: Self) -> bool {
        self.lower_ms < other.upper_ms && other.lower_ms < self.upper_ms
    }

    /// Returns what both cover. `None`: nothing.
    #[must_use]
    pub fn intersection(self, other: Self) -> Option<Self> {
        Self::new(
            self.lower_ms.max(other.lower_ms),
            self.upper_ms.min(other.upper_ms),
        )
    }

    /// Returns its length in milliseconds; `i64::MAX` for a range that is open at an end.
    #[must_use]
    pub const fn length_ms(self) -> i64 {
        self.upper_ms.saturating_sub(self.lower_ms)
    }
}

/// `[2024-01-01T00:00:00Z, 2024-02-01T00:00:00Z)`; the ends of the line by their SQL names.
impl fmt::Display for TimeRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = |epoch_ms| match epoch_ms {
            i64::MIN => "MINVALUE".to_owned(),
            i64::MAX => "MAXVALUE".to_owned(),
            ms => rfc3339(ms),
        };
        f.pad(&format!("[{}, {})", end(self.lower_ms), end(self.upper_ms)))
    }
}

/// Returns an epoch millisecond as RFC 3339 in UTC; as the number itself where it is beyond the calendar.
#[must_use]
pub fn rfc3339(epoch_ms: i64) -> String {
    DateTime::from_timestamp_millis(epoch_ms).map_or_else(
        || epoch_ms.to_string(),
        |instant| instant.to_rfc3339_opts(SecondsFormat::AutoSi, true),
    )
}

enum Edge {
    Month(Month),
    Instant(i64),
}

impl Edge {
    fn lower_ms(&self) -> i64 {
        match self {
            Self::Month(month) => month.start_ms(),
            Self::Instant(ms) => *ms,
        }
    }

    fn upper_ms(&self) -> i64 {
        match self {
            Self::Month(month) => month.end_ms(),
            Self::Instant(ms) => *ms,
        }
    }
}

/// A month, or whatever [`Instant`] reads. A month outside its window is refused like an instant outside of it.
fn edge(text: &str) -> Result<Edge, String> {
    let bytes = text.as_bytes();
    let is_month = bytes.len() == "2024-01".len() && bytes.get(4) == Some(&b'-');
    if is_month {
        let first = format!("{text}-01T00:00:00Z");
        let instant: Instant = first
            .parse()
            .map_err(|error| format!("'{text}' is no month: {error}"))?;
        return Month::of_ms(instant.ms())
            .map(Edge::Month)
            .ok_or_else(|| format!("'{text}' is no month"));
    }
    text.parse()
        .map(|instant: Instant| Edge::Instant(instant.ms()))
        .map_err(|error| format!("'{text}' is neither a month (2024-01) nor an instant: {error}"))
}

#[cfg(test)]
mod tests {
    use chrono::Utc;
    use proptest::prelude::*;

    use super::*;

    fn ms(text: &str) -> i64 {
        text.parse::<DateTime<Utc>>().unwrap().timestamp_millis()
    }

    #[test]
    fn months_are_whole_and_the_last_is_inside() {
        let range = TimeRange::parse("2024-01..2024-03").unwrap();
        assert_eq!(
            (range.lower_ms, range.upper_ms),
            (ms("2024-01-01T00:00:00Z"), ms("2024-04-01T00:00:00Z"))
        );
        let leap = TimeRange::parse("2024-02").unwrap();
        assert_eq!(leap.length_ms(), 29 * 86_400_000);
        let exact = TimeRange::parse("2024-01-15T00:00:00+08:00..2024-01-16T00:00:00Z").unwrap();
        assert_eq!(exact.lower_ms, ms("2024-01-14T16:00:00Z"));
        assert_eq!(TimeRange::parse("1705248000000..2024-01-16T00:00:00Z"), Ok(exact));
        let range = |lower_ms, upper_ms| TimeRange::new(lower_ms, upper_ms).unwrap();
        assert!(exact.overlaps(range(ms("2024-01-15T23:00:00Z"), ms("2024-02-01T00:00:00Z"))));
        assert!(!exact.overlaps(range(exact.upper_ms, exact.upper_ms + 1)));
    }

    #[test]
    fn what_is_no_range_is_refused_in_words() {
        for (text, says) in [
            ("", "neither a month"),
            ("2024", "neither a month"),
            ("2024-13", "is no month"),
            ("1924-01", "years 2000 to 2199"),
            (
                "1705276800..1705363200",
                "read as seconds it is 2024-01-15T00:00:00Z",
            ),
            ("2024-1", "neither a month"),
            ("2024-03..2024-01", "earlier end first"),
            ("2024-01-15T00:00:00Z..2024-01-15T00:00:00Z", "earlier end first"),
        ] {
            let said = TimeRange::parse(text).unwrap_err();
            assert!(said.contains(says), "{text}: {said}");
        }
    }

    #[test]
    fn a_start_is_a_month_or_an_instant() {
        assert_eq!(TimeRange::parse_start("2024-02"), Ok(ms("2024-02-01T00:00:00Z")));
        assert_eq!(
            TimeRange::parse_start("2024-02-10T08:00:00+08:00"),
            Ok(ms("2024-02-10T00:00:00Z"))
        );
        assert!(TimeRange::parse_start("2024-01..2024-02").is_err());
    }

    #[test]
    fn ranges_are_half_open_and_never_empty() {
        let range = TimeRange::new(3, 5).unwrap();
        assert!(range.contains_ms(3) && range.contains_ms(4) && !range.contains_ms(5));
        assert_eq!(TimeRange::new(3, 3), None);
        assert_eq!(TimeRange::new(4, 3), None);
        let line = TimeRange::new(i64::MIN, i64::MAX).unwrap();
        assert_eq!(line.to_string(), "[MINVALUE, MAXVALUE)");
        assert_eq!(line.length_ms(), i64::MAX);
    }

    proptest! {
        /// The naive model of a range is the set of its milliseconds.
        #[test]
        fn ranges_are_sets_of_milliseconds(a in 0_i64..20, b in 0_i64..20, c in 0_i64..20, d in 0_i64..20) {
            let set = |lower: i64, upper: i64| (lower..upper).collect::<std::collections::BTreeSet<i64>>();
            prop_assert_eq!(TimeRange::new(a, b).is_none(), set(a, b).is_empty());
            if let (Some(one), Some(other)) = (TimeRange::new(a, b), TimeRange::new(c, d)) {
                let both: Vec<i64> = set(a, b).intersection(&set(c, d)).copied().collect();
                prop_assert_eq!(one.overlaps(other), !both.is_empty());
                let shared: Vec<i64> = one.intersection(other).into_iter().flat_map(|r| r.lower_ms..r.upper_ms).collect();
                prop_assert_eq!(shared, both);
                for ms in 0..20 {
                    prop_assert_eq!(one.contains_ms(ms), set(a, b).contains(&ms));
                }
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,40}") {
            if let Ok(range) = TimeRange::parse(&text) {
                prop_assert!(range.lower_ms < range.upper_ms);
            }
        }
    }
}
