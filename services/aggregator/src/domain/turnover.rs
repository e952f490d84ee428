//! [`Turnover`]: what all markets traded, per quote token and in one currency.

use std::collections::{BTreeMap, BTreeSet};

use eidos_types::{Amount, AmountError};
use rust_decimal::Decimal;

/// What all markets traded in an hour. Amounts of different tokens are never added.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Turnover {
    /// Quote token → its sum over all markets.
    pub by_token: BTreeMap<String, Amount>,
    /// The same in one currency; `None`: a token has no price, or a market has no known quote token.
    pub total: Option<Amount>,
    /// These tokens and markets.
    pub unpriced: BTreeSet<String>,
}

impl Turnover {
    /// Adds the quote volumes of markets. `quotes`: market → quote token. `prices`: token → what one of it is worth in
    /// `currency` in this hour.
    ///
    /// # Errors
    /// If a sum does not fit `DECIMAL(36,18)`.
    pub fn of(
        volumes: &[(&str, Amount)],
        quotes: &BTreeMap<String, String>,
        prices: &BTreeMap<String, Decimal>,
        currency: &str,
    ) -> Result<Self, AmountError> {
        let mut turnover = Self::default();
        for (market, volume) in volumes {
            let Some(token) = quotes.get(*market) else {
                turnover.unpriced.insert((*market).to_owned());
                continue;
            };
            let sum = turnover.by_token.entry(token.clone()).or_default();
            *sum = sum.checked_add(*volume)?;
        }
        let mut total = Amount::ZERO;
        for (token, sum) in &turnover.by_token {
            if token == currency {
                total = total.checked_add(*sum)?;
            } else if let Some(price) = prices.get(token) {
                total = total.checked_add(sum.valued_at(*price)?)?;
            } else {
                turnover.unpriced.insert(token.clone());
            }
        }
        turnover.total = turnover.unpriced.is_empty().then_some(total);
        Ok(turnover)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amount(text: &str) -> Amount {
        text.parse().unwrap()
    }

    fn of(volumes: &[(&str, &str)], prices: &[(&str, &str)]) -> Turnover {
        let quotes = [("BTC-USDC", "USDC"), ("ETH-USDC", "USDC"), ("ARB-ETH", "ETH")];
        let quotes = quotes.map(|(market, token)| (market.to_owned(), token.to_owned()));
        let volumes: Vec<(&str, Amount)> = volumes
            .iter()
            .map(|(market, volume)| (*market, amount(volume)))
            .collect();
        let prices = prices
            .iter()
            .map(|(token, price)| ((*token).to_owned(), price.parse().unwrap()));
        Turnover::of(&volumes, &quotes.into(), &prices.collect(), "USDC").unwrap()
    }

    #[test]
    fn tokens_are_added_to_their_own_and_valued_for_the_total() {
        let found = of(
            &[("BTC-USDC", "1.5"), ("ETH-USDC", "2"), ("ARB-ETH", "0.25")],
            &[("ETH", "4000")],
        );
        assert_eq!(found.by_token["USDC"], amount("3.5"));
        assert_eq!(found.by_token["ETH"], amount("0.25"));
        assert_eq!(found.total, Some(amount("1003.5")));
    }

    #[test]
    fn without_a_price_there_is_no_total_and_the_token_is_named() {
        let found = of(&[("BTC-USDC", "1.5"), ("ARB-ETH", "0.25"), ("GONE-X", "1")], &[]);
        assert_eq!(found.total, None);
        assert_eq!(found.unpriced.into_iter().collect::<Vec<_>>(), ["ETH", "GONE-X"]);
        assert_eq!(of(&[], &[]).total, Some(Amount::ZERO));
    }
}
