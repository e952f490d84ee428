//! From a table's partitions to what is missing and what must be refused.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use eidos_types::{Month, TimeRange};

use super::tiling::{Piece, missing};

/// The smallest and largest bound that is taken for epoch milliseconds: 1973 to 5138. Seconds of our time lie below,
/// microseconds above.
const MILLISECONDS: std::ops::Range<i64> = 100_000_000_000..100_000_000_000_000;
const DAY_MS: i64 = 86_400_000;

/// An attached partition as the catalogue has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Covered {
    /// Its name.
    pub name: String,
    /// `None`: MINVALUE.
    pub lower_ms: Option<i64>,
    /// `None`: MAXVALUE.
    pub upper_ms: Option<i64>,
}

impl Covered {
    /// What it covers; `None` only for bounds no server gives out.
    #[must_use]
    pub fn span(&self) -> Option<TimeRange> {
        TimeRange::new(
            self.lower_ms.unwrap_or(i64::MIN),
            self.upper_ms.unwrap_or(i64::MAX),
        )
    }
}

/// A bound that cannot be epoch milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "partition {partition} has the bound {bound}, which {looks}; monthly partitions are kept on epoch milliseconds, \
     so nothing is created for this table: correct its key or its partitions, or take it out of \
     jobs.partition-manage.tables"
)]
pub struct WrongUnit {
    partition: String,
    bound: i64,
    looks: &'static str,
}

/// Refuses a table whose bounds are in another unit: milliseconds beside them would be 40,000 years off.
///
/// # Errors
/// The first such bound. 0 and the open ends are the same in every unit and pass.
pub fn check_unit(partitions: &[Covered]) -> Result<(), WrongUnit> {
    for partition in partitions {
        for bound in [partition.lower_ms, partition.upper_ms].into_iter().flatten() {
            let looks = match bound {
                0 => continue,
                ms if MILLISECONDS.contains(&ms) => continue,
                100_000_000..100_000_000_000 => "looks like seconds",
                100_000_000_000_000..100_000_000_000_000_000 => "looks like microseconds",
                100_000_000_000_000_000.. => "looks like nanoseconds",
                _ => "is no time of our era in any unit",
            };
            return Err(WrongUnit {
                partition: partition.name.clone(),
                bound,
                looks,
            });
        }
    }
    Ok(())
}

/// What the layout of a table follows from, besides its partitions: the slot and the settings, never its data and
/// never the current time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// The scheduled instant the run works for.
    pub slot: DateTime<Utc>,
    /// Whole months covered after the slot's.
    pub months_ahead: u32,
    /// The retention of the table: gaps that are older are left, or they would be created and dropped in turns.
    pub retention_months: Option<u32>,
    /// Rows of the default partition that are older than so many months before the slot are not drained.
    pub drain_months_back: u32,
}

impl Rules {
    /// The month of the slot.
    #[must_use]
    pub fn month(&self) -> Month {
        Month::of(self.slot)
    }

    /// The stretch of time that is to be covered: from the oldest existing bound, or the slot's month, to the end of
    /// the last month ahead.
    #[must_use]
    pub fn line(&self, partitions: &[Covered]) -> TimeRange {
        let now = self.month();
        let oldest = partitions
            .iter()
            .filter_map(|partition| partition.lower_ms.or(partition.upper_ms))
            .min();
        let from = oldest.map_or(now.start_ms(), |oldest| oldest.min(now.start_ms()));
        let kept_from = self
            .retention_months
            .map_or(i64::MIN, |months| now.minus(months).start_ms());
        TimeRange {
            lower_ms: from.max(kept_from).min(now.start_ms()),
            upper_ms: now.plus(self.months_ahead).end_ms(),
        }
    }

    /// Where rows of a default partition must lie to be drained. What lies outside is no time a row of ours can have,
    /// or was left behind long ago: a person decides.
    #[must_use]
    pub fn drainable(&self) -> TimeRange {
        let now = self.month();
        TimeRange {
            lower_ms: now.minus(self.drain_months_back).start_ms(),
            upper_ms: now.plus(self.months_ahead).end_ms(),
        }
    }

    /// What to create, the months that rows are about to arrive in first.
    #[must_use]
    pub fn wanted(&self, partitions: &[Covered], astray: &AstrayRows) -> Vec<Piece> {
        let line = self.line(partitions);
        let covered: Vec<TimeRange> = partitions.iter().filter_map(Covered::span).collect();
        let mut pieces = missing(line, &covered);
        // Rows older than the line: only their own months are made for them, never the months between.
        for month in astray.months.keys() {
            let before_line = TimeRange {
                lower_ms: i64::MIN,
                upper_ms: line.lower_ms,
            };
            if let Some(rest) = month.range().intersection(before_line) {
                pieces.extend(missing(rest, &covered));
            }
        }
        let now_ms = self.slot.timestamp_millis();
        pieces.sort_unstable_by_key(|piece| (piece.span.upper_ms <= now_ms, *piece));
        pieces
    }

