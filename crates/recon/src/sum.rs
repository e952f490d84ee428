//! Sums that survive a restart: 256-bit totals that can be stored and read back.
//!
//! [`eidos_types::Total`] adds up without overflow but is write-only; a checkpoint has to read its partial sums
//! back. The stored form is the scaled integer in decimal digits, exact.

use std::fmt;

use eidos_types::{Amount, AmountError};
use ethnum::I256;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A signed sum of amounts, scaled by 10^18. 10^40 of the largest amounts fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct SignedSum(I256);

impl SignedSum {
    /// Nothing.
    pub const ZERO: Self = Self(I256::ZERO);

    /// Adds an amount.
    pub fn add(&mut self, amount: Amount) {
        self.0 += I256::from(amount.scaled());
    }

    /// Adds another sum.
    pub fn merge(&mut self, other: Self) {
        self.0 += other.0;
    }

    /// True for exactly nothing.
    #[must_use]
    pub fn is_zero(self) -> bool {
        self.0 == I256::ZERO
    }

    /// As an amount.
    ///
    /// # Errors
    /// [`AmountError::Overflow`] beyond 36 digits.
    pub fn to_amount(self) -> Result<Amount, AmountError> {
        let overflow = AmountError::Overflow {
            operation: "narrowing a sum",
        };
        i128::try_from(self.0).map_or(Err(overflow), Amount::from_scaled)
    }
}

/// Plain decimal notation of whole tokens.
impl fmt::Display for SignedSum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let one = I256::from(10_i128.pow(18));
        let magnitude = self.0.abs();
        let (whole, fraction) = (magnitude / one, magnitude % one);
        let sign = if self.0.is_negative() { "-" } else { "" };
        if fraction == I256::ZERO {
            return f.pad(&format!("{sign}{whole}"));
        }
        let padded = format!("{:0>18}", fraction.to_string());
        f.pad(&format!("{sign}{whole}.{}", padded.trim_end_matches('0')))
    }
}

impl Serialize for SignedSum {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for SignedSum {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let digits = String::deserialize(deserializer)?;
        digits.parse().map(Self).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use eidos_types::Total;
    use proptest::prelude::*;

    prop_compose! {
        fn any_amount()(scaled in -(10_i128.pow(36) - 1)..10_i128.pow(36)) -> Amount {
            Amount::from_scaled(scaled).unwrap()
        }
    }

    proptest! {
        #[test]
        fn sums_agree_with_total_and_survive_json(amounts in proptest::collection::vec(any_amount(), 0..50)) {
            let mut sum = SignedSum::ZERO;
            for amount in &amounts {
                sum.add(*amount);
            }
            let total: Total = amounts.iter().copied().sum();
            prop_assert_eq!(sum.to_string(), total.to_string());
            let stored = serde_json::to_string(&sum).unwrap();
            prop_assert_eq!(serde_json::from_str::<SignedSum>(&stored).unwrap(), sum);
        }
    }
}
