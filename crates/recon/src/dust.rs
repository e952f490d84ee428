//! Differences too small to report, added up: many "ignored" ones are a sum somebody should see.

use eidos_types::Amount;
use serde::{Deserialize, Serialize};

use crate::severity::Price;
use crate::sum::SignedSum;

/// The dust of one unit in one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Dust {
    /// How many subjects.
    pub count: u64,
    /// Signed (right − left): a rounding bias shows here.
    pub net: SignedSum,
    /// Magnitudes: plus and minus cannot hide each other.
    pub gross: SignedSum,
}

impl Dust {
    /// Adds one ignored difference.
    pub fn add(&mut self, diff: Amount) {
        self.count += 1;
        self.net.add(diff);
        self.gross.add(diff.abs());
    }

    /// Adds another sum of the same unit.
    pub fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.net.merge(other.net);
        self.gross.merge(other.gross);
    }

    /// The gross dust in USDC if it exceeds `limit_usdc`. Without a price there is no dust: such a difference
    /// is at least a warning.
    #[must_use]
    pub fn beyond(&self, price: Option<&Price>, limit_usdc: Amount) -> Option<Amount> {
        let value = self.gross.to_amount().ok()?.valued_at(price?.usdc).ok()?;
        (value > limit_usdc).then_some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ruling_25_dust_cannot_hide_behind_its_sign() {
        let par = Price {
            usdc: "1".parse().unwrap(),
            as_of: None,
            source: "par".into(),
        };
        let mut dust = Dust::default();
        for diff in ["0.009", "-0.009", "0.009", "-0.009"] {
            dust.add(diff.parse().unwrap());
        }
        assert!(dust.net.is_zero());
        assert_eq!(
            dust.beyond(Some(&par), "0.035".parse().unwrap()),
            Some("0.036".parse().unwrap())
        );
        assert_eq!(dust.beyond(Some(&par), "0.036".parse().unwrap()), None);
        assert_eq!(dust.beyond(None, Amount::ZERO), None);
    }
}