    /// How many whole months after the slot's are covered without a gap.
    #[must_use]
    pub fn months_covered(&self, partitions: &[Covered]) -> u32 {
        let covered: Vec<TimeRange> = partitions.iter().filter_map(Covered::span).collect();
        let mut count = 0;
        while count < 1_200 {
            let month = self.month().plus(count + 1).range();
            if !missing(month, &covered).is_empty() {
                break;
            }
            count += 1;
        }
        count
    }
}

/// What lies in a default partition.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AstrayRows {
    /// Rows that can be drained, by month.
    pub months: BTreeMap<Month, u64>,
    /// Rows that cannot: outside of [`Rules::drainable`], or without a time.
    pub out_of_range: u64,
    /// The oldest and the newest time of those, epoch ms.
    pub range_ms: Option<(i64, i64)>,
}

impl AstrayRows {
    /// From the rows of each UTC day that has some (days since 1970, which months are made of).
    #[must_use]
    pub fn of_days(days: &[(i64, u64)]) -> Self {
        let mut months = BTreeMap::new();
        for (day, rows) in days {
            if let Some(month) = day.checked_mul(DAY_MS).and_then(Month::of_ms) {
                *months.entry(month).or_insert(0) += rows;
            }
        }
        Self {
            months,
            ..Self::default()
        }
    }

    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.months.values().sum::<u64>() + self.out_of_range
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn covered(name: &str, lower: &str, upper: &str) -> Covered {
        Covered {
            name: name.to_owned(),
            lower_ms: Some(at(lower).timestamp_millis()),
            upper_ms: Some(at(upper).timestamp_millis()),
        }
    }

    fn rules(slot: &str) -> Rules {
        Rules {
            slot: at(slot),
            months_ahead: 3,
            retention_months: None,
            drain_months_back: 36,
        }
    }

    fn names(pieces: &[Piece]) -> Vec<String> {
        pieces.iter().map(|piece| piece.month.to_string()).collect()
    }

    #[test]
    fn an_empty_table_gets_the_month_of_the_slot_and_those_ahead() {
        let wanted = rules("2024-01-31T23:59:59Z").wanted(&[], &AstrayRows::default());
        assert_eq!(names(&wanted), ["2024-01", "2024-02", "2024-03", "2024-04"]);
        assert!(wanted.iter().all(Piece::is_whole));
        let over_new_year = rules("2024-12-31T00:00:00Z").wanted(&[], &AstrayRows::default());
        assert_eq!(
            names(&over_new_year),
            ["2024-12", "2025-01", "2025-02", "2025-03"]
        );
    }

    #[test]
    fn gaps_back_to_the_oldest_partition_are_filled_after_the_months_ahead() {
        let partitions = [covered("p", "2023-10-01T00:00:00Z", "2023-11-01T00:00:00Z")];
        let wanted = rules("2024-01-15T00:00:00Z").wanted(&partitions, &AstrayRows::default());
        assert_eq!(
            names(&wanted),
            ["2024-01", "2024-02", "2024-03", "2024-04", "2023-11", "2023-12"]
        );
    }

    #[test]
    fn what_retention_has_dropped_is_not_created_again() {
        // A held partition of 2020 stays behind; the dropped years between are no gap.
        let partitions = [covered("held", "2020-05-01T00:00:00Z", "2020-06-01T00:00:00Z")];
        let rules = Rules {
            retention_months: Some(2),
            ..rules("2024-01-15T00:00:00Z")
        };
        let wanted = rules.wanted(&partitions, &AstrayRows::default());
        assert_eq!(
            names(&wanted),
            ["2024-01", "2024-02", "2024-03", "2024-04", "2023-11", "2023-12"]
        );
    }

