//! Sums that survive a restart: 256-bit totals that can be stored and read back.
//!
//! [`eidos_types::Total`] adds up without overflow but is write-only; a checkpoint has to read its partial sums
//! back. The stored form is the scaled integer in decimal digits, exact.

use std::fmt;

use eidos_types::{Amount, AmountError, BaseUnits};
use ethnum::{I256, U256};
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

/// A sum of base units, as the chain counts. Saturates at 2^256 − 1 and says so: a token that overflows it is
/// worthless or hostile, and its solvency cannot be decided by addition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UnitSum {
    units: U256,
    overflowed: bool,
}

impl UnitSum {
    /// Adds one holding.
    pub fn add(&mut self, units: BaseUnits) {
        self.merge(Self {
            units: U256::from_be_bytes(units.to_be_bytes()),
            overflowed: false,
        });
    }

    /// Adds another sum.
    pub fn merge(&mut self, other: Self) {
        let sum = self.units.checked_add(other.units);
        self.overflowed |= other.overflowed || sum.is_none();
        self.units = sum.unwrap_or(U256::MAX);
    }

    /// The exact sum, or `None` if it went beyond 256 bits.
    #[must_use]
    pub fn exact(self) -> Option<BaseUnits> {
        (!self.overflowed).then(|| BaseUnits::from_be_bytes(self.units.to_be_bytes()))
    }

    /// How much `held` is short of this sum: `None` if it is not short.
    #[must_use]
    pub fn shortage(self, held: BaseUnits) -> Option<BaseUnits> {
        let held = U256::from_be_bytes(held.to_be_bytes());
        let short = self.units.checked_sub(held)?;
        (short > U256::ZERO).then(|| BaseUnits::from_be_bytes(short.to_be_bytes()))
    }
}

impl Serialize for UnitSum {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mark = if self.overflowed { "+" } else { "" };
        serializer.collect_str(&format_args!("{}{mark}", self.units))
    }
}

impl<'de> Deserialize<'de> for UnitSum {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let (digits, overflowed) = text
            .strip_suffix('+')
            .map_or((text.as_str(), false), |digits| (digits, true));
        let units = digits.parse().map_err(serde::de::Error::custom)?;
        Ok(Self { units, overflowed })
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

        #[test]
        fn unit_sums_survive_json_and_know_their_overflow(words in proptest::collection::vec(any::<[u8; 32]>(), 0..6)) {
            let mut sum = UnitSum::default();
            let mut model = Some(BaseUnits::ZERO);
            for word in words {
                let units = BaseUnits::from_be_bytes(word);
                sum.add(units);
                model = model.and_then(|total| total.checked_add(units));
            }
            prop_assert_eq!(sum.exact(), model);
            let stored = serde_json::to_string(&sum).unwrap();
            prop_assert_eq!(serde_json::from_str::<UnitSum>(&stored).unwrap(), sum);
        }
    }

    #[test]
    fn shortage_is_one_sided() {
        let mut owed = UnitSum::default();
        owed.add(BaseUnits::from(100));
        assert_eq!(owed.shortage(BaseUnits::from(100)), None);
        assert_eq!(
            owed.shortage(BaseUnits::from(101)),
            None,
            "a gift to the vault is no break"
        );
        assert_eq!(owed.shortage(BaseUnits::from(99)), Some(BaseUnits::from(1)));
    }
}
