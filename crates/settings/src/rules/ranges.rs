//! Ranges, as every check of a section reports them.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::Problems;

pub(super) const MS: fn(u64) -> Duration = Duration::from_millis;
pub(super) const SECONDS: fn(u64) -> Duration = Duration::from_secs;
pub(super) const HOUR: u64 = 3600;

impl Problems {
    /// Reports a duration outside its range.
    pub fn duration(&mut self, key: &str, value: Duration, range: RangeInclusive<Duration>) {
        if !range.contains(&value) {
            let text = humantime::format_duration;
            let fix = format!("use {} to {}", text(*range.start()), text(*range.end()));
            self.add_value(key, text(value), "is out of range", fix);
        }
    }

    /// Reports a number outside its range.
    pub fn number(&mut self, key: &str, value: impl Into<u64>, range: RangeInclusive<u64>) {
        let value = value.into();
        if !range.contains(&value) {
            let fix = format!("use {} to {}", range.start(), range.end());
            self.add_value(key, value, "is out of range", fix);
        }
    }

    /// Reports a text without any character to see.
    pub fn not_blank(&mut self, key: &str, value: &str) {
        if value.trim().is_empty() {
            self.add(key, "is empty", "give it a value");
        }
    }
}
