//! [`Level`]: an interval that is built, and what it is built from.

use std::collections::BTreeMap;

use eidos_market::{Interval, WeekStart};

/// An interval that is built from a finer one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level {
    /// What is built.
    pub interval: Interval,
    /// What it is built from: candles of one minute, or an interval that is itself built.
    pub source: Interval,
}

impl Level {
    /// Returns how many source candles a whole window has.
    #[must_use]
    pub const fn expected(&self) -> u32 {
        self.source.per_window(self.interval)
    }
}

/// Returns the levels in the order in which they are built: a source is finer, so it comes first.
///
/// # Errors
/// What is wrong, each with its key.
pub fn levels(
    intervals: &BTreeMap<Interval, Interval>,
    week_start: WeekStart,
) -> Result<Vec<Level>, Vec<(String, String)>> {
    let mut wrong = Vec::new();
    if intervals.is_empty() {
        wrong.push(("intervals".to_owned(), "names no interval".to_owned()));
    }
    let mut levels = Vec::new();
    for (interval, source) in intervals {
        let level = Level {
            interval: interval.starting(week_start),
            source: source.starting(week_start),
        };
        let key = format!("intervals.{interval}");
        if !level.source.is_part_of(level.interval) {
            wrong.push((
                key,
                format!("windows of {interval} do not consist of whole {source}"),
            ));
        } else if *source != Interval::M1 && !intervals.contains_key(source) {
            wrong.push((key, format!("{source} is not built: it is not in the list")));
        } else {
            levels.push(level);
        }
    }
    if wrong.is_empty() { Ok(levels) } else { Err(wrong) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> Result<Vec<Level>, Vec<(String, String)>> {
        let intervals = pairs
            .iter()
            .map(|(interval, source)| (interval.parse().unwrap(), source.parse().unwrap()));
        levels(&intervals.collect(), WeekStart::EpochThursday)
    }

    #[test]
    fn a_level_comes_after_its_source_and_weeks_begin_where_they_are_set_to() {
        let levels = of(&[("1w", "1d"), ("1h", "1m"), ("1d", "1h"), ("12h", "1m")]).unwrap();
        let order: Vec<String> = levels.iter().map(|level| level.interval.to_string()).collect();
        assert_eq!(order, ["1h", "12h", "1d", "1w"]);
        assert_eq!(levels[3].interval.origin_ms(), 0);
        assert_eq!((levels[0].expected(), levels[3].expected()), (60, 7));
    }

    #[test]
    fn what_cannot_be_built_is_refused() {
        for pairs in [&[("4h", "6h")][..], &[("1w", "1d")], &[("1h", "1h")], &[]] {
            assert!(of(pairs).is_err(), "{pairs:?}");
        }
    }
}
