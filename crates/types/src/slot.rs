//! Scheduled instants, and the ranges of them that a claim wins.

use std::fmt;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

/// A scheduled instant: what a run works for, whenever it actually starts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Slot(DateTime<Utc>);

impl Slot {
    /// The slot at `instant`, cut to whole milliseconds (the precision of the `BIGINT` columns).
    #[must_use]
    pub fn at(instant: DateTime<Utc>) -> Self {
        let ms = instant.timestamp_millis();
        Self(DateTime::from_timestamp_millis(ms).unwrap_or(instant))
    }

    /// From epoch milliseconds; `None` beyond the calendar's range.
    #[must_use]
    pub fn from_ms(epoch_ms: i64) -> Option<Self> {
        DateTime::from_timestamp_millis(epoch_ms).map(Self)
    }

    /// The instant.
    #[must_use]
    pub const fn instant(self) -> DateTime<Utc> {
        self.0
    }

    /// Epoch milliseconds.
    #[must_use]
    pub const fn ms(self) -> i64 {
        self.0.timestamp_millis()
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0.to_rfc3339_opts(SecondsFormat::AutoSi, true))
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The slots a claim won: everything after `after` (or only `upto`, if there was no earlier claim) up to and
/// including `upto`. Longer than one slot when runs were missed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct SlotRange {
    /// The slot claimed before this claim, not part of the range.
    pub after: Option<Slot>,
    /// The claimed slot, part of the range.
    pub upto: Slot,
}

impl SlotRange {
    /// True if `slot` lies in the range.
    #[must_use]
    pub fn contains(&self, slot: Slot) -> bool {
        match self.after {
            Some(after) => after < slot && slot <= self.upto,
            None => slot == self.upto,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn a_claimed_range_excludes_the_previous_slot() {
        let (old, new) = (
            Slot::at(at("2026-01-01T00:00:00Z")),
            Slot::at(at("2026-01-01T03:00:00Z")),
        );
        let range = SlotRange {
            after: Some(old),
            upto: new,
        };
        assert!(!range.contains(old));
        assert!(range.contains(Slot::at(at("2026-01-01T02:00:00Z"))));
        assert!(range.contains(new));
        let first = SlotRange {
            after: None,
            upto: new,
        };
        assert!(!first.contains(Slot::at(at("2026-01-01T02:00:00Z"))));
    }
}
