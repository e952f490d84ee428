//! [`Amount`]: money that is compared, summed or moved.

use std::fmt;
use std::str::FromStr;

use rust_decimal::Decimal;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::decimal;
use crate::numeric::{self, NumericError};

/// An exact amount of a token, the value space of PostgreSQL's `DECIMAL(36,18)`.
///
/// Stored as a signed 128-bit integer scaled by 10^18. `DECIMAL(36,18)` has 36 digits, so every value is
/// below 10^36 and fits with room to spare (`i128` reaches 1.7·10^38). `rust_decimal` has 28 digits and
/// cannot hold it; floats cannot hold money at all (rulings 18–20).
///
/// Every operation is checked; an overflow is [`AmountError::Overflow`] and names the operation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Amount(i128);

/// Why an amount could not be made or calculated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// The result needs more than 36 digits.
    #[error("{operation} overflows DECIMAL(36,18)")]
    Overflow {
        /// What was being calculated.
        operation: &'static str,
    },
    /// The text is not a decimal number of at most 18 decimals.
    #[error("'{text}' is not a decimal number: {reason}")]
    NotADecimal {
        /// The text that was refused (at most 80 characters of it).
        text: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The bytes are not a `NUMERIC` that an amount can hold.
    #[error(transparent)]
    Numeric(#[from] NumericError),
}

/// Digits of `DECIMAL(36,18)`.
const PRECISION: u8 = 36;
/// Decimals of `DECIMAL(36,18)`.
const SCALE: u8 = 18;
const ONE: i128 = 10_i128.pow(SCALE as u32);
const LIMIT: i128 = 10_i128.pow(PRECISION as u32);

impl Amount {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// The largest value of `DECIMAL(36,18)`: eighteen nines before the point, eighteen after it.
    pub const MAX: Self = Self(LIMIT - 1);
    /// The smallest value of `DECIMAL(36,18)`.
    pub const MIN: Self = Self(1 - LIMIT);

    /// An amount from its scaled integer (10^18 is one whole token).
    ///
    /// # Errors
    /// [`AmountError::Overflow`] beyond 36 digits.
    pub const fn from_scaled(scaled: i128) -> Result<Self, AmountError> {
        if scaled >= LIMIT || scaled <= -LIMIT {
            return Err(AmountError::Overflow {
                operation: "conversion from a scaled integer",
            });
        }
        Ok(Self(scaled))
    }

    /// A whole number of tokens.
    ///
    /// # Errors
    /// [`AmountError::Overflow`] at 10^18 tokens or more.
    pub const fn from_whole(tokens: i64) -> Result<Self, AmountError> {
        // An i64 times 10^18 is below 10^37 and cannot overflow an i128; only the 36 digits can be exceeded.
        Self::from_scaled(tokens as i128 * ONE)
    }

    /// The scaled integer: 10^18 is one whole token. Below 10^36 in magnitude.
    #[must_use]
    pub const fn scaled(self) -> i128 {
        self.0
    }

    /// `self + other`.
    ///
    /// # Errors
    /// [`AmountError::Overflow`] beyond 36 digits.
    pub const fn checked_add(self, other: Self) -> Result<Self, AmountError> {
        in_range(self.0.checked_add(other.0), "addition")
    }

    /// `self − other`.
    ///
    /// # Errors
    /// [`AmountError::Overflow`] beyond 36 digits.
    pub const fn checked_sub(self, other: Self) -> Result<Self, AmountError> {
        in_range(self.0.checked_sub(other.0), "subtraction")
    }

    /// `−self`. The range is symmetric, so this cannot fail.
    #[must_use]
    pub const fn negated(self) -> Self {
        Self(-self.0)
    }

    /// The magnitude. The range is symmetric, so this cannot fail.
    #[must_use]
    pub const fn abs(self) -> Self {
        Self(self.0.abs())
    }

    /// True for exactly nothing.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// True below zero.
    #[must_use]
    pub const fn is_negative(self) -> bool {
        self.0 < 0
    }

    /// `self × price`, truncated toward zero at 18 decimals: what an amount is worth. For severity and
    /// display only; balances are never multiplied.
    ///
    /// # Errors
    /// [`AmountError::Overflow`] beyond 36 digits.
    pub fn valued_at(self, price: Decimal) -> Result<Self, AmountError> {
        const OVERFLOW: AmountError = AmountError::Overflow {
            operation: "valuation at a price",
        };
        let product = ethnum::I256::from(self.0)
            .checked_mul(ethnum::I256::from(price.mantissa()))
            .ok_or(OVERFLOW)?;
        // rust_decimal's scale is at most 28, and 10^28 fits an i128.
        let value = product / ethnum::I256::from(10_i128.pow(price.scale()));
        i128::try_from(value).map_or(Err(OVERFLOW), |scaled| {
            in_range(Some(scaled), "valuation at a price")
        })
    }

    /// Reads PostgreSQL's binary `NUMERIC`, the form of `COPY … BINARY` and of binary result columns.
    ///
    /// # Errors
    /// NaN, infinities, more than 18 decimals, more than 36 digits and malformed bytes are refused by name.
    pub fn from_pg_numeric(bytes: &[u8]) -> Result<Self, AmountError> {
        Ok(Self(numeric::decode(bytes, PRECISION, SCALE)?))
    }

    /// Appends PostgreSQL's binary `NUMERIC` for this amount.
    pub fn write_pg_numeric(self, out: &mut Vec<u8>) {
        numeric::encode(self.0, SCALE, out);
    }
}

const fn in_range(value: Option<i128>, operation: &'static str) -> Result<Amount, AmountError> {
    match value {
        Some(scaled) if scaled < LIMIT && scaled > -LIMIT => Ok(Amount(scaled)),
        _ => Err(AmountError::Overflow { operation }),
    }
}

/// Plain decimal notation without trailing zeros: `0.000001`, `-12.5`, `3`.
impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = decimal::shortest(&self.0.unsigned_abs().to_string(), SCALE);
        f.pad_integral(self.0 >= 0, "", &digits)
    }
}

