//! The comparison of what was built with the generated trades.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Timelike};
use eidos_market::{Candle, Interval};
use eidos_types::Amount;
use sqlx::PgPool;

use super::fill::quote_of;
use super::{DAY_MS, HOUR_MS, Key, MINUTE_MS, Market, tables};
use crate::orders::Finding;

/// The intervals that are built.
const BUILT: [Interval; 4] = [Interval::H1, Interval::H4, Interval::D1, Interval::W1];
/// The currency of the total of all markets.
const CURRENCY: &str = "USDC";

/// A window: its market, its interval and its beginning.
type Window = (String, Interval, i64);

impl Finding {
    const fn new(invariant: &'static str) -> Self {
        Self {
            invariant,
            checked: 0,
            violations: 0,
            example: None,
        }
    }

    fn count(&mut self, holds: bool, what: impl FnOnce() -> String) {
        self.checked += 1;
        if !holds {
            self.violations += 1;
            self.example.get_or_insert_with(what);
        }
    }
}

/// Compares every candle with the trades of its window, in exact decimals: each window that was over at `closed_ms` and has
/// every minute has its candle, and there is no other.
///
/// # Errors
/// If the database refuses.
pub async fn candles(market: &Market, closed_ms: i64) -> anyhow::Result<Finding> {
    let mut finding = Finding::new(
        "every whole window has the candle of its trades, to the last digit, and no other has one",
    );
    for (name, listed_ms) in &market.listed {
        for interval in BUILT {
            let mut stored = tables::stored_candles(&market.db, name, interval).await?;
            for open_ms in windows(interval, *listed_ms, closed_ms) {
                let found = stored.remove(&open_ms);
                let expected: Option<Candle> = if is_incomplete(market, name, interval, open_ms) {
                    None
                } else {
                    Some(
                        market
                            .tape
                            .candle(name, (open_ms, open_ms + interval.width_ms()))?,
                    )
                };
                finding.count(found == expected, || {
                    format!("{name} {interval} at {open_ms}: {found:?}, not {expected:?}")
                });
            }
            for open_ms in stored.into_keys() {
                finding.count(false, || {
                    format!("{name} {interval} at {open_ms} must not be there")
                });
            }
        }
    }
    Ok(finding)
}

/// Compares the windows that are noted as not whole with the minutes that are missing.
///
/// # Errors
/// If the jobs database refuses.
pub async fn gaps(market: &Market, jobs: &PgPool, closed_ms: i64) -> anyhow::Result<Finding> {
    let mut finding = Finding::new("exactly the windows of missing minutes are noted as not whole");
    let noted: Vec<(String, String, i64)> = sqlx::query_as(
        "SELECT market::text, interval_name::text, open_ms FROM eidos_jobs_kline_windows \
         WHERE state IN ('missing', 'partial', 'unusable')",
    )
    .fetch_all(jobs)
    .await?;
    let mut noted: BTreeSet<(String, String, i64)> = noted.into_iter().collect();
    for (name, interval, open_ms) in incomplete(market, closed_ms) {
        let window = (name, interval.to_string(), open_ms);
        finding.count(noted.remove(&window), || format!("{window:?} is not noted"));
    }
    for window in noted {
        finding.count(false, || format!("{window:?} is noted, and has every minute"));
    }
    Ok(finding)
}

/// Compares the statistics of every hour and day that was over at `closed_ms`, from `from_ms` on, with the generated rows.
///
/// # Errors
/// If a database refuses, or a sum does not fit.
pub async fn statistics(
    market: &Market,
    jobs: &PgPool,
    (from_ms, closed_ms): (i64, i64),
) -> anyhow::Result<[Finding; 2]> {
    let mut hours = Finding::new("every figure of every hour is the sum of its rows, to the last digit");
    let mut days = Finding::new("every figure of every day is the sum of its rows, to the last digit");
    let mut totals: BTreeMap<i64, Amount> = BTreeMap::new();
    let mut hour_ms = from_ms;
    while hour_ms + HOUR_MS <= closed_ms {
        let mut expected = market.figures.of((hour_ms, hour_ms + HOUR_MS))?;
        let total = total(market, hour_ms, &expected)?;
        let of_day = totals.entry(Interval::D1.floor_ms(hour_ms)).or_default();
        *of_day = of_day.checked_add(total)?;
        expected.insert(total_key(), total);
        compare(&mut hours, expected, stored(jobs, hour_ms, true).await?, hour_ms);
        hour_ms += HOUR_MS;
    }
    for (day_ms, total) in totals {
        if day_ms + DAY_MS > closed_ms {
            continue;
        }
        let mut expected = market.figures.of((day_ms, day_ms + DAY_MS))?;
        expected.insert(total_key(), total);
        let (active, new) = market.figures.users(day_ms);
        for (metric, count) in [("active_users", active), ("new_users", new)] {
            let count = Amount::from_whole(i64::try_from(count)?)?;
            expected.insert((None, metric.to_owned()), count);
        }
        compare(&mut days, expected, stored(jobs, day_ms, false).await?, day_ms);
    }
    Ok([hours, days])
}

