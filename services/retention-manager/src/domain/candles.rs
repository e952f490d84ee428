//! Candles: which coarser interval proves a finer one, and which stretch of time may be looked at next.

use chrono::{DateTime, NaiveTime, TimeDelta, Utc};
use eidos_market::Interval;

/// Returns what proves an interval unless the settings say otherwise: an hour its minutes, four hours the hour, a day the
/// four hours. `None`: nothing proves days and weeks by itself.
#[must_use]
pub fn default_prover(interval: Interval) -> Option<Interval> {
    if interval < Interval::H1 {
        Some(Interval::H1)
    } else if interval < Interval::H4 {
        Some(Interval::H4)
    } else if interval < Interval::D1 {
        Some(Interval::D1)
    } else {
        None
    }
}

/// Candles that ended before this instant (epoch ms) have outlived so many whole days at `slot`: the start of the
/// slot's day in UTC, that many days back. `None` for 0 days: they are kept for ever.
#[must_use]
pub fn cutoff_ms(slot: DateTime<Utc>, days: u32) -> Option<i64> {
    if days == 0 {
        return None;
    }
    let today = slot.date_naive().and_time(NaiveTime::MIN).and_utc();
    today
        .checked_sub_signed(TimeDelta::days(i64::from(days)))
        .map(|cutoff| cutoff.timestamp_millis())
}

/// The next whole windows of `prover` that may be looked at together: from the one `from_ms` lies in, at most
/// `at_most` of them, all ending by `until_ms`, none touching a held range (`[from, to)`, epoch ms; a side that is
/// `None` is open). `None` if there is nothing left.
#[must_use]
pub fn next_stretch(
    prover: Interval,
    from_ms: i64,
    until_ms: i64,
    at_most: u32,
    held: &[(Option<i64>, Option<i64>)],
) -> Option<(i64, i64)> {
    let width = prover.width_ms();
    let mut lower = prover.floor_ms(from_ms);
    loop {
        let first_end = lower.checked_add(width)?;
        if first_end > until_ms {
            return None;
        }
        let in_the_way = held
            .iter()
            .find(|(from, to)| from.is_none_or(|from| from < first_end) && to.is_none_or(|to| lower < to));
        match in_the_way {
            None => break,
            Some((_, None)) => return None,
            Some((_, Some(to))) => {
                let window = prover.floor_ms(*to);
                lower = if window == *to { window } else { window + width };
            }
        }
    }
    let wanted = lower.saturating_add(width.saturating_mul(i64::from(at_most.max(1))));
    let mut upper = prover.floor_ms(wanted.min(until_ms));
    for (from, _) in held {
        if let Some(from) = from
            && (lower..upper).contains(from)
        {
            upper = prover.floor_ms(*from);
        }
    }
    Some((lower, upper))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ms(text: &str) -> i64 {
        text.parse::<DateTime<Utc>>().unwrap().timestamp_millis()
    }

    #[test]
    fn each_interval_is_proved_by_what_it_is_part_of() {
        for interval in Interval::STANDARD {
            if let Some(prover) = default_prover(interval) {
                assert!(interval.is_part_of(prover), "{interval} by {prover}");
            }
        }
        assert_eq!(default_prover(Interval::D1), None);
    }

    #[test]
    fn days_are_counted_from_midnight_and_zero_keeps_for_ever() {
        let slot = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        assert_eq!(
            cutoff_ms(slot("2024-03-01T04:00:00Z"), 7),
            Some(ms("2024-02-23T00:00:00Z"))
        );
        assert_eq!(
            cutoff_ms(slot("2024-03-01T00:00:00Z"), 1),
            Some(ms("2024-02-29T00:00:00Z"))
        );
        assert_eq!(
            cutoff_ms(slot("2024-02-29T23:59:59.999Z"), 365),
            Some(ms("2023-03-01T00:00:00Z"))
        );
        assert_eq!(cutoff_ms(slot("2024-03-01T04:00:00Z"), 0), None);
    }

    #[test]
    fn a_held_range_is_stepped_over() {
        let hour = |n: i64| n * Interval::H1.width_ms();
        let held = [(Some(hour(2) + 1), Some(hour(3) + 1))];
        let next = |from| next_stretch(Interval::H1, from, hour(10), 100, &held);
        assert_eq!(next(hour(0)), Some((hour(0), hour(2))));
        assert_eq!(next(hour(2)), Some((hour(4), hour(10))));
        assert_eq!(next(hour(10)), None);
        assert_eq!(
            next_stretch(Interval::H1, 0, hour(10), 100, &[(None, None)]),
            None
        );
        assert_eq!(
            next_stretch(Interval::H1, 0, hour(10), 3, &[(Some(hour(5)), None)]),
            Some((0, hour(3)))
        );
    }

    proptest! {
        /// The naive model looks at every window from the first one on.
        #[test]
        fn stretches_together_are_the_windows_that_no_hold_touches(
            from in 0_i64..400, until in 0_i64..400, at_most in 1_u32..9,
            held in proptest::collection::vec((proptest::option::of(0_i64..400), proptest::option::of(0_i64..400)), 0..4),
        ) {
            let tick = 900_000;
            let prover = Interval::H1;
            let held: Vec<_> = held
                .into_iter()
                .filter(|(from, to)| from.zip(*to).is_none_or(|(from, to)| from < to))
                .map(|(from, to)| (from.map(|from| from * tick), to.map(|to| to * tick)))
                .collect();
            let (from, until) = (from * tick, until * tick);
            let mut expected = Vec::new();
            let mut window = prover.floor_ms(from);
            while window + prover.width_ms() <= until {
                let end = window + prover.width_ms();
                if !held.iter().any(|(a, b)| a.unwrap_or(i64::MIN) < end && window < b.unwrap_or(i64::MAX)) {
                    expected.push(window);
                }
                window = end;
            }
            let mut seen = Vec::new();
            let mut next = from;
            while let Some((lower, upper)) = next_stretch(prover, next, until, at_most, &held) {
                prop_assert!(lower < upper && upper - lower <= i64::from(at_most) * prover.width_ms());
                let mut window = lower;
                while window < upper {
                    seen.push(window);
                    window += prover.width_ms();
                }
                next = upper;
            }
            prop_assert_eq!(seen, expected);
        }
    }
}
