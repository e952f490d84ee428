//! [`Figures`]: rows of the trading service, added up the plain way.

use std::collections::{BTreeMap, BTreeSet};

use eidos_types::{Amount, AmountError};

use super::{DAY_MS, HOUR_MS};

/// A figure's market (`None`: all markets) and metric.
pub type Key = (Option<String>, String);

/// Sums by hour, and users by day.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Figures {
    hours: BTreeMap<i64, BTreeMap<Key, Amount>>,
    active: BTreeMap<i64, BTreeSet<String>>,
    /// The first balance of each wallet.
    first: BTreeMap<String, i64>,
}

impl Figures {
    /// Adds a value to the hour of `at_ms`.
    ///
    /// # Errors
    /// If the sum does not fit `DECIMAL(36,18)`.
    pub fn add(
        &mut self,
        at_ms: i64,
        market: Option<&str>,
        metric: &str,
        value: Amount,
    ) -> Result<(), AmountError> {
        let hour = at_ms.div_euclid(HOUR_MS) * HOUR_MS;
        let key = (market.map(str::to_owned), metric.to_owned());
        let sum = self.hours.entry(hour).or_default().entry(key).or_default();
        *sum = sum.checked_add(value)?;
        Ok(())
    }

    /// Adds a value to a market and to all markets.
    pub(super) fn add_both(
        &mut self,
        at_ms: i64,
        market: &str,
        metric: &str,
        value: Amount,
    ) -> Result<(), AmountError> {
        self.add(at_ms, Some(market), metric, value)?;
        self.add(at_ms, None, metric, value)
    }

    /// Notes that a wallet did something.
    pub(super) fn acted(&mut self, at_ms: i64, wallet: &str) {
        let day = at_ms.div_euclid(DAY_MS) * DAY_MS;
        self.active.entry(day).or_default().insert(wallet.to_owned());
    }

    /// Notes a balance of a wallet.
    pub(super) fn balance(&mut self, at_ms: i64, wallet: &str) {
        let first = self.first.entry(wallet.to_owned()).or_insert(at_ms);
        *first = at_ms.min(*first);
    }

    /// Returns the sums of `[from_ms, to_ms)`, whole hours, without those that are zero.
    ///
    /// # Errors
    /// If a sum does not fit `DECIMAL(36,18)`.
    pub fn of(&self, (from_ms, to_ms): (i64, i64)) -> Result<BTreeMap<Key, Amount>, AmountError> {
        let mut sums: BTreeMap<Key, Amount> = BTreeMap::new();
        for (key, value) in self.hours.range(from_ms..to_ms).flat_map(|(_, figures)| figures) {
            let sum = sums.entry(key.clone()).or_default();
            *sum = sum.checked_add(*value)?;
        }
        sums.retain(|_, value| !value.is_zero());
        Ok(sums)
    }

    /// Returns how many wallets were active on the day that begins at `day_ms`, and how many had their first balance then.
    #[must_use]
    pub fn users(&self, day_ms: i64) -> (usize, usize) {
        let active = self.active.get(&day_ms).map_or(0, BTreeSet::len);
        let day = day_ms..day_ms + DAY_MS;
        let new = self.first.values().filter(|at_ms| day.contains(*at_ms)).count();
        (active, new)
    }
}