fn compare(
    finding: &mut Finding,
    expected: BTreeMap<Key, Amount>,
    mut found: BTreeMap<Key, Amount>,
    at_ms: i64,
) {
    for (key, value) in expected {
        let got = found.remove(&key).unwrap_or_default();
        finding.count(got == value, || format!("{key:?} at {at_ms}: {got}, not {value}"));
    }
    for (key, value) in found {
        finding.count(value.is_zero(), || {
            format!("{key:?} at {at_ms}: {value}, and nothing has it")
        });
    }
}

fn total_key() -> Key {
    (None, format!("trade_volume:{CURRENCY}"))
}

/// The quote volumes of an hour in one currency: another token is worth what its candle of that hour closed at.
fn total(market: &Market, hour_ms: i64, figures: &BTreeMap<Key, Amount>) -> anyhow::Result<Amount> {
    let mut total = Amount::ZERO;
    let tokens: BTreeSet<&str> = market.listed.iter().map(|(name, _)| quote_of(name)).collect();
    for token in tokens {
        let Some(volume) = figures.get(&(None, format!("quote_volume:{token}"))) else {
            continue;
        };
        let value = if token == CURRENCY {
            *volume
        } else {
            let close = market
                .tape
                .candle(&format!("{token}-{CURRENCY}"), (hour_ms, hour_ms + HOUR_MS))?
                .close;
            volume.valued_at(close.to_string().parse()?)?
        };
        total = total.checked_add(value)?;
    }
    Ok(total)
}

async fn stored(jobs: &PgPool, from_ms: i64, is_hour: bool) -> anyhow::Result<BTreeMap<Key, Amount>> {
    let at = DateTime::from_timestamp_millis(from_ms).unwrap_or_default();
    let hour = is_hour.then(|| i32::try_from(at.hour())).transpose()?;
    let rows: Vec<(Option<String>, String, String)> = sqlx::query_as(
        "SELECT market::text, metric_name::text, metric_value::text FROM eidos_jobs_statistics \
         WHERE stat_date = $1 AND stat_hour IS NOT DISTINCT FROM $2",
    )
    .bind(at.date_naive())
    .bind(hour)
    .fetch_all(jobs)
    .await?;
    rows.into_iter()
        .map(|(market, metric, value)| Ok(((market, metric), value.parse()?)))
        .collect()
}

/// The windows of a market that were over at `closed_ms`.
fn windows(interval: Interval, listed_ms: i64, closed_ms: i64) -> impl Iterator<Item = i64> {
    let first_ms = interval.floor_ms(listed_ms);
    let opens = (0..).map(move |number| first_ms + number * interval.width_ms());
    opens.take_while(move |open_ms| open_ms + interval.width_ms() <= closed_ms)
}

/// Whether a minute of a window is missing that had a trade; one without is quiet. A week is built from days, which are not
/// built then either.
fn is_incomplete(market: &Market, name: &str, interval: Interval, open_ms: i64) -> bool {
    market.gaps.iter().filter(|gap| gap.market == name).any(|gap| {
        let lost = (
            gap.from_ms.max(open_ms),
            gap.to_ms.min(open_ms + interval.width_ms()),
        );
        lost.0 < lost.1 && market.tape.timed(name, lost).next().is_some()
    })
}

fn incomplete(market: &Market, closed_ms: i64) -> Vec<Window> {
    let mut found = Vec::new();
    for (name, listed_ms) in &market.listed {
        for interval in BUILT {
            let broken = windows(interval, *listed_ms, closed_ms)
                .filter(|open_ms| is_incomplete(market, name, interval, *open_ms));
            found.extend(broken.map(|open_ms| (name.clone(), interval, open_ms)));
        }
    }
    found
}

/// Returns the end of the newest windows that a run for `slot_ms` looks at.
#[must_use]
pub const fn closed_ms(slot_ms: i64) -> i64 {
    slot_ms - MINUTE_MS / 2
}
