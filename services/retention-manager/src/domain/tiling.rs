//! Which parts of the time line no partition covers, cut at month starts.

use std::fmt;

use chrono::{DateTime, SecondsFormat};
use serde::Serialize;

use super::month::Month;

/// A half-open window `[lower, upper)` of epoch milliseconds, never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Span {
    /// The first millisecond inside.
    pub lower_ms: i64,
    /// The first millisecond after it.
    pub upper_ms: i64,
}

impl Span {
    /// `[lower, upper)`; `None` if it would be empty.
    #[must_use]
    pub const fn new(lower_ms: i64, upper_ms: i64) -> Option<Self> {
        if lower_ms < upper_ms {
            Some(Self { lower_ms, upper_ms })
        } else {
            None
        }
    }

    /// A whole month.
    #[must_use]
    pub fn of_month(month: Month) -> Self {
        Self {
            lower_ms: month.start_ms(),
            upper_ms: month.end_ms(),
        }
    }

    /// True for times inside.
    #[must_use]
    pub const fn contains_ms(self, epoch_ms: i64) -> bool {
        self.lower_ms <= epoch_ms && epoch_ms < self.upper_ms
    }

    /// What both cover.
    #[must_use]
    pub fn intersection(self, other: Self) -> Option<Self> {
        Self::new(
            self.lower_ms.max(other.lower_ms),
            self.upper_ms.min(other.upper_ms),
        )
    }
}

/// `[2024-01-01T00:00:00Z, 2024-02-01T00:00:00Z)`.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!(
            "[{}, {})",
            instant(self.lower_ms),
            instant(self.upper_ms)
        ))
    }
}

/// An epoch millisecond as people read it; the ends of the line by their SQL names.
#[must_use]
pub fn instant(epoch_ms: i64) -> String {
    match epoch_ms {
        i64::MIN => "MINVALUE".to_owned(),
        i64::MAX => "MAXVALUE".to_owned(),
        ms => DateTime::from_timestamp_millis(ms).map_or_else(
            || ms.to_string(),
            |instant| instant.to_rfc3339_opts(SecondsFormat::AutoSi, true),
        ),
    }
}

/// A partition to be: a part of one month.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Piece {
    /// What it covers.
    pub span: Span,
    /// The month it lies in.
    pub month: Month,
}

impl Piece {
    /// Whether it is the month as a whole.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.span == Span::of_month(self.month)
    }
}

/// `wanted` without `covered`, cut at month starts, in order. Empty parts of `covered` and parts in any order, also
/// overlapping ones, are fine.
#[must_use]
pub fn missing(wanted: Span, covered: &[Span]) -> Vec<Piece> {
    let mut sorted: Vec<Span> = covered
        .iter()
        .filter_map(|span| span.intersection(wanted))
        .collect();
    sorted.sort_unstable();
    let mut pieces = Vec::new();
    let mut from = wanted.lower_ms;
    for span in sorted {
        if let Some(gap) = Span::new(from, span.lower_ms) {
            pieces.extend(by_month(gap));
        }
        from = from.max(span.upper_ms);
    }
    if let Some(gap) = Span::new(from, wanted.upper_ms) {
        pieces.extend(by_month(gap));
    }
    pieces
}

/// `span`, cut at month starts.
fn by_month(span: Span) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut from = span.lower_ms;
    while from < span.upper_ms {
        let Some(month) = Month::of_ms(from) else { break };
        let upper_ms = month.end_ms().min(span.upper_ms);
        let Some(part) = Span::new(from, upper_ms) else {
            break;
        };
        pieces.push(Piece { span: part, month });
        from = upper_ms;
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HOUR: i64 = 3_600_000;

    fn ms(text: &str) -> i64 {
        text.parse::<DateTime<chrono::Utc>>().unwrap().timestamp_millis()
    }

    fn span(lower: &str, upper: &str) -> Span {
        Span::new(ms(lower), ms(upper)).unwrap()
    }

    #[test]
    fn the_documents_function_in_shanghai_leaves_eight_hours_at_each_seam() {
        // Its lower bounds shift with the session's time zone, its upper bounds do not.
        let made_in_shanghai = [
            span("2023-12-31T16:00:00Z", "2024-02-01T00:00:00Z"),
            span("2024-02-29T16:00:00Z", "2024-04-01T00:00:00Z"),
        ];
        let found = missing(
            span("2023-12-31T16:00:00Z", "2024-05-01T00:00:00Z"),
            &made_in_shanghai,
        );
        let spans: Vec<Span> = found.iter().map(|piece| piece.span).collect();
        assert_eq!(
            spans,
            [
                span("2024-02-01T00:00:00Z", "2024-02-29T16:00:00Z"),
                span("2024-04-01T00:00:00Z", "2024-05-01T00:00:00Z"),
            ]
        );
        assert!(!found[0].is_whole() && found[1].is_whole());
    }

    #[test]
    fn the_documents_function_in_new_york_leaves_five_hours_at_each_month_start() {
        let made_in_new_york = [
            span("2024-01-01T05:00:00Z", "2024-02-01T00:00:00Z"),
            span("2024-02-01T05:00:00Z", "2024-03-01T00:00:00Z"),
        ];
        let found = missing(
            span("2024-01-01T05:00:00Z", "2024-03-01T00:00:00Z"),
            &made_in_new_york,
        );
        assert_eq!(found.len(), 1);
        assert_eq!(
            found[0].span,
            span("2024-02-01T00:00:00Z", "2024-02-01T05:00:00Z")
        );
        assert_eq!(found[0].month.to_string(), "2024-02");
    }

    proptest! {
        /// Ruling 33: what exists and what is missing tile the line, without gap or overlap. The model counts every
        /// hour of the line.
        #[test]
        fn what_exists_and_what_is_missing_tile_the_line(
            start_day in 0_i64..20_000,
            length_hours in 1_i64..20_000,
            covered in proptest::collection::vec((-2_000_i64..22_000, 1_i64..3_000), 0..12),
        ) {
            let lower_ms = start_day * 24 * HOUR;
            let wanted = Span::new(lower_ms, lower_ms + length_hours * HOUR).unwrap();
            let covered: Vec<Span> = covered
                .iter()
                .map(|(from, hours)| Span::new(lower_ms + from * HOUR, lower_ms + (from + hours) * HOUR).unwrap())
                .collect();
            let pieces = missing(wanted, &covered);
            for hour in 0..length_hours {
                let at = lower_ms + hour * HOUR;
                let holds = |span: &Span| span.lower_ms <= at && at < span.upper_ms;
                let exists = covered.iter().any(holds);
                let made = pieces.iter().filter(|piece| holds(&piece.span)).count();
                prop_assert_eq!(made, usize::from(!exists), "hour {} of {:?}", hour, pieces);
            }
            for piece in &pieces {
                prop_assert!(piece.span.intersection(wanted) == Some(piece.span));
                prop_assert!(piece.span.intersection(Span::of_month(piece.month)) == Some(piece.span));
            }
            for pair in pieces.windows(2) {
                prop_assert!(pair[0].span.upper_ms <= pair[1].span.lower_ms);
            }
        }
    }
}
