//! [`Tape`]: every trade of some markets, in the order of time.

use std::collections::BTreeMap;

use anyhow::Context;
use eidos_market::{Candle, Trade};
use eidos_types::{Amount, AmountError};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::MINUTE_MS;

/// One whole token, scaled.
const ONE: i128 = 10_i128.pow(18);

/// Trades by market and time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tape {
    markets: BTreeMap<String, BTreeMap<i64, Vec<Trade>>>,
}

impl Tape {
    /// Returns random trades in `[from_ms, to_ms)` of each market: bursts, quiet stretches longer than an hour, and amounts
    /// with 18 decimals. The first trade of a market is at `from_ms`.
    ///
    /// # Errors
    /// If a number does not fit `DECIMAL(36,18)`.
    pub fn generate(seed: u64, markets: &[&str], range: (i64, i64)) -> Result<Self, AmountError> {
        let mut random = StdRng::seed_from_u64(seed);
        let mut tape = Self::default();
        for market in markets {
            tape.trade_randomly(&mut random, market, range, 60_000 * ONE)?;
        }
        Ok(tape)
    }

    /// Adds random trades of one market in `[from_ms, to_ms)`, the first at `from_ms`. `price`: where its prices begin, scaled.
    pub(super) fn trade_randomly(
        &mut self,
        random: &mut StdRng,
        market: &str,
        (from_ms, to_ms): (i64, i64),
        mut price: i128,
    ) -> Result<(), AmountError> {
        let mut at_ms = from_ms;
        while at_ms < to_ms {
            let is_burst = random.random_range(0..200) == 0;
            let trades = if is_burst { random.random_range(30..150) } else { 1 };
            for _ in 0..trades {
                price += random.random_range(-price / 6_000..price / 6_000);
                let amount = random.random_range(1..3 * ONE);
                self.add(market, at_ms, trade(price, amount)?);
                if is_burst {
                    at_ms = (at_ms + random.random_range(0..800)).min(to_ms - 1);
                }
            }
            at_ms += match random.random_range(0..100) {
                0 => random.random_range(1..180 * MINUTE_MS),
                1..20 => random.random_range(1..20 * MINUTE_MS),
                _ => random.random_range(1..3 * MINUTE_MS),
            };
        }
        Ok(())
    }

    /// Adds a trade, after those of the same millisecond.
    pub fn add(&mut self, market: &str, at_ms: i64, trade: Trade) {
        let trades = self.markets.entry(market.to_owned()).or_default();
        trades.entry(at_ms).or_default().push(trade);
    }

    /// Returns the trades of `[from_ms, to_ms)` with their times, the oldest first.
    pub fn timed(&self, market: &str, (from_ms, to_ms): (i64, i64)) -> impl Iterator<Item = (i64, &Trade)> {
        let trades = self.markets.get(market).into_iter();
        trades
            .flat_map(move |trades| trades.range(from_ms..to_ms))
            .flat_map(|(at_ms, trades)| trades.iter().map(|trade| (*at_ms, trade)))
    }

    /// Returns the price of the last trade before an instant. `None`: there is none.
    #[must_use]
    pub fn last_price(&self, market: &str, before_ms: i64) -> Option<Amount> {
        let trades = self.markets.get(market)?;
        let (_, trades) = trades.range(..before_ms).next_back()?;
        trades.last().map(|trade| trade.price)
    }

    /// Returns what a window must be: the candle of its trades, or a flat one at the last price before it.
    ///
    /// # Errors
    /// If the market has no trade before the end of the window, or a sum does not fit.
    pub fn candle(&self, market: &str, (from_ms, to_ms): (i64, i64)) -> anyhow::Result<Candle> {
        let trades = self.timed(market, (from_ms, to_ms)).map(|(_, trade)| trade);
        if let Some(candle) = Candle::of_trades(trades)? {
            return Ok(candle);
        }
        let last = self.last_price(market, from_ms);
        last.map(Candle::flat)
            .with_context(|| format!("{market} has no trade before {to_ms}"))
    }

    /// Returns the candles of one minute in `[from_ms, to_ms)` with their beginnings, as the market service makes them.
    ///
    /// # Errors
    /// As [`Self::candle`].
    pub fn minutes(&self, market: &str, (from_ms, to_ms): (i64, i64)) -> anyhow::Result<Vec<(i64, Candle)>> {
        let opens = (0..).map(|minute| from_ms + minute * MINUTE_MS);
        opens
            .take_while(|open_ms| *open_ms < to_ms)
            .map(|open_ms| Ok((open_ms, self.candle(market, (open_ms, open_ms + MINUTE_MS))?)))
            .collect()
    }
}

/// Returns a trade of a scaled price and amount; its quote amount is their product, rounded down.
///
/// # Errors
/// If a number does not fit `DECIMAL(36,18)`.
pub fn trade(price: i128, amount: i128) -> Result<Trade, AmountError> {
    let quote = price / 1_000_000_000 * (amount / 1_000_000_000);
    Ok(Trade {
        price: Amount::from_scaled(price)?,
        amount: Amount::from_scaled(amount)?,
        quote_amount: Amount::from_scaled(quote)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: (i64, i64) = (0, 86_400_000);

    #[test]
    fn a_seed_gives_the_same_trades_with_bursts_and_quiet_hours() {
        let tape = Tape::generate(3, &["BTC-USDC"], DAY).unwrap();
        assert_eq!(tape, Tape::generate(3, &["BTC-USDC"], DAY).unwrap());
        let week = Tape::generate(3, &["BTC-USDC"], (0, 7 * DAY.1)).unwrap();
        let minutes = week.minutes("BTC-USDC", (0, 7 * DAY.1)).unwrap();
        assert_eq!(minutes.len(), 7 * 1_440);
        assert!(minutes.iter().any(|(_, candle)| candle.trades > 20), "no burst");
        let quiet = minutes
            .chunk_by(|(_, left), (_, right)| left.trades == 0 && right.trades == 0)
            .map(<[_]>::len)
            .max();
        assert!(quiet > Some(60), "{quiet:?} minutes are not an hour");
    }

    #[test]
    fn a_minute_without_trades_carries_the_last_price() {
        let mut tape = Tape::default();
        tape.add("A", 1, trade(5 * ONE, ONE).unwrap());
        tape.add("A", 2 * MINUTE_MS, trade(7 * ONE, 2 * ONE).unwrap());
        let minutes = tape.minutes("A", (0, 4 * MINUTE_MS)).unwrap();
        let closes: Vec<(String, u64)> = minutes
            .iter()
            .map(|(_, candle)| (candle.close.to_string(), candle.trades))
            .collect();
        assert_eq!(
            closes,
            [("5", 1), ("5", 0), ("7", 1), ("7", 0)].map(|(price, trades)| (price.to_owned(), trades))
        );
        assert!(Tape::default().candle("A", (0, 1)).is_err());
    }
}
