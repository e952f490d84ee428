//! [`Candle`]: what a window of trades adds up to.

use eidos_types::{Amount, AmountError};

/// One trade, as far as candles are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trade {
    /// Price.
    pub price: Amount,
    /// Size in the base token.
    pub amount: Amount,
    /// Size in the quote token.
    pub quote_amount: Amount,
}

/// Open, high, low, close and sums of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candle {
    /// Price of the first trade.
    pub open: Amount,
    /// Highest price.
    pub high: Amount,
    /// Lowest price.
    pub low: Amount,
    /// Price of the last trade.
    pub close: Amount,
    /// Sum of the base amounts.
    pub volume: Amount,
    /// Sum of the quote amounts.
    pub quote_volume: Amount,
    /// Number of trades. 0: the prices only carry the last close along.
    pub trades: u64,
}

/// Why candles or trades cannot be folded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CandleError {
    /// A price, an amount or a sum is below zero.
    #[error("{what} {value} is below zero")]
    Negative {
        /// Which value.
        what: &'static str,
        /// It.
        value: Amount,
    },
    /// Open or close is outside of low to high, or low is above high.
    #[error("open {open} and close {close} are not within {low} to {high}")]
    OutOfRange {
        /// Open.
        open: Amount,
        /// High.
        high: Amount,
        /// Low.
        low: Amount,
        /// Close.
        close: Amount,
    },
    /// A sum does not fit `DECIMAL(36,18)`.
    #[error(transparent)]
    Amount(#[from] AmountError),
}

impl Candle {
    /// Returns the candle of a window without trades: it carries the last close, and all sums are zero (ruling 38).
    #[must_use]
    pub const fn flat(close: Amount) -> Self {
        Self {
            open: close,
            high: close,
            low: close,
            close,
            volume: Amount::ZERO,
            quote_volume: Amount::ZERO,
            trades: 0,
        }
    }

