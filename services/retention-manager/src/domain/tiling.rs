//! Which parts of the time line no partition covers, cut at month starts.

use eidos_types::{Month, TimeRange};

/// A partition to be: a part of one month.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Piece {
    /// What it covers.
    pub span: TimeRange,
    /// The month it lies in.
    pub month: Month,
}

impl Piece {
    /// Whether it is the month as a whole.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.span == self.month.range()
    }
}

/// `wanted` without `covered`, cut at month starts, in order. Empty parts of `covered` and parts in any order, also
/// overlapping ones, are fine.
#[must_use]
pub fn missing(wanted: TimeRange, covered: &[TimeRange]) -> Vec<Piece> {
    let mut sorted: Vec<TimeRange> = covered
        .iter()
        .filter_map(|span| span.intersection(wanted))
        .collect();
    sorted.sort_unstable();
    let mut pieces = Vec::new();
    let mut from = wanted.lower_ms;
    for span in sorted {
        if let Some(gap) = TimeRange::new(from, span.lower_ms) {
            pieces.extend(by_month(gap));
        }
        from = from.max(span.upper_ms);
    }
    if let Some(gap) = TimeRange::new(from, wanted.upper_ms) {
        pieces.extend(by_month(gap));
    }
    pieces
}

/// `span`, cut at month starts.
fn by_month(span: TimeRange) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut from = span.lower_ms;
    while from < span.upper_ms {
        let Some(month) = Month::of_ms(from) else { break };
        let upper_ms = month.end_ms().min(span.upper_ms);
        let Some(part) = TimeRange::new(from, upper_ms) else {
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
        text.parse::<chrono::DateTime<chrono::Utc>>()
            .unwrap()
            .timestamp_millis()
    }

    fn span(lower: &str, upper: &str) -> TimeRange {
        TimeRange::new(ms(lower), ms(upper)).unwrap()
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
        let spans: Vec<TimeRange> = found.iter().map(|piece| piece.span).collect();
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
            let wanted = TimeRange::new(lower_ms, lower_ms + length_hours * HOUR).unwrap();
            let covered: Vec<TimeRange> = covered
                .iter()
                .map(|(from, hours)| TimeRange::new(lower_ms + from * HOUR, lower_ms + (from + hours) * HOUR).unwrap())
                .collect();
            let pieces = missing(wanted, &covered);
            for hour in 0..length_hours {
                let at = lower_ms + hour * HOUR;
                let holds = |span: &TimeRange| span.lower_ms <= at && at < span.upper_ms;
                let exists = covered.iter().any(holds);
                let made = pieces.iter().filter(|piece| holds(&piece.span)).count();
                prop_assert_eq!(made, usize::from(!exists), "hour {} of {:?}", hour, pieces);
            }
            for piece in &pieces {
                prop_assert!(piece.span.intersection(wanted) == Some(piece.span));
                prop_assert!(piece.span.intersection(piece.month.range()) == Some(piece.span));
            }
            for pair in pieces.windows(2) {
                prop_assert!(pair[0].span.upper_ms <= pair[1].span.lower_ms);
            }
        }
    }
}
