//! PostgreSQL's binary `NUMERIC`, straight to and from a scaled integer, exactly in both directions.
//!
//! The wire form (`numeric_send` in PostgreSQL's `src/backend/utils/adt/numeric.c`): four big-endian 16-bit fields
//! (number of groups, weight of the first group, sign, display scale), then the groups, each of four decimal digits. The
//! value is the sum of `group[i] × 10000^(weight − i)`. PostgreSQL strips leading and trailing zero groups; zero has no
//! group and weight 0. A column with a declared scale holds only values of exactly that display scale, so the scaled
//! integer alone gives the bytes back.

/// Why the bytes are not a number that the column can hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NumericError {
    /// `'NaN'::numeric`.
    #[error("the NUMERIC is NaN, which is not an amount of money")]
    NotANumber,
    /// `'Infinity'::numeric` or `'-Infinity'::numeric`.
    #[error("the NUMERIC is infinite, which is not an amount of money")]
    Infinite,
    /// Digits beyond the last decimal that are not zero.
    #[error(
        "the NUMERIC has more than {scale} decimals; DECIMAL({precision},{scale}) cannot hold it exactly"
    )]
    TooManyDecimals {
        /// Digits of the column.
        precision: u8,
        /// Decimals of the column.
        scale: u8,
    },
    /// More digits before the point than the column has.
    #[error(
        "the NUMERIC has more than {} digits before the point; DECIMAL({precision},{scale}) cannot hold it",
        precision.saturating_sub(*scale)
    )]
    TooLarge {
        /// Digits of the column.
        precision: u8,
        /// Decimals of the column.
        scale: u8,
    },
    /// Not the binary form at all.
    #[error("the bytes are not PostgreSQL's binary NUMERIC: {0}")]
    Malformed(String),
}

/// The most digits of a number that is scaled into 128 bits.
pub const MAX_PRECISION: u8 = 38;

const POSITIVE: u16 = 0x0000;
const NEGATIVE: u16 = 0x4000;
const NAN: u16 = 0xC000;
const POSITIVE_INFINITY: u16 = 0xD000;
const NEGATIVE_INFINITY: u16 = 0xF000;

const HEADER_BYTES: usize = 8;
/// Decimal digits of one group.
const GROUP_DIGITS: u32 = 4;
/// 10^[`GROUP_DIGITS`].
const BASE: u16 = 10_000;
/// 38 digits on both sides of any point, and a group that is cut by the point.
const MAX_GROUPS: usize = 20;

/// 10^0 to 10^38.
const POWERS_OF_TEN: [u128; MAX_PRECISION as usize + 1] = {
    let mut powers = [1; MAX_PRECISION as usize + 1];
    let mut exponent = 1;
    while exponent < powers.len() {
        powers[exponent] = powers[exponent - 1] * 10;
        exponent += 1;
    }
    powers
};

/// Returns 10^exponent; `u128::MAX` for an exponent above 38.
#[must_use]
pub fn power_of_ten(exponent: u32) -> u128 {
    POWERS_OF_TEN.get(exponent as usize).copied().unwrap_or(u128::MAX)
}

/// Returns the value scaled by 10^`scale`, of any form that PostgreSQL accepts: with any display scale, and with zero
/// groups around it.
///
/// # Errors
/// [`NumericError`]: the value has other digits than `precision` and `scale` allow, or the bytes are not a NUMERIC.
pub fn decode(bytes: &[u8], precision: u8, scale: u8) -> Result<i128, NumericError> {
    let mut parsed = Parsed::read(bytes)?;
    parsed.trim();
    parsed.scaled(precision, scale)
}

/// Returns the value scaled by 10^`scale`, if these are exactly the bytes that [`encode`] makes of it.
///
/// # Errors
/// As [`decode`]; [`NumericError::Malformed`] also for another display scale, zero groups around the number, and a zero
/// with sign or weight.
pub fn decode_canonical(bytes: &[u8], precision: u8, scale: u8) -> Result<i128, NumericError> {
    let parsed = Parsed::read(bytes)?;
    if parsed.display_scale != u16::from(scale) {
        return Err(malformed(format!(
            "it has {} decimal places in a column of {scale}",
            parsed.display_scale
        )));
    }
    if parsed.groups.is_empty() && (parsed.negative || parsed.weight != 0) {
        return Err(malformed("it is a zero with sign or weight"));
    }
    if parsed.groups.starts_with(&[0, 0]) || parsed.groups.ends_with(&[0, 0]) {
        return Err(malformed("it has zero groups around it"));
    }
    parsed.scaled(precision, scale)
}

fn malformed(what: impl Into<String>) -> NumericError {
    NumericError::Malformed(what.into())
}

/// The fields of a number, its groups as they were sent.
struct Parsed<'a> {
    negative: bool,
    weight: i32,
    display_scale: u16,
    /// Two bytes each.
    groups: &'a [u8],
}

