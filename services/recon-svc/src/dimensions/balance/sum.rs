//! What the vault owes, in base units, as a sum that survives a restart: a checkpoint reads it back.

use eidos_types::BaseUnits;
use ethnum::U256;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

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
    use proptest::prelude::*;

    proptest! {
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
