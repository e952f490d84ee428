//! Ranges, as every check of a section reports them.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::Problems;

pub(super) const MS: fn(u64) -> Duration = Duration::from_millis;
pub(super) const SECONDS: fn(u64) -> Duration = Duration::from_secs;
pub(super) const HOUR: u64 = 3600;

/// Checks fields of a section against their ranges, each under its own name below a key. A row begins with the kind of its
/// value, `number` or `duration`.
///
/// ```
/// # use eidos_settings::{Problems, SchedulerSection, ranges};
/// # use std::time::Duration;
/// fn check(scheduler: &SchedulerSection, problems: &mut Problems) {
///     ranges!(problems, "scheduler", scheduler;
///         number catch_up_periods: 1..=1000;
///         duration poll_interval: Duration::from_millis(10)..=Duration::from_secs(15);
///     );
/// }
/// ```
#[macro_export]
macro_rules! ranges {
    ($problems:expr, $below:expr, $section:expr; $($check:ident $field:ident: $range:expr;)+) => {{
        let below = $below;
        $($problems.$check(&::std::format!("{below}.{}", ::std::stringify!($field)), $section.$field, $range);)+
    }};
}

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