    /// Returns the candle of trades in the order in which they happened. `None`: there are none.
    ///
    /// # Errors
    /// [`CandleError`]; nothing is folded then.
    pub fn of_trades<'a>(trades: impl IntoIterator<Item = &'a Trade>) -> Result<Option<Self>, CandleError> {
        let mut folded: Option<Self> = None;
        for trade in trades {
            let next = Self {
                volume: trade.amount,
                quote_volume: trade.quote_amount,
                trades: 1,
                ..Self::flat(trade.price)
            };
            next.check()?;
            folded = Some(match folded {
                None => next,
                Some(before) => before.then(&next)?,
            });
        }
        Ok(folded)
    }

    /// Returns the candle of a window from its finer candles in the order of time. Those without trades set no price if
    /// another one has trades; if none has, the last close is carried (ruling 38). `None`: there are none.
    ///
    /// # Errors
    /// [`CandleError`]; nothing is folded then.
    pub fn fold<'a>(candles: impl IntoIterator<Item = &'a Self>) -> Result<Option<Self>, CandleError> {
        let mut folded: Option<Self> = None;
        for candle in candles {
            candle.check()?;
            folded = Some(match folded {
                None if candle.trades == 0 => Self::flat(candle.close),
                None => *candle,
                Some(before) => before.then(candle)?,
            });
        }
        Ok(folded)
    }

    /// Returns this candle continued by a later one.
    fn then(&self, later: &Self) -> Result<Self, CandleError> {
        if later.trades == 0 {
            return Ok(if self.trades == 0 {
                Self::flat(later.close)
            } else {
                *self
            });
        }
        if self.trades == 0 {
            return Ok(*later);
        }
        Ok(Self {
            open: self.open,
            high: self.high.max(later.high),
            low: self.low.min(later.low),
            close: later.close,
            volume: self.volume.checked_add(later.volume)?,
            quote_volume: self.quote_volume.checked_add(later.quote_volume)?,
            trades: self.trades.saturating_add(later.trades),
        })
    }

    /// Checks that the candle can be true: nothing below zero, open and close within low to high.
    ///
    /// # Errors
    /// [`CandleError`].
    pub fn check(&self) -> Result<(), CandleError> {
        for (what, value) in [
            ("low", self.low),
            ("volume", self.volume),
            ("quote volume", self.quote_volume),
        ] {
            if value.is_negative() {
                return Err(CandleError::Negative { what, value });
            }
        }
        let within = |price| self.low <= price && price <= self.high;
        if within(self.open) && within(self.close) {
            return Ok(());
        }
        Err(CandleError::OutOfRange {
            open: self.open,
            high: self.high,
            low: self.low,
            close: self.close,
        })
    }

    /// Checks whether both say the same about the trades of a window. The prices of candles without trades say nothing.
    #[must_use]
    pub fn says_the_same(&self, other: &Self) -> bool {
        if self.trades == 0 && other.trades == 0 {
            return self.volume == other.volume && self.quote_volume == other.quote_volume;
        }
        self == other
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn amount(scaled: i128) -> Amount {
        Amount::from_scaled(scaled).unwrap()
    }

    fn trade(price: i128, size: i128) -> Trade {
        Trade {
            price: amount(price),
            amount: amount(size),
            quote_amount: amount(size * 3),
        }
    }

    #[test]
    fn ruling_38_a_candle_without_trades_sets_no_price_beside_one_with_trades() {
        let traded = Candle::of_trades(&[trade(5, 1), trade(7, 2)]).unwrap().unwrap();
        let (low, high) = (Candle::flat(amount(1)), Candle::flat(amount(99)));
        assert_eq!(Candle::fold([&low, &traded, &high]).unwrap(), Some(traded));
        assert_eq!(
            Candle::fold([&high, &low]).unwrap(),
            Some(low),
            "the last close is carried"
        );
        assert_eq!(Candle::fold([]).unwrap(), None);
    }

    #[test]
    fn numbers_that_cannot_be_true_are_refused() {
        assert!(matches!(
            Candle::of_trades(&[trade(5, -1)]),
            Err(CandleError::Negative { what: "volume", .. })
        ));
        assert!(matches!(
            Candle::of_trades(&[trade(-5, 1)]),
            Err(CandleError::Negative { what: "low", .. })
        ));
        let crossed = Candle {
            high: amount(1),
            low: amount(2),
            ..Candle::flat(amount(1))
        };
        assert!(matches!(
            Candle::fold([&crossed]),
            Err(CandleError::OutOfRange { .. })
        ));
        let huge = trade(1, Amount::MAX.scaled() / 3);
        let sum = Candle::of_trades(&[huge, huge, huge, huge]);
        assert!(matches!(sum, Err(CandleError::Amount(_))), "{sum:?}");
    }

    #[test]
    fn prices_of_candles_without_trades_say_nothing() {
        assert!(Candle::flat(amount(1)).says_the_same(&Candle::flat(amount(2))));
        let traded = Candle::of_trades(&[trade(1, 1)]).unwrap().unwrap();
        assert!(!traded.says_the_same(&Candle::flat(amount(1))));
        assert!(!traded.says_the_same(&Candle {
            close: amount(2),
            high: amount(2),
            ..traded
        }));
    }

    fn minutes() -> impl Strategy<Value = Vec<Vec<Trade>>> {
        let trade = (1_i128..1_000_000, 0_i128..1_000_000).prop_map(|(price, size)| trade(price, size));
        proptest::collection::vec(proptest::collection::vec(trade, 0..4), 1..40)
    }

    /// What the market service stores: a flat candle at the last close where a minute has no trades.
    fn stored(minutes: &[Vec<Trade>]) -> Vec<Candle> {
        let mut close = amount(42);
        let stored = minutes.iter().map(|trades| {
            let candle = Candle::of_trades(trades).unwrap().unwrap_or(Candle::flat(close));
            close = candle.close;
            candle
        });
        stored.collect()
    }

    proptest! {
        #[test]
        fn a_fold_of_candles_is_the_candle_of_their_trades(minutes in minutes()) {
            let folded = Candle::fold(&stored(&minutes)).unwrap().unwrap();
            let trades: Vec<Trade> = minutes.into_iter().flatten().collect();
            let direct = Candle::of_trades(&trades).unwrap();
            prop_assert_eq!(folded, direct.unwrap_or(Candle::flat(amount(42))));
            prop_assert!(folded.check().is_ok());
        }

        #[test]
        fn it_does_not_matter_which_interval_is_between(minutes in minutes(), size in 1_usize..10) {
            let stored = stored(&minutes);
            let between: Vec<Candle> =
                stored.chunks(size).map(|chunk| Candle::fold(chunk).unwrap().unwrap()).collect();
            prop_assert_eq!(Candle::fold(&between).unwrap(), Candle::fold(&stored).unwrap());
        }
    }
}