impl fmt::Debug for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Amount({self})")
    }
}

impl FromStr for Amount {
    type Err = AmountError;

    fn from_str(text: &str) -> Result<Self, AmountError> {
        let refuse = |reason| AmountError::NotADecimal {
            text: text.chars().take(80).collect(),
            reason,
        };
        let (negative, unsigned) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
        if whole.is_empty() && fraction.is_empty() {
            return Err(refuse("there are no digits"));
        }
        if !whole
            .bytes()
            .chain(fraction.bytes())
            .all(|byte| byte.is_ascii_digit())
        {
            return Err(refuse("only digits, one sign and one point are allowed"));
        }
        let fraction = fraction.trim_end_matches('0');
        if fraction.len() > usize::from(SCALE) {
            return Err(refuse("it has more than 18 decimals"));
        }
        let whole = whole.trim_start_matches('0');
        if whole.len() > 18 {
            return Err(AmountError::Overflow {
                operation: "conversion from text",
            });
        }
        // At most 36 digits by the two checks above, so the parse cannot fail.
        let magnitude: i128 = format!("0{whole}{fraction:0<18}")
            .parse()
            .map_err(|_not_reached| refuse("it does not fit 36 digits"))?;
        Ok(Self(if negative { -magnitude } else { magnitude }))
    }
}

/// Money travels as a string: a JSON number would pass through a float in most readers.
impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn amount(text: &str) -> Amount {
        text.parse().unwrap()
    }

    #[test]
    fn shows_and_reads_plain_decimals() {
        for text in [
            "0",
            "1",
            "-1",
            "0.000000000000000001",
            "-12.5",
            "999999999999999999.999999999999999999",
        ] {
            assert_eq!(amount(text).to_string(), text);
        }
        assert_eq!(amount("1.500000000000000000"), amount("+1.5"));
        assert_eq!(amount(".5"), amount("0.5"));
        assert_eq!(format!("{:>8}", amount("-1.5")), "    -1.5");
    }

    #[test]
    fn refuses_what_is_not_a_decimal() {
        for text in [
            "",
            "-",
            ".",
            "1e5",
            "NaN",
            "inf",
            "1.0000000000000000001",
            "1 ",
            "１",
            "--1",
            "1.2.3",
        ] {
            assert!(
                matches!(text.parse::<Amount>(), Err(AmountError::NotADecimal { .. })),
                "{text}"
            );
        }
    }

    #[test]
    fn overflow_has_a_name() {
        let overflow = |operation| Err(AmountError::Overflow { operation });
        assert_eq!(
            "1000000000000000000".parse::<Amount>(),
            overflow("conversion from text")
        );
        assert_eq!(
            Amount::MAX.checked_add(amount("0.000000000000000001")),
            overflow("addition")
        );
        assert_eq!(Amount::MIN.checked_sub(amount("1")), overflow("subtraction"));
        assert_eq!(
            Amount::MAX.valued_at(Decimal::TWO),
            overflow("valuation at a price")
        );
    }

    #[test]
    fn value_truncates_toward_zero() {
        assert_eq!(
            amount("3").valued_at("0.5".parse().unwrap()).unwrap(),
            amount("1.5")
        );
        let one_unit = amount("0.000000000000000001");
        assert_eq!(one_unit.valued_at("0.9".parse().unwrap()).unwrap(), Amount::ZERO);
        assert_eq!(
            one_unit.negated().valued_at("0.9".parse().unwrap()).unwrap(),
            Amount::ZERO
        );
    }

    prop_compose! {
        fn any_amount()(scaled in (1 - LIMIT)..LIMIT) -> Amount { Amount(scaled) }
    }

    proptest! {
        #[test]
        fn text_round_trips(value in any_amount()) {
            prop_assert_eq!(value.to_string().parse::<Amount>().unwrap(), value);
        }

        #[test]
        fn json_is_a_string_and_round_trips(value in any_amount()) {
            let json = serde_json::to_string(&value).unwrap();
            prop_assert!(json.starts_with('"'));
            prop_assert_eq!(serde_json::from_str::<Amount>(&json).unwrap(), value);
        }

        #[test]
        fn arithmetic_agrees_with_wide_integers(a in any_amount(), b in any_amount()) {
            let wide = ethnum::I256::from(a.scaled()) + ethnum::I256::from(b.scaled());
            match a.checked_add(b) {
                Ok(sum) => {
                    prop_assert_eq!(ethnum::I256::from(sum.scaled()), wide);
                    prop_assert_eq!(sum.checked_sub(b).unwrap(), a);
                }
                Err(_) => prop_assert!(wide.abs() >= ethnum::I256::from(LIMIT)),
            }
        }
    }
}