    #[test]
    fn a_row_of_2097_creates_nothing_and_rows_of_an_old_month_create_that_month_only() {
        let rules = rules("2024-01-15T00:00:00Z");
        let none: Vec<Covered> = Vec::new();
        let day = |text: &str| at(text).timestamp() / 86_400;
        let astray = AstrayRows {
            out_of_range: 1,
            range_ms: Some((
                at("2097-05-05T00:00:00Z").timestamp_millis(),
                at("2097-05-05T00:00:00Z").timestamp_millis(),
            )),
            ..AstrayRows::of_days(&[(day("2023-05-31T00:00:00Z"), 7), (day("2023-05-01T00:00:00Z"), 2)])
        };
        assert_eq!(astray.total(), 10);
        let wanted = rules.wanted(&none, &astray);
        assert_eq!(
            names(&wanted),
            ["2024-01", "2024-02", "2024-03", "2024-04", "2023-05"]
        );
        assert!(
            !rules
                .drainable()
                .contains_ms(at("2097-05-05T00:00:00Z").timestamp_millis())
        );
        assert!(
            !rules
                .drainable()
                .contains_ms(at("1970-01-01T00:00:00Z").timestamp_millis())
        );
    }

    #[test]
    fn bounds_in_another_unit_are_refused_by_name() {
        let bound = |lower: i64| Covered {
            name: "eidos_x_2024_01".to_owned(),
            lower_ms: Some(lower),
            upper_ms: None,
        };
        for (lower, looks) in [
            (1_704_067_200, "seconds"),
            (1_704_067_200_000_000, "microseconds"),
            (1_704_067_200_000_000_000, "nanoseconds"),
            (202_401, "no time of our era"),
            (-5, "no time of our era"),
        ] {
            let refused = check_unit(&[bound(lower)]).unwrap_err().to_string();
            assert!(
                refused.contains("eidos_x_2024_01") && refused.contains(looks),
                "{refused}"
            );
        }
        for lower in [0, 1_704_067_200_000] {
            assert_eq!(check_unit(&[bound(lower)]), Ok(()));
        }
    }

    #[test]
    fn the_months_ahead_count_to_the_first_gap() {
        let partitions = [
            covered("a", "2024-01-01T00:00:00Z", "2024-03-01T00:00:00Z"),
            covered("c", "2024-04-01T00:00:00Z", "2024-05-01T00:00:00Z"),
        ];
        assert_eq!(rules("2024-01-31T23:00:00Z").months_covered(&partitions), 1);
        assert_eq!(rules("2024-02-01T00:00:00Z").months_covered(&partitions), 0);
        let open = [Covered {
            name: "all".to_owned(),
            lower_ms: None,
            upper_ms: None,
        }];
        assert_eq!(rules("2024-01-31T23:00:00Z").months_covered(&open), 1_200);
        assert_eq!(
            rules("2024-01-31T23:00:00Z").wanted(&open, &AstrayRows::default()),
            []
        );
    }

    proptest! {
        /// Whatever exists, after creating what is wanted the line is covered exactly once, and a second run wants
        /// nothing. Slots are any instants, month ends and leap days among them.
        #[test]
        fn a_second_run_wants_nothing(
            slot_ms in 946_684_800_000_i64..4_102_444_800_000,
            months_ahead in 0_u32..24,
            retention_months in proptest::option::of(1_u32..36),
            offsets in proptest::collection::vec((-50_i64..10, 1_i64..90, -12_i64..13), 0..8),
        ) {
            let slot = DateTime::from_timestamp_millis(slot_ms).unwrap();
            let rules = Rules { slot, months_ahead, retention_months, drain_months_back: 36 };
            // Partitions with bounds up to half a day off, as sessions in other time zones make them.
            let mut partitions: Vec<Covered> = offsets
                .iter()
                .enumerate()
                .map(|(index, (months, days, hours))| {
                    let month = if *months < 0 {
                        rules.month().minus(months.unsigned_abs().try_into().unwrap())
                    } else {
                        rules.month().plus((*months).try_into().unwrap())
                    };
                    let lower = month.start_ms() + hours * 3_600_000;
                    Covered {
                        name: format!("p{index}"),
                        lower_ms: Some(lower),
                        upper_ms: Some(lower + days * DAY_MS),
                    }
                })
                .collect();
            let line = rules.line(&partitions);
            let wanted = rules.wanted(&partitions, &AstrayRows::default());
            let made: i64 = wanted.iter().map(|piece| piece.span.upper_ms - piece.span.lower_ms).sum();
            partitions.extend(wanted.iter().enumerate().map(|(index, piece)| Covered {
                name: format!("new{index}"),
                lower_ms: Some(piece.span.lower_ms),
                upper_ms: Some(piece.span.upper_ms),
            }));
            prop_assert!(rules.wanted(&partitions, &AstrayRows::default()).is_empty());
            prop_assert!(made <= line.upper_ms - line.lower_ms);
            prop_assert!(rules.months_covered(&partitions) >= months_ahead);
            prop_assert!(line.lower_ms <= slot_ms && slot_ms < line.upper_ms);
        }
    }
}
