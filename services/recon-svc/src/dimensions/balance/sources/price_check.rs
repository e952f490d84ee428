//! Which tokens have no price, and which prices are none: decided at start (and by `check-config` where it can know),
//! since a token without a price is weighed by its direction alone (ruling 25).

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use rust_decimal::Decimal;

use crate::settings::PriceSettings;

/// How far ahead of our clock a price may be dated: two clocks never agree.
pub const CLOCK_TOLERANCE: TimeDelta = TimeDelta::minutes(5);

/// What to do about a token without a price.
pub const PRICE_FIX: &str =
    "add it (usdc, as_of, source) or a row of price_table, or say reconciliation.unpriced: accept";

/// A configured price that is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadPrice {
    /// `<symbol>.<field>`.
    pub key: String,
    /// What it says.
    pub value: String,
    /// What is wrong with it.
    pub reason: String,
    /// What to do.
    pub fix: &'static str,
}

/// The configured prices that are zero, negative or dated in the future.
#[must_use]
pub fn entries(prices: &BTreeMap<String, PriceSettings>, now: DateTime<Utc>) -> Vec<BadPrice> {
    let mut found = Vec::new();
    for (symbol, price) in prices {
        if price.usdc <= Decimal::ZERO {
            found.push(BadPrice {
                key: format!("{symbol}.usdc"),
                value: price.usdc.to_string(),
                reason: "is not above zero: every difference of the token would be worth nothing".to_owned(),
                fix: "give its price, or leave it out and say reconciliation.unpriced: accept",
            });
        }
        if let Some(as_of) = price.as_of.filter(|as_of| is_future(*as_of, now)) {
            found.push(BadPrice {
                key: format!("{symbol}.as_of"),
                value: as_of.to_rfc3339(),
                reason: format!(
                    "is in the future (now {}): it would never be old",
                    now.format("%FT%TZ")
                ),
                fix: "use the time at which the price was true, or leave it out for a price by definition",
            });
        }
    }
    found
}

/// Whether a price is dated further ahead than two clocks may differ.
#[must_use]
pub fn is_future(as_of: DateTime<Utc>, now: DateTime<Utc>) -> bool {
    as_of.signed_duration_since(now) > CLOCK_TOLERANCE
}

/// One sentence per configured price that no token has the name of, capital letters included. The default price of USDC
/// may be left unused.
#[must_use]
pub fn names(symbols: &[&str], prices: &BTreeMap<String, PriceSettings>) -> Vec<String> {
    let unknown = |(name, price): &(&String, &PriceSettings)| {
        let is_default = name.as_str() == "USDC" && price.source == "par" && price.usdc == Decimal::ONE;
        !symbols.contains(&name.as_str()) && !is_default
    };
    let sentence = |(name, _): (&String, &PriceSettings)| match in_other_case(symbols, name) {
        Some(symbol) => format!("there is a price for {name}, and the token is written {symbol}"),
        None => format!(
            "there is a price for {name}, which is no token: the tokens are {}",
            symbols.join(", ")
        ),
    };
    prices.iter().filter(unknown).map(sentence).collect()
}

/// One sentence per token without a price.
pub fn missing(symbols: &[&str], has_price: impl Fn(&str) -> bool) -> Vec<String> {
    symbols
        .iter()
        .filter(|symbol| !has_price(symbol))
        .map(|symbol| format!("token {symbol} has no price"))
        .collect()
}

/// The symbol that `name` would be in other letters.
#[must_use]
pub fn in_other_case<'s>(symbols: &[&'s str], name: &str) -> Option<&'s str> {
    let same = |symbol: &&&str| symbol.eq_ignore_ascii_case(name) && **symbol != name;
    symbols.iter().find(same).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn price(usdc: &str, as_of: Option<&str>) -> PriceSettings {
        PriceSettings {
            usdc: usdc.parse().unwrap(),
            as_of: as_of.map(|text| text.parse().unwrap()),
            source: "desk".to_owned(),
        }
    }

    #[test]
    fn a_price_of_the_future_or_of_nothing_is_none() {
        let now = "2026-12-01T12:00:00Z".parse().unwrap();
        let prices = BTreeMap::from([
            ("A".to_owned(), price("1", Some("2026-12-01T12:05:00Z"))),
            ("B".to_owned(), price("1", Some("2026-12-01T12:05:01Z"))),
            ("C".to_owned(), price("0", None)),
            ("D".to_owned(), price("-1", Some("2036-01-01T00:00:00Z"))),
        ]);
        let keys: Vec<String> = entries(&prices, now).into_iter().map(|bad| bad.key).collect();
        assert_eq!(keys, ["B.as_of", "C.usdc", "D.usdc", "D.as_of"]);
    }

    #[test]
    fn names_are_matched_with_their_capital_letters() {
        let prices = BTreeMap::from([
            ("WETH".to_owned(), price("3000", None)),
            ("XYZ".to_owned(), price("1", None)),
            ("wbtc".to_owned(), price("60000", None)),
        ]);
        let symbols = ["USDC", "WBTC", "WETH"];
        let said = names(&symbols, &prices);
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(said[0].contains("XYZ, which is no token"), "{}", said[0]);
        assert!(said[1].contains("is written WBTC"), "{}", said[1]);
        let without = missing(&symbols, |symbol| prices.contains_key(symbol));
        assert_eq!(without, ["token USDC has no price", "token WBTC has no price"]);
        let default = PriceSettings {
            source: "par".to_owned(),
            ..price("1", None)
        };
        assert!(names(&["WBTC"], &BTreeMap::from([("USDC".to_owned(), default)])).is_empty());
    }
}
