//! PostgreSQL's binary `NUMERIC`, straight to and from a scaled `i128`.
//!
//! The wire form (`numeric_send` in PostgreSQL's `src/backend/utils/adt/numeric.c`): four big-endian 16-bit
//! fields (number of base-10000 digits, weight of the first digit, sign, display scale), then the digits. The
//! value is the sum of `digit[i] × 10000^(weight − i)`.

/// Why the bytes are no amount.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NumericError {
    /// `'NaN'::numeric`.
    #[error("the NUMERIC is NaN, which is not an amount of money")]
    NotANumber,
    /// `'Infinity'::numeric` or `'-Infinity'::numeric`.
    #[error("the NUMERIC is infinite, which is not an amount of money")]
    Infinite,
    /// Digits beyond the eighteenth decimal that are not zero.
    #[error("the NUMERIC has more than 18 decimals; DECIMAL(36,18) cannot hold it exactly")]
    TooManyDecimals,
    /// 10^18 or more.
    #[error("the NUMERIC has more than 18 digits before the point; DECIMAL(36,18) cannot hold it")]
    TooLarge,
    /// Not the binary form at all.
    #[error("the bytes are not PostgreSQL's binary NUMERIC: {0}")]
    Malformed(&'static str),
}

const POSITIVE: u16 = 0x0000;
const NEGATIVE: u16 = 0x4000;
const NAN: u16 = 0xC000;
const POSITIVE_INFINITY: u16 = 0xD000;
const NEGATIVE_INFINITY: u16 = 0xF000;

const BASE: i128 = 10_000;
const LIMIT: i128 = 10_i128.pow(36);
/// Decimals per base-10000 digit.
const DIGIT_DECIMALS: i32 = 4;
const SCALE: i32 = 18;
const DISPLAY_SCALE: u16 = 18;

/// The value scaled by 10^18.
pub(crate) fn decode(bytes: &[u8]) -> Result<i128, NumericError> {
    let (header, digits) = bytes
        .split_at_checked(8)
        .ok_or(NumericError::Malformed("shorter than its header"))?;
    let field = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    let (count, weight, sign) = (field(0), i32::from(field(2).cast_signed()), field(4));
    let negative = match sign {
        POSITIVE => false,
        NEGATIVE => true,
        NAN => return Err(NumericError::NotANumber),
        POSITIVE_INFINITY | NEGATIVE_INFINITY => return Err(NumericError::Infinite),
        _ => return Err(NumericError::Malformed("unknown sign")),
    };
    if digits.len() != usize::from(count) * 2 {
        return Err(NumericError::Malformed(
            "its length does not match its digit count",
        ));
    }
    let mut magnitude: i128 = 0;
    let mut exponent = weight;
    for pair in digits.chunks_exact(2) {
        let digit = i128::from(u16::from_be_bytes([pair[0], pair[1]]));
        if digit >= BASE {
            return Err(NumericError::Malformed("a digit is above 9999"));
        }
        magnitude = add_digit(magnitude, digit, exponent)?;
        exponent -= 1;
    }
    Ok(if negative { -magnitude } else { magnitude })
}

/// `magnitude + digit × 10000^exponent`, scaled by 10^18.
fn add_digit(magnitude: i128, digit: i128, exponent: i32) -> Result<i128, NumericError> {
    if digit == 0 {
        return Ok(magnitude);
    }
    let shift = exponent * DIGIT_DECIMALS + SCALE;
    let scaled = if shift >= 36 {
        return Err(NumericError::TooLarge);
    } else if shift >= 0 {
        // digit < 10^4 and shift ≤ 35, so the product is below 10^39; the check refuses what exceeds an i128.
        10_i128
            .checked_pow(shift.unsigned_abs())
            .and_then(|unit| unit.checked_mul(digit))
            .ok_or(NumericError::TooLarge)?
    } else if shift > -DIGIT_DECIMALS {
        // The digit straddles the eighteenth decimal: what lies beyond it must be zero.
        let unit = 10_i128.pow(shift.unsigned_abs());
        if digit % unit != 0 {
            return Err(NumericError::TooManyDecimals);
        }
        digit / unit
    } else {
        return Err(NumericError::TooManyDecimals);
    };
    match magnitude.checked_add(scaled) {
        Some(sum) if sum < LIMIT => Ok(sum),
        _ => Err(NumericError::TooLarge),
    }
}

