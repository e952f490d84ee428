//! [`BaseUnits`]: what a token contract counts in.

use std::fmt;

use ethnum::U256;

use crate::{Amount, decimal};

/// An unsigned 256-bit count of a token's smallest unit, as contracts return it.
///
/// A `uint256` has up to 78 digits and `DECIMAL(36,18)` 36, so the conversion to an [`Amount`] can fail; the
/// failure carries the exact digits, because such a value is a finding to report and not an error to drop
/// (ruling 19).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct BaseUnits(U256);

/// Why a count of base units and an amount do not convert into each other exactly.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BaseUnitsError {
    /// More decimals than a `uint256` has digits.
    #[error("{decimals} decimals: a uint256 has at most 77 whole decimals")]
    Decimals {
        /// The decimals that were given.
        decimals: u8,
    },
    /// The value needs more than 36 digits.
    #[error("{exact} does not fit DECIMAL(36,18)")]
    BeyondDecimal {
        /// The exact value in whole tokens.
        exact: String,
    },
    /// A token of more than 18 decimals has digits that an amount cannot show.
    #[error("{exact} has digits beyond the eighteenth decimal")]
    Residue {
        /// The exact value in whole tokens.
        exact: String,
        /// The value truncated to 18 decimals.
        truncated: Amount,
    },
    /// The books hold a fraction of the token's smallest unit, which the chain cannot represent.
    #[error("{amount} is not a whole number of units of a token with {decimals} decimals")]
    BelowOneUnit {
        /// The amount in whole tokens.
        amount: Amount,
        /// The token's decimals.
        decimals: u8,
    },
    /// The amount is below zero, which a `uint256` cannot be.
    #[error("{amount} is negative; a balance on chain cannot be")]
    Negative {
        /// The amount in whole tokens.
        amount: Amount,
    },
}

const MAX_DECIMALS: u8 = 77;
const AMOUNT_DECIMALS: u8 = 18;

impl BaseUnits {
    /// Nothing.
    pub const ZERO: Self = Self(U256::ZERO);
    /// `type(uint256).max`.
    pub const MAX: Self = Self(U256::MAX);

    /// From the big-endian word the EVM uses.
    #[must_use]
    pub fn from_be_bytes(word: [u8; 32]) -> Self {
        Self(U256::from_be_bytes(word))
    }

    /// The big-endian word the EVM uses.
    #[must_use]
    pub fn to_be_bytes(self) -> [u8; 32] {
        self.0.to_be_bytes()
    }

    /// True for exactly nothing.
    #[must_use]
    pub fn is_zero(self) -> bool {
        self.0 == U256::ZERO
    }

    /// The sum, or `None` beyond 256 bits.
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// The exact amount of whole tokens for a token of `decimals` (0–77).
    ///
    /// # Errors
    /// [`BaseUnitsError::BeyondDecimal`] and [`BaseUnitsError::Residue`] carry the exact digits;
    /// [`BaseUnitsError::Decimals`] above 77.
    pub fn to_amount(self, decimals: u8) -> Result<Amount, BaseUnitsError> {
        if decimals > MAX_DECIMALS {
            return Err(BaseUnitsError::Decimals { decimals });
        }
        let beyond = || BaseUnitsError::BeyondDecimal {
            exact: self.exact(decimals),
        };
        if decimals <= AMOUNT_DECIMALS {
            let scaled = self
                .0
                .checked_mul(power_of_ten(AMOUNT_DECIMALS - decimals))
                .ok_or_else(beyond)?;
            return narrow(scaled).ok_or_else(beyond);
        }
        let unit = power_of_ten(decimals - AMOUNT_DECIMALS);
        let truncated = narrow(self.0 / unit).ok_or_else(beyond)?;
        if self.0 % unit != U256::ZERO {
            return Err(BaseUnitsError::Residue {
                exact: self.exact(decimals),
                truncated,
            });
        }
        Ok(truncated)
    }

