//! Times as a person reads them.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat};

/// `3d`, `2h`, `45s`: the two largest units, whole seconds.
pub(super) fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let parts = [
        (seconds / 86_400, "d"),
        (seconds / 3_600 % 24, "h"),
        (seconds / 60 % 60, "m"),
        (seconds % 60, "s"),
    ];
    let from = parts.iter().position(|(count, _)| *count > 0).unwrap_or(3);
    let shown: Vec<String> = parts
        .iter()
        .skip(from)
        .take(2)
        .filter(|(count, _)| *count > 0 || seconds == 0)
        .map(|(count, unit)| format!("{count}{unit}"))
        .collect();
    shown.join(" ")
}

/// RFC 3339 in UTC.
pub(super) fn instant(epoch_s: i64) -> String {
    DateTime::from_timestamp(epoch_s, 0).map_or_else(
        || format!("second {epoch_s} of the epoch"),
        |time| time.to_rfc3339_opts(SecondsFormat::Secs, true),
    )
}

/// How long ago an instant was; zero if it is in the future.
pub(super) fn since(now_ms: i64, then_ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(now_ms.saturating_sub(then_ms)).unwrap_or_default())
}

/// A share in whole percent, rounded up, so that 80.1 % is above 80.
pub(super) fn percent(part: u64, whole: u64) -> u64 {
    let hundredfold = u128::from(part) * 100;
    u64::try_from(hundredfold.div_ceil(u128::from(whole.max(1)))).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_show_two_units_and_shares_are_rounded_up() {
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (3_661, "1h 1m"),
            (86_400 * 6 + 3_600 * 23, "6d 23h"),
            (86_400 * 30, "30d"),
        ] {
            assert_eq!(span(Duration::from_secs(seconds)), text);
        }
        assert_eq!(
            (percent(80, 100), percent(801, 1000), percent(5, 0)),
            (80, 81, 500)
        );
        assert_eq!(since(5, 9), Duration::ZERO);
    }
}