impl<'a> Parsed<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, NumericError> {
        let (header, groups) = bytes
            .split_first_chunk::<HEADER_BYTES>()
            .ok_or_else(|| malformed("it is without header"))?;
        let field = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        let (count, sign) = (field(0), field(4));
        let negative = match sign {
            POSITIVE => false,
            NEGATIVE => true,
            NAN => return Err(NumericError::NotANumber),
            POSITIVE_INFINITY | NEGATIVE_INFINITY => return Err(NumericError::Infinite),
            other => return Err(malformed(format!("it has the unknown sign {other:#06x}"))),
        };
        if groups.len() != usize::from(count) * 2 {
            return Err(malformed(format!(
                "it says {count} groups in {} bytes",
                groups.len()
            )));
        }
        Ok(Self {
            negative,
            weight: i32::from(field(2).cast_signed()),
            display_scale: field(6),
            groups,
        })
    }

    /// Removes zero groups at both ends.
    fn trim(&mut self) {
        while let Some(rest) = self.groups.strip_prefix(&[0, 0]) {
            self.groups = rest;
            self.weight -= 1;
        }
        while let Some(rest) = self.groups.strip_suffix(&[0, 0]) {
            self.groups = rest;
        }
    }

    fn scaled(&self, precision: u8, scale: u8) -> Result<i128, NumericError> {
        let too_large = || NumericError::TooLarge { precision, scale };
        let Some((leading, last)) = self.groups.split_last_chunk::<2>() else {
            return Ok(0);
        };
        let last = checked_group(*last)?;
        // The power of ten of the last group's lowest digit, counted from the last decimal place.
        let groups_after_first = i32::try_from(leading.len() / 2).unwrap_or(i32::MAX);
        let exponent = (self.weight - groups_after_first) * GROUP_DIGITS.cast_signed() + i32::from(scale);
        // What the leading groups are multiplied by, and what the last one adds.
        let (unit, added) = if exponent >= 0 {
            (u128::from(BASE), last)
        } else {
            let cut = exponent.unsigned_abs();
            // The last group is cut by the end of the decimal places: only its upper digits count.
            if cut >= GROUP_DIGITS || last % 10_u16.pow(cut) != 0 {
                return Err(NumericError::TooManyDecimals { precision, scale });
            }
            (power_of_ten(GROUP_DIGITS - cut), last / 10_u16.pow(cut))
        };
        let mut magnitude = joined(leading)?
            .and_then(|value| value.checked_mul(unit))
            .and_then(|value| value.checked_add(added.into()))
            .ok_or_else(too_large)?;
        if exponent > 0 {
            magnitude = magnitude
                .checked_mul(power_of_ten(exponent.unsigned_abs()))
                .ok_or_else(too_large)?;
        }
        if magnitude >= power_of_ten(precision.into()) {
            return Err(too_large());
        }
        let value = i128::try_from(magnitude).map_err(|_beyond| too_large())?;
        Ok(if self.negative { -value } else { value })
    }
}

fn checked_group(pair: [u8; 2]) -> Result<u16, NumericError> {
    let group = u16::from_be_bytes(pair);
    if group < BASE {
        Ok(group)
    } else {
        Err(malformed("it has a group above 9999"))
    }
}

/// Returns the groups as one integer. `None`: beyond 128 bits.
fn joined(groups: &[u8]) -> Result<Option<u128>, NumericError> {
    let mut value = 0_u128;
    // Four groups fit a machine word, in which multiplying is cheap.
    for four in groups.chunks(4 * 2) {
        let (mut word, mut unit) = (0_u64, 1_u64);
        for pair in four.chunks_exact(2) {
            word = word * u64::from(BASE) + u64::from(checked_group([pair[0], pair[1]])?);
            unit *= u64::from(BASE);
        }
        let next = value
            .checked_mul(unit.into())
            .and_then(|value| value.checked_add(word.into()));
        let Some(next) = next else {
            return Ok(None);
        };
        value = next;
    }
    Ok(Some(value))
}

/// Appends the bytes that PostgreSQL sends for `value / 10^scale` in a column of this scale.
pub fn encode(value: i128, scale: u8, out: &mut Vec<u8>) {
    let display_scale = u32::from(scale);
    let fraction_groups = display_scale.div_ceil(GROUP_DIGITS);
    // Decimal places that the lowest group has more than the scale.
    let padding = fraction_groups * GROUP_DIGITS - display_scale;
    let mut groups = [0_u16; MAX_GROUPS];
    let count = split_groups(value.unsigned_abs(), padding, &mut groups);
    let lowest = groups
        .iter()
        .take(count)
        .position(|group| *group != 0)
        .unwrap_or(count);
    let groups = groups.get(lowest..count).unwrap_or_default();
    // Both are below 40, as no value has more than 38 digits.
    let weight = if groups.is_empty() {
        0
    } else {
        count.cast_signed() - 1 - fraction_groups.cast_signed() as isize
    };
    let sign = if value < 0 { NEGATIVE } else { POSITIVE };
    let word = |number: isize| i16::try_from(number).unwrap_or(i16::MAX).to_be_bytes();
    out.extend_from_slice(&word(groups.len().cast_signed()));
    out.extend_from_slice(&word(weight));
    out.extend_from_slice(&sign.to_be_bytes());
    out.extend_from_slice(&u16::from(scale).to_be_bytes());
    for group in groups.iter().rev() {
        out.extend_from_slice(&group.to_be_bytes());
    }
}

