use std::time::Duration;

use chrono::{DateTime, TimeDelta, Timelike, Utc};
use eidos_settings::{CronError, CronLine};
use proptest::prelude::*;

fn line(text: &str) -> CronLine {
    text.parse().unwrap()
}

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

#[test]
fn ruling_1_five_and_six_fields_mean_what_the_requirement_means() {
    let from = at("2026-03-15T10:07:31.250Z");
    for (text, next, gap) in [
        ("0 0 * * * *", "2026-03-15T11:00:00Z", Duration::from_secs(3600)),
        ("*/2 * * * *", "2026-03-15T10:08:00Z", Duration::from_secs(120)),
        ("0 0 3 * * *", "2026-03-16T03:00:00Z", Duration::from_secs(86_400)),
        ("0 5 * * * *", "2026-03-15T11:05:00Z", Duration::from_secs(3600)),
        ("0 1 * * * *", "2026-03-15T11:01:00Z", Duration::from_secs(3600)),
        ("*/30 * * * * *", "2026-03-15T10:08:00Z", Duration::from_secs(30)),
        (
            "0 0 1 * *",
            "2026-04-01T00:00:00Z",
            Duration::from_secs(31 * 86_400),
        ),
        ("0 0 4 * * *", "2026-03-16T04:00:00Z", Duration::from_secs(86_400)),
    ] {
        assert_eq!(line(text).next_after(from), Some(at(next)), "{text}");
        assert_eq!(line(text).largest_gap(), gap, "{text}");
    }
}

#[test]
fn next_is_strictly_after_and_a_gap_sees_nights_and_weekends() {
    let hourly = line("0 0 * * * *");
    assert_eq!(
        hourly.next_after(at("2026-01-01T01:00:00Z")),
        Some(at("2026-01-01T02:00:00Z"))
    );
    assert!(hourly.matches(at("2026-01-01T01:00:00Z")));
    assert!(!hourly.matches(at("2026-01-01T01:00:01Z")));
    assert!(!hourly.matches(at("2026-01-01T01:00:00.001Z")));
    assert_eq!(
        hourly.previous_at_or_before(at("2026-01-01T01:59:59.9Z")),
        Some(at("2026-01-01T01:00:00Z"))
    );
    assert_eq!(
        hourly.previous_at_or_before(at("2026-01-01T01:00:00Z")),
        Some(at("2026-01-01T01:00:00Z"))
    );
    assert_eq!(
        line("*/10 * 9-17 * * 1-5").largest_gap(),
        Duration::from_secs(10 + 2 * 86_400 + 15 * 3600)
    );
    assert_eq!(
        line("0 0 29 2 *").largest_gap(),
        Duration::from_secs((3 * 365 + 366) * 86_400)
    );
}

#[test]
fn lines_that_never_fire_or_have_other_forms_are_refused() {
    assert_eq!("0 0 30 2 *".parse::<CronLine>(), Err(CronError::NeverFires));
    assert_eq!(
        "0 0 0 31 4,6,9,11 *".parse::<CronLine>(),
        Err(CronError::NeverFires)
    );
    for (text, fields) in [("", 0), ("@daily", 1), ("* * * *", 4), ("0 0 0 1 1 * 2030", 7)] {
        assert_eq!(text.parse::<CronLine>(), Err(CronError::Fields(fields)), "{text}");
    }
    for text in ["61 * * * *", "a b c d e", "*/0 * * * *", "0 0 25 * * *"] {
        assert!(
            matches!(text.parse::<CronLine>(), Err(CronError::Syntax(_))),
            "{text}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Against a walker that tries every second.
    #[test]
    fn next_is_the_first_second_a_naive_walker_finds(
        second in 0u32..60, minute_step in 1u32..30, hour in 0u32..24, start_ms in 0i64..4_000_000_000_000,
    ) {
        let cron = line(&format!("{second} */{minute_step} {hour},{} * * *", (hour + 7) % 24));
        let start = DateTime::from_timestamp_millis(start_ms).unwrap();
        let mut walk = start.with_nanosecond(0).unwrap() + TimeDelta::seconds(1);
        let due = |at: DateTime<Utc>| {
            at.second() == second && at.minute().is_multiple_of(minute_step) && [hour, (hour + 7) % 24].contains(&at.hour())
        };
        while !due(walk) {
            walk += TimeDelta::seconds(1);
        }
        prop_assert_eq!(cron.next_after(start), Some(walk));
        prop_assert!(cron.matches(walk));
    }
}