    /// The count of base units for an amount of whole tokens.
    ///
    /// # Errors
    /// Negative amounts, fractions of one unit, and decimals above 77 are refused; so is a result beyond 256
    /// bits, as [`BaseUnitsError::BeyondDecimal`].
    pub fn from_amount(amount: Amount, decimals: u8) -> Result<Self, BaseUnitsError> {
        if decimals > MAX_DECIMALS {
            return Err(BaseUnitsError::Decimals { decimals });
        }
        let scaled = u128::try_from(amount.scaled())
            .map_or(Err(BaseUnitsError::Negative { amount }), |scaled| {
                Ok(U256::from(scaled))
            })?;
        if decimals >= AMOUNT_DECIMALS {
            return scaled
                .checked_mul(power_of_ten(decimals - AMOUNT_DECIMALS))
                .map(Self)
                .ok_or_else(|| BaseUnitsError::BeyondDecimal {
                    exact: amount.to_string(),
                });
        }
        let unit = power_of_ten(AMOUNT_DECIMALS - decimals);
        if scaled % unit != U256::ZERO {
            return Err(BaseUnitsError::BelowOneUnit { amount, decimals });
        }
        Ok(Self(scaled / unit))
    }

    /// The exact value in whole tokens, with every digit.
    #[must_use]
    pub fn exact(self, decimals: u8) -> String {
        decimal::shortest(&self.0.to_string(), decimals)
    }
}

fn power_of_ten(exponent: u8) -> U256 {
    U256::from(10_u8).pow(u32::from(exponent))
}

fn narrow(scaled: U256) -> Option<Amount> {
    i128::try_from(scaled)
        .ok()
        .and_then(|scaled| Amount::from_scaled(scaled).ok())
}

impl From<u128> for BaseUnits {
    fn from(units: u128) -> Self {
        Self(U256::from(units))
    }
}

impl fmt::Display for BaseUnits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for BaseUnits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BaseUnits({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn usdc_and_ether() {
        assert_eq!(
            BaseUnits::from(1_500_000).to_amount(6).unwrap().to_string(),
            "1.5"
        );
        assert_eq!(
            BaseUnits::from(1).to_amount(18).unwrap().to_string(),
            "0.000000000000000001"
        );
        assert_eq!(BaseUnits::from(7).to_amount(0).unwrap().to_string(), "7");
    }

    #[test]
    fn ruling_19_what_does_not_fit_keeps_its_exact_digits() {
        let error = BaseUnits::MAX.to_amount(6).unwrap_err();
        let BaseUnitsError::BeyondDecimal { exact } = error else {
            panic!("{error:?}")
        };
        assert_eq!(
            exact,
            "115792089237316195423570985008687907853269984665640564039457584007913129.639935"
        );
        let error = BaseUnits::from(10_u128.pow(20) + 1).to_amount(20).unwrap_err();
        assert_eq!(
            error,
            BaseUnitsError::Residue {
                exact: "1.00000000000000000001".into(),
                truncated: "1".parse().unwrap()
            }
        );
        assert_eq!(
            BaseUnits::ZERO.to_amount(78),
            Err(BaseUnitsError::Decimals { decimals: 78 })
        );
    }

    #[test]
    fn books_finer_than_the_token_are_refused() {
        let amount: Amount = "0.0000001".parse().unwrap();
        assert_eq!(
            BaseUnits::from_amount(amount, 6),
            Err(BaseUnitsError::BelowOneUnit { amount, decimals: 6 })
        );
        let amount: Amount = "-1".parse().unwrap();
        assert_eq!(
            BaseUnits::from_amount(amount, 6),
            Err(BaseUnitsError::Negative { amount })
        );
    }

    proptest! {
        #[test]
        fn exact_both_ways_or_refused(word in any::<[u8; 32]>(), zeros in 0_usize..32, decimals in 0_u8..=77) {
            let mut word = word;
            word[..zeros].fill(0);
            let units = BaseUnits::from_be_bytes(word);
            match units.to_amount(decimals) {
                Ok(amount) => {
                    prop_assert_eq!(BaseUnits::from_amount(amount, decimals).unwrap(), units);
                    prop_assert_eq!(amount.to_string(), units.exact(decimals));
                }
                Err(BaseUnitsError::Residue { truncated, exact }) => {
                    prop_assert!(exact.starts_with(truncated.to_string().split('.').next().unwrap()));
                }
                Err(error) => {
                    let beyond = matches!(error, BaseUnitsError::BeyondDecimal { .. });
                    prop_assert!(beyond, "{error}");
                }
            }
        }
    }
}