/// Appends the binary form with display scale 18.
pub(crate) fn encode(scaled: i128, out: &mut Vec<u8>) {
    // 18 decimals are four and a half base-10000 digits: two more decimals align the last digit (20 = 5 × 4).
    let mut rest = scaled.unsigned_abs() * 100;
    let mut reversed: Vec<u16> = Vec::with_capacity(10);
    while rest > 0 {
        reversed.push(u16::try_from(rest % BASE.unsigned_abs()).unwrap_or_default());
        rest /= BASE.unsigned_abs();
    }
    let weight = i16::try_from(reversed.len()).unwrap_or_default() - 6;
    let digits: Vec<u16> = {
        let trailing_zeros = reversed.iter().take_while(|digit| **digit == 0).count();
        reversed.iter().skip(trailing_zeros).rev().copied().collect()
    };
    let sign = if scaled < 0 { NEGATIVE } else { POSITIVE };
    let count = u16::try_from(digits.len()).unwrap_or_default();
    let weight = if digits.is_empty() { 0 } else { weight };
    for field in [count, weight.cast_unsigned(), sign, DISPLAY_SCALE] {
        out.extend_from_slice(&field.to_be_bytes());
    }
    for digit in digits {
        out.extend_from_slice(&digit.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header(count: u16, weight: i16, sign: u16) -> Vec<u8> {
        [count, weight.cast_unsigned(), sign, 18]
            .iter()
            .flat_map(|field| field.to_be_bytes())
            .collect()
    }

    fn with_digits(weight: i16, sign: u16, digits: &[u16]) -> Vec<u8> {
        let mut bytes = header(u16::try_from(digits.len()).unwrap(), weight, sign);
        bytes.extend(digits.iter().flat_map(|digit| digit.to_be_bytes()));
        bytes
    }

    #[test]
    fn known_values() {
        // SELECT 12345.6789::numeric → digits 1, 2345, 6789 with weight 1.
        assert_eq!(
            decode(&with_digits(1, POSITIVE, &[1, 2345, 6789])),
            Ok(123_456_789 * 10_i128.pow(14))
        );
        assert_eq!(decode(&with_digits(0, NEGATIVE, &[1])), Ok(-(10_i128.pow(18))));
        assert_eq!(
            decode(&with_digits(-5, POSITIVE, &[100])),
            Ok(1),
            "1e-18 straddles the last digit"
        );
        assert_eq!(decode(&header(0, 0, POSITIVE)), Ok(0));
    }

    #[test]
    fn ruling_18_nan_and_infinity_are_refused_by_name() {
        assert_eq!(decode(&header(0, 0, NAN)), Err(NumericError::NotANumber));
        assert_eq!(
            decode(&header(0, 0, POSITIVE_INFINITY)),
            Err(NumericError::Infinite)
        );
        assert_eq!(
            decode(&header(0, 0, NEGATIVE_INFINITY)),
            Err(NumericError::Infinite)
        );
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert_eq!(
            decode(&with_digits(-5, POSITIVE, &[1])),
            Err(NumericError::TooManyDecimals)
        );
        assert_eq!(
            decode(&with_digits(-6, POSITIVE, &[1])),
            Err(NumericError::TooManyDecimals)
        );
        assert_eq!(
            decode(&with_digits(4, POSITIVE, &[100])),
            Err(NumericError::TooLarge),
            "10^18"
        );
        assert_eq!(
            decode(&with_digits(5, POSITIVE, &[1])),
            Err(NumericError::TooLarge)
        );
        assert!(matches!(decode(&[0; 7]), Err(NumericError::Malformed(_))));
        assert!(matches!(
            decode(&with_digits(0, POSITIVE, &[10_000])),
            Err(NumericError::Malformed(_))
        ));
        assert!(matches!(
            decode(&with_digits(0, 0x1234, &[1])),
            Err(NumericError::Malformed(_))
        ));
        assert!(matches!(
            decode(&header(2, 0, POSITIVE)),
            Err(NumericError::Malformed(_))
        ));
    }

    proptest! {
        #[test]
        fn round_trips(scaled in (1 - LIMIT)..LIMIT) {
            let mut bytes = Vec::new();
            encode(scaled, &mut bytes);
            prop_assert_eq!(decode(&bytes), Ok(scaled));
        }

        #[test]
        fn any_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = decode(&bytes);
        }

        #[test]
        fn agrees_with_a_naive_model(
            digits in proptest::collection::vec(0_u16..10_000, 1..12),
            weight in -6_i16..6,
        ) {
            // The model sums digit × 10^(4·(weight − i) + 18) in 256 bits, scaled by a further 10^32 so that
            // digits below the eighteenth decimal stay visible.
            let unit = |exponent: i32| ethnum::U256::from(10_u8).pow(exponent.unsigned_abs());
            let mut model = ethnum::U256::ZERO;
            for (i, digit) in digits.iter().enumerate() {
                let exponent = (i32::from(weight) - i32::try_from(i).unwrap()) * 4 + 18 + 32;
                if exponent >= 0 {
                    model += ethnum::U256::from(*digit) * unit(exponent);
                } else if *digit != 0 {
                    return Ok(()); // 10^-51 and below: out of the model's sight
                }
            }
            let expected = if model >= ethnum::U256::from(10_u8).pow(36 + 32) {
                Err(NumericError::TooLarge)
            } else if model % unit(32) != 0 {
                Err(NumericError::TooManyDecimals)
            } else {
                Ok(i128::try_from(model / unit(32)).unwrap())
            };
            match (decode(&with_digits(weight, POSITIVE, &digits)), expected) {
                (Ok(got), Ok(want)) => prop_assert_eq!(got, want),
                (Err(_), Err(_)) => {}
                (got, want) => prop_assert!(false, "{:?} against the model's {:?}", got, want),
            }
        }
    }
}
