//! Which stretch of time a person means: `2024-01..2024-03`, `2024-02`, or instants (RFC 3339 or epoch milliseconds).

use eidos_types::Instant;

use super::cutoff::Month;

/// A half-open range of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeRange {
    /// First instant inside, epoch ms.
    pub from_ms: i64,
    /// First instant after it, epoch ms.
    pub to_ms: i64,
}

impl TimeRange {
    /// Reads `FIRST..LAST` or one month. Months are whole, and the last one is inside; an instant in the place of the
    /// last is not inside.
    ///
    /// # Errors
    /// A sentence for the person who wrote it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (first, last) = text.split_once("..").unwrap_or((text, text));
        let range = Self {
            from_ms: edge(first.trim())?.lower_ms(),
            to_ms: edge(last.trim())?.upper_ms(),
        };
        if range.from_ms < range.to_ms {
            Ok(range)
        } else {
            Err(format!("'{text}' is empty: write the earlier end first"))
        }
    }

    /// Reads the beginning of an open range: a month or an instant. Epoch ms.
    ///
    /// # Errors
    /// A sentence for the person who wrote it.
    pub fn parse_start(text: &str) -> Result<i64, String> {
        edge(text.trim()).map(|edge| edge.lower_ms())
    }

    /// Whether it shares an instant with [`lower`, `upper`).
    #[must_use]
    pub const fn overlaps(&self, lower_ms: i64, upper_ms: i64) -> bool {
        self.from_ms < upper_ms && lower_ms < self.to_ms
    }
}

enum Edge {
    Month(Month),
    Instant(i64),
}

impl Edge {
    const fn lower_ms(&self) -> i64 {
        match self {
            Self::Month(month) => month.lower_ms,
            Self::Instant(ms) => *ms,
        }
    }

    const fn upper_ms(&self) -> i64 {
        match self {
            Self::Month(month) => month.upper_ms,
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
    use chrono::{DateTime, Utc};
    use proptest::prelude::*;

    use super::*;

    fn ms(text: &str) -> i64 {
        text.parse::<DateTime<Utc>>().unwrap().timestamp_millis()
    }

    #[test]
    fn months_are_whole_and_the_last_is_inside() {
        let range = TimeRange::parse("2024-01..2024-03").unwrap();
        assert_eq!(
            (range.from_ms, range.to_ms),
            (ms("2024-01-01T00:00:00Z"), ms("2024-04-01T00:00:00Z"))
        );
        let leap = TimeRange::parse("2024-02").unwrap();
        assert_eq!(leap.to_ms - leap.from_ms, 29 * 86_400_000);
        let exact = TimeRange::parse("2024-01-15T00:00:00+08:00..2024-01-16T00:00:00Z").unwrap();
        assert_eq!(exact.from_ms, ms("2024-01-14T16:00:00Z"));
        assert_eq!(TimeRange::parse("1705248000000..2024-01-16T00:00:00Z"), Ok(exact));
        assert!(exact.overlaps(ms("2024-01-15T23:00:00Z"), ms("2024-02-01T00:00:00Z")));
        assert!(!exact.overlaps(exact.to_ms, exact.to_ms + 1));
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

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,40}") {
            if let Ok(range) = TimeRange::parse(&text) {
                prop_assert!(range.from_ms < range.to_ms);
            }
        }
    }
}
