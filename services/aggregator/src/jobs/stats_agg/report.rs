//! What a run added up and wrote.

use std::fmt::Write;

use eidos_types::Slot;
use serde::{Deserialize, Serialize};

/// The report of a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// Whether nothing was written.
    pub dry_run: bool,
    /// Beginning of the first hour that was added up, epoch ms.
    pub from_ms: i64,
    /// End of the last one, epoch ms.
    pub until_ms: i64,
    /// Hours that were added up, those of the look-back included.
    pub hours: u64,
    /// Days that were written.
    pub days: u64,
    /// Rows that were inserted or changed.
    pub written: u64,
    /// Rows of the trading service that were not counted, because their numbers cannot be true.
    pub refused: u64,
    /// Hours without a total in the quote currency.
    pub unpriced: Vec<Unpriced>,
    /// Whether the run's time was over before all was done. The next run continues.
    pub to_be_continued: bool,
}

/// An hour without a total in the quote currency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unpriced {
    /// Its beginning, epoch ms.
    pub hour_ms: i64,
    /// Tokens without a price, and markets that are not in the table of markets.
    pub names: Vec<String>,
}

impl Report {
    pub(super) const fn new(dry_run: bool, from_ms: i64) -> Self {
        Self {
            dry_run,
            from_ms,
            until_ms: from_ms,
            hours: 0,
            days: 0,
            written: 0,
            refused: 0,
            unpriced: Vec::new(),
            to_be_continued: false,
        }
    }

    pub(super) fn render(&self) -> String {
        let mut text = format!(
            "{} hours from {} to {} and {} days: {} rows written, {} rows refused",
            self.hours,
            instant(self.from_ms),
            instant(self.until_ms),
            self.days,
            self.written,
            self.refused
        );
        for hour in &self.unpriced {
            let _ = write!(
                text,
                "\n{}: no total, no price of {}",
                instant(hour.hour_ms),
                hour.names.join(", ")
            );
        }
        if self.dry_run {
            text.push_str("\nDry run: nothing was written.");
        }
        if self.to_be_continued {
            text.push_str("\nThe run's time was over; the next run continues.");
        }
        text
    }
}

fn instant(epoch_ms: i64) -> String {
    Slot::from_ms(epoch_ms).map_or_else(
        || epoch_ms.to_string(),
        |slot| slot.instant().format("%Y-%m-%d %H:%M").to_string(),
    )
}
