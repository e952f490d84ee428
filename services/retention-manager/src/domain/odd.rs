//! Partitions that are not calendar months in UTC: made by hand, by a session in another time zone, or in pieces.

use eidos_types::{Month, TimeRange};
use serde::{Deserialize, Serialize};

use super::layout::Covered;

/// A partition that is not a calendar month in UTC. It works; the gaps beside it are filled; its rows are kept and
/// dropped with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Odd {
    /// Its name.
    pub partition: String,
    /// What is odd about it, in a sentence.
    pub what: String,
}

/// Partitions whose bounds are not the start and the end of one month, and those that overlap.
#[must_use]
pub fn odd(partitions: &[Covered]) -> Vec<Odd> {
    let mut sorted: Vec<(TimeRange, &str)> = partitions
        .iter()
        .filter_map(|partition| Some((partition.span()?, partition.name.as_str())))
        .collect();
    sorted.sort_unstable();
    let mut found = Vec::new();
    let mut furthest: Option<(TimeRange, &str)> = None;
    for (span, name) in sorted {
        if let Some(what) = oddity(span) {
            found.push(Odd {
                partition: name.to_owned(),
                what,
            });
        }
        if let Some((other, other_name)) = furthest
            && let Some(both) = span.intersection(other)
        {
            found.push(Odd {
                partition: name.to_owned(),
                what: format!("overlaps {other_name} by {both}"),
            });
        }
        if furthest.is_none_or(|(other, _)| other.upper_ms < span.upper_ms) {
            furthest = Some((span, name));
        }
    }
    found
}

fn oddity(span: TimeRange) -> Option<String> {
    let begins = Month::of_ms(span.lower_ms);
    let whole = begins.is_some_and(|month| month.range() == span);
    if whole {
        return None;
    }
    let at_start = |ms: i64| Month::of_ms(ms).is_some_and(|month| month.start_ms() == ms);
    let what = match (at_start(span.lower_ms), at_start(span.upper_ms)) {
        (true, true) => "covers more than one month",
        (true, false) => "ends inside a month",
        (false, true) => "begins inside a month",
        (false, false) => "begins and ends inside a month",
    };
    Some(format!("{what}: {span}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covered(name: &str, lower: &str, upper: &str) -> Covered {
        let ms = |text: &str| {
            text.parse::<chrono::DateTime<chrono::Utc>>()
                .unwrap()
                .timestamp_millis()
        };
        Covered {
            name: name.to_owned(),
            lower_ms: Some(ms(lower)),
            upper_ms: Some(ms(upper)),
        }
    }

    #[test]
    fn odd_and_overlapping_partitions_are_named() {
        let partitions = [
            covered("shanghai", "2023-12-31T16:00:00Z", "2024-02-01T00:00:00Z"),
            covered("fine", "2024-02-01T00:00:00Z", "2024-03-01T00:00:00Z"),
            covered("quarter", "2024-03-01T00:00:00Z", "2024-06-01T00:00:00Z"),
            covered("late", "2024-05-31T16:00:00Z", "2024-07-01T00:00:00Z"),
        ];
        let found: Vec<String> = odd(&partitions)
            .iter()
            .map(|odd| format!("{} {}", odd.partition, odd.what))
            .collect();
        assert_eq!(
            found,
            [
                "shanghai begins inside a month: [2023-12-31T16:00:00Z, 2024-02-01T00:00:00Z)",
                "quarter covers more than one month: [2024-03-01T00:00:00Z, 2024-06-01T00:00:00Z)",
                "late begins inside a month: [2024-05-31T16:00:00Z, 2024-07-01T00:00:00Z)",
                "late overlaps quarter by [2024-05-31T16:00:00Z, 2024-06-01T00:00:00Z)",
            ]
        );
    }
}
