//! [`Total`]: a sum of amounts that cannot overflow.

use std::fmt;
use std::iter::Sum;
use std::ops::AddAssign;

use ethnum::I256;
use serde::{Serialize, Serializer};

use crate::{Amount, AmountError, decimal};

/// A sum of [`Amount`]s in 256 bits.
///
/// An amount is below 10^36 and the type reaches 5.7·10^76, so 10^40 of the largest amounts fit: no sum over
/// any table can overflow it. Totals of different tokens are never added together (ruling 25).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Total(I256);

impl Total {
    /// Nothing.
    pub const ZERO: Self = Self(I256::ZERO);

    /// The magnitude.
    #[must_use]
    pub fn abs(self) -> Self {
        Self(self.0.abs())
    }

    /// True for exactly nothing.
    #[must_use]
    pub fn is_zero(self) -> bool {
        self.0 == I256::ZERO
    }

    /// True below zero.
    #[must_use]
    pub fn is_negative(self) -> bool {
        self.0.is_negative()
    }

    /// `self − other`.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self(self.0 - other.0)
    }

    /// `self + other`.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }

    /// The total as an amount.
    ///
    /// # Errors
    /// [`AmountError::Overflow`] if it needs more than 36 digits.
    pub fn to_amount(self) -> Result<Amount, AmountError> {
        let overflow = AmountError::Overflow {
            operation: "narrowing a total",
        };
        i128::try_from(self.0).map_or(Err(overflow), Amount::from_scaled)
    }
}

impl From<Amount> for Total {
    fn from(amount: Amount) -> Self {
        Self(I256::from(amount.scaled()))
    }
}

impl AddAssign<Amount> for Total {
    fn add_assign(&mut self, amount: Amount) {
        self.0 += I256::from(amount.scaled());
    }
}

impl Sum<Amount> for Total {
    fn sum<I: Iterator<Item = Amount>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, |mut total, amount| {
            total += amount;
            total
        })
    }
}

impl fmt::Display for Total {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = decimal::shortest(&self.0.abs().to_string(), 18);
        f.pad_integral(!self.0.is_negative(), "", &digits)
    }
}

impl fmt::Debug for Total {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Total({self})")
    }
}

impl Serialize for Total {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_million_maximal_amounts_fit() {
        let total: Total = std::iter::repeat_n(Amount::MAX, 1_000_000).sum();
        assert_eq!(total.to_string(), "999999999999999999999999.999999999999");
        assert!(matches!(total.to_amount(), Err(AmountError::Overflow { .. })));
    }

    proptest! {
        #[test]
        fn shows_like_an_amount(scaled in -(10_i128.pow(36) - 1)..10_i128.pow(36)) {
            let amount = Amount::from_scaled(scaled).unwrap();
            prop_assert_eq!(Total::from(amount).to_string(), amount.to_string());
            prop_assert_eq!(Total::from(amount).to_amount().unwrap(), amount);
        }
    }
}