/// Fills `groups`, the lowest first, of `magnitude * 10^padding`, and returns how many there are up to the highest
/// one that is not zero.
fn split_groups(mut magnitude: u128, padding: u32, groups: &mut [u16; MAX_GROUPS]) -> usize {
    /// Four groups fit a machine word, whose division is cheap.
    const WORD: u128 = 10_u128.pow(16);
    let mut count = 0;
    let mut put = |group: u64| {
        if let Some(place) = groups.get_mut(count) {
            // Below 10000.
            *place = u16::try_from(group).unwrap_or(u16::MAX);
        }
        count += 1;
    };
    if padding > 0 && magnitude > 0 {
        let unit = power_of_ten(GROUP_DIGITS - padding);
        put(low_u64(magnitude % unit) * low_u64(power_of_ten(padding)));
        magnitude /= unit;
    }
    while magnitude > 0 {
        let last_word = magnitude < WORD;
        let mut word = low_u64(magnitude % WORD);
        magnitude /= WORD;
        for _ in 0..4 {
            if last_word && word == 0 {
                break;
            }
            put(word % u64::from(BASE));
            word /= u64::from(BASE);
        }
    }
    count.min(MAX_GROUPS)
}

/// For numbers that are known to be below 2^64.
fn low_u64(number: u128) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMIT: i128 = 10_i128.pow(36);
    const TOO_LARGE: NumericError = NumericError::TooLarge {
        precision: 36,
        scale: 18,
    };
    const TOO_MANY_DECIMALS: NumericError = NumericError::TooManyDecimals {
        precision: 36,
        scale: 18,
    };

    fn decode(bytes: &[u8]) -> Result<i128, NumericError> {
        super::decode(bytes, 36, 18)
    }

    fn encode(scaled: i128, out: &mut Vec<u8>) {
        super::encode(scaled, 18, out);
    }

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
        assert_eq!(decode(&with_digits(-5, POSITIVE, &[1])), Err(TOO_MANY_DECIMALS));
        assert_eq!(decode(&with_digits(-6, POSITIVE, &[1])), Err(TOO_MANY_DECIMALS));
        assert_eq!(decode(&with_digits(4, POSITIVE, &[100])), Err(TOO_LARGE), "10^18");
        assert_eq!(decode(&with_digits(5, POSITIVE, &[1])), Err(TOO_LARGE));
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

    #[test]
    fn messages_name_the_column() {
        assert_eq!(
            TOO_MANY_DECIMALS.to_string(),
            "the NUMERIC has more than 18 decimals; DECIMAL(36,18) cannot hold it exactly"
        );
        assert_eq!(
            TOO_LARGE.to_string(),
            "the NUMERIC has more than 18 digits before the point; DECIMAL(36,18) cannot hold it"
        );
    }

    #[test]
    fn only_the_bytes_that_come_back_are_canonical() {
        let canonical = |bytes: &[u8]| decode_canonical(bytes, 36, 18);
        assert_eq!(canonical(&with_digits(0, NEGATIVE, &[1])), Ok(-(10_i128.pow(18))));
        let mut five_decimals = with_digits(0, POSITIVE, &[1]);
        five_decimals[7] = 5;
        for bytes in [
            with_digits(1, POSITIVE, &[0, 1]),
            with_digits(0, POSITIVE, &[1, 0]),
            header(0, 0, NEGATIVE),
            header(0, 1, POSITIVE),
            five_decimals,
        ] {
            assert!(decode(&bytes).is_ok(), "{bytes:?}");
            assert!(
                matches!(canonical(&bytes), Err(NumericError::Malformed(_))),
                "{bytes:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn every_column_s_values_come_back(
            value in (1 - 10_i128.pow(38))..10_i128.pow(38), precision in 1_u8..=38, scale in 0_u8..=38,
        ) {
            let value = value % i128::try_from(power_of_ten(precision.into())).unwrap();
            let mut bytes = Vec::new();
            super::encode(value, scale, &mut bytes);
            prop_assert_eq!(decode_canonical(&bytes, precision, scale), Ok(value));
            prop_assert_eq!(super::decode(&bytes, precision, scale), Ok(value));
        }

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
                Err(TOO_LARGE)
            } else if model % unit(32) != 0 {
                Err(TOO_MANY_DECIMALS)
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
