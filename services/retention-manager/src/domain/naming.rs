//! Names of partitions: for people. What a partition covers is read from the catalogue, never from its name.

use chrono::{DateTime, Datelike, Timelike};
use sha2::{Digest, Sha256};

use super::tiling::Piece;

/// What PostgreSQL keeps of a name; it cuts longer ones with no more than a notice.
pub const MAX_BYTES: usize = 63;

/// The names a piece may take, the preferred one first: `<table>_2024_01` for a whole month, and
/// `<table>_2024_01_31t160000` (where it begins) for a part of one or where the first is taken by a sibling.
#[must_use]
pub fn names(table: &str, piece: &Piece) -> Vec<String> {
    let month = piece.month.partition("");
    let mut names = Vec::new();
    if piece.is_whole() {
        names.push(fitted(table, &month));
    }
    let begins = DateTime::from_timestamp_millis(piece.span.lower_ms).unwrap_or_default();
    let millis = match begins.timestamp_subsec_millis() {
        0 => String::new(),
        millis => format!("{millis:03}"),
    };
    let suffix = format!(
        "{month}_{:02}t{:02}{:02}{:02}{millis}",
        begins.day(),
        begins.hour(),
        begins.minute(),
        begins.second()
    );
    names.push(fitted(table, &suffix));
    names
}

/// The table's name with the suffix; where both do not fit, the start of the name with a digest of all of it, so
/// that two long names with the same start stay apart.
fn fitted(table: &str, suffix: &str) -> String {
    if table.len() + suffix.len() <= MAX_BYTES {
        return format!("{table}{suffix}");
    }
    let digest = hex::encode(Sha256::digest(table.as_bytes()));
    let digest = digest.get(..8).unwrap_or(&digest);
    let room = MAX_BYTES.saturating_sub(suffix.len() + digest.len() + 1);
    let mut start = String::new();
    for letter in table.chars() {
        if start.len() + letter.len_utf8() > room {
            break;
        }
        start.push(letter);
    }
    format!("{start}_{digest}{suffix}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use eidos_types::{Month, TimeRange};
    use proptest::prelude::*;

    fn piece(lower: &str, upper: &str) -> Piece {
        let ms = |text: &str| text.parse::<DateTime<chrono::Utc>>().unwrap().timestamp_millis();
        Piece {
            span: TimeRange::new(ms(lower), ms(upper)).unwrap(),
            month: Month::of_ms(ms(lower)).unwrap(),
        }
    }

    #[test]
    fn a_part_of_a_month_is_not_named_like_the_month() {
        let whole = piece("2024-01-01T00:00:00Z", "2024-02-01T00:00:00Z");
        assert_eq!(
            names("eidos_chain_events", &whole),
            [
                "eidos_chain_events_2024_01",
                "eidos_chain_events_2024_01_01t000000"
            ]
        );
        let part = piece("2024-01-31T16:00:00.007Z", "2024-02-01T00:00:00Z");
        assert_eq!(names("t", &part), ["t_2024_01_31t160000007"]);
    }

    #[test]
    fn long_names_are_never_cut_silently() {
        let month = piece("2024-01-01T00:00:00Z", "2024-02-01T00:00:00Z");
        let long = |end: &str| format!("{}{end}", "x".repeat(60));
        let (one, other) = (names(&long("_a"), &month), names(&long("_b"), &month));
        assert_ne!(one[0], other[0], "both begin with the same 60 letters");
        assert!(one[0].ends_with("_2024_01"));
        assert_eq!(one[0].len(), MAX_BYTES);
    }

    proptest! {
        #[test]
        fn every_name_fits_and_tells_pieces_apart(
            table in "[a-z_][a-z0-9_é]{0,80}",
            start in 0_i64..4_000_000_000_000,
            lengths in proptest::collection::vec(1_i64..3_000_000_000, 1..6),
        ) {
            let mut from = start;
            let mut seen = std::collections::BTreeSet::new();
            for length in lengths {
                for piece in crate::domain::tiling::missing(TimeRange::new(from, from + length).unwrap(), &[]) {
                    let names = names(&table, &piece);
                    for name in &names {
                        prop_assert!(name.len() <= MAX_BYTES);
                    }
                    prop_assert!(seen.insert(names.last().unwrap().clone()));
                }
                from += length;
            }
        }
    }
}
