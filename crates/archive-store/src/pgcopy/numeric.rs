//! numeric(p,s) between PostgreSQL's base-10000 digits and a scaled integer, exactly in both directions.
//!
//! A numeric is sent as: count of digit groups, weight (the power of 10000 of the first group), sign, display scale,
//! groups. PostgreSQL strips leading and trailing zero groups; a zero has no group and weight 0. A column with a
//! declared scale holds only values of exactly that display scale, so the scaled integer alone gives the bytes back.

use crate::codec_error::ValueError;
use crate::pg_type::MAX_PRECISION;

const POSITIVE: u16 = 0x0000;
const NEGATIVE: u16 = 0x4000;
const NAN: u16 = 0xc000;
const PLUS_INFINITY: u16 = 0xd000;
const MINUS_INFINITY: u16 = 0xf000;

const HEADER_BYTES: usize = 8;
/// Decimal digits of one group.
const GROUP_DIGITS: u32 = 4;
/// 10^[`GROUP_DIGITS`].
const BASE: u16 = 10_000;
/// 38 digits on both sides of any point, and a group that is cut by the point.
const MAX_GROUPS: usize = 20;

const SPECIAL_REMEDY: &str = "an archive has no place for it: set the row to NULL or a number, keep the rows of this \
                              range, or add CHECK (column <> 'NaN') so that it cannot appear again";

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

/// 10^exponent, exponent ≤ 38.
pub(crate) fn power_of_ten(exponent: u32) -> u128 {
    POWERS_OF_TEN.get(exponent as usize).copied().unwrap_or(u128::MAX)
}

/// The scaled integer of a numeric's bytes.
pub(crate) fn decode(raw: &[u8], precision: u8, scale: u8) -> Result<i128, ValueError> {
    let (header, groups) = raw
        .split_first_chunk::<HEADER_BYTES>()
        .ok_or_else(|| ValueError::malformed("a numeric without header"))?;
    let word = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    let (count, weight, sign, display_scale) = (word(0), word(2).cast_signed(), word(4), word(6));
    let negative = match sign {
        POSITIVE => false,
        NEGATIVE => true,
        NAN => return Err(ValueError::new("the numeric is NaN", SPECIAL_REMEDY)),
        PLUS_INFINITY => return Err(ValueError::new("the numeric is Infinity", SPECIAL_REMEDY)),
        MINUS_INFINITY => return Err(ValueError::new("the numeric is -Infinity", SPECIAL_REMEDY)),
        other => {
            return Err(ValueError::malformed(format!(
                "a numeric with the sign {other:#06x}"
            )));
        }
    };
    if display_scale != u16::from(scale) {
        return Err(ValueError::malformed(format!(
            "a numeric with {display_scale} decimal places in a column of {scale}"
        )));
    }
    if groups.len() != usize::from(count) * 2 || usize::from(count) > MAX_GROUPS {
        return Err(ValueError::malformed(format!(
            "a numeric of {count} groups in {} bytes",
            groups.len()
        )));
    }
    if count == 0 {
        return if negative || weight != 0 {
            Err(ValueError::malformed("a zero with sign or weight"))
        } else {
            Ok(0)
        };
    }
    let magnitude = magnitude(groups, i32::from(weight), scale)?;
    if magnitude >= power_of_ten(u32::from(precision)) {
        return Err(ValueError::malformed(format!(
            "a numeric of more than {precision} digits"
        )));
    }
    let value = i128::try_from(magnitude)
        .map_err(|_too_large| ValueError::malformed("a numeric beyond 38 digits"))?;
    Ok(if negative { -value } else { value })
}

/// The unscaled integer; `groups` is not empty and has an even length.
fn magnitude(groups: &[u8], weight: i32, scale: u8) -> Result<u128, ValueError> {
    let too_wide = || ValueError::malformed(format!("a numeric of more than {MAX_PRECISION} digits"));
    let inexact = || ValueError::malformed("a numeric with digits beyond its decimal places");
    let group = |pair: &[u8]| u16::from_be_bytes([pair[0], pair[1]]);
    let (leading, last) = groups.split_at(groups.len() - 2);
    let last = group(last);
    let first = leading
        .first_chunk::<2>()
        .map_or(last, |pair| u16::from_be_bytes(*pair));
    if first == 0 || last == 0 {
        return Err(ValueError::malformed("a numeric with zero groups around it"));
    }
    let mut value = 0_u128;
    // Four groups fit a machine word, in which multiplying is cheap.
    for four in leading.chunks(4 * 2) {
        let (mut word, mut unit) = (0_u64, 1_u64);
        for pair in four.chunks_exact(2) {
            let digits = group(pair);
            if digits >= BASE {
                return Err(ValueError::malformed("a numeric with a group above 9999"));
            }
            word = word * u64::from(BASE) + u64::from(digits);
            unit *= u64::from(BASE);
        }
        value = value
            .checked_mul(unit.into())
            .and_then(|v| v.checked_add(word.into()))
            .ok_or_else(too_wide)?;
    }
    if last >= BASE {
        return Err(ValueError::malformed("a numeric with a group above 9999"));
    }
    // The power of ten of the last group's lowest digit, counted from the last decimal place.
    let groups_after_first = i32::try_from(groups.len() / 2).unwrap_or(i32::MAX) - 1;
    let exponent = (weight - groups_after_first) * GROUP_DIGITS.cast_signed() + i32::from(scale);
    match u32::try_from(exponent) {
        Ok(0) => value
            .checked_mul(u128::from(BASE))
            .and_then(|v| v.checked_add(last.into()))
            .ok_or_else(too_wide),
        Ok(exponent) => {
            if exponent > u32::from(MAX_PRECISION) {
                return Err(too_wide());
            }
            let whole = value
                .checked_mul(u128::from(BASE))
                .and_then(|v| v.checked_add(last.into()));
            whole
                .and_then(|v| v.checked_mul(power_of_ten(exponent)))
                .ok_or_else(too_wide)
        }
        Err(_) => {
            // The last group is cut by the end of the decimal places: only its upper digits count.
            let cut = exponent.unsigned_abs();
            if cut >= GROUP_DIGITS {
                return Err(inexact());
            }
            let unit = 10_u16.pow(cut);
            if last % unit != 0 {
                return Err(inexact());
            }
            let kept = u128::from(last / unit);
            let shift = power_of_ten(GROUP_DIGITS - cut);
            value
                .checked_mul(shift)
                .and_then(|v| v.checked_add(kept))
                .ok_or_else(too_wide)
        }
    }
}

/// Appends the bytes that PostgreSQL sends for `value / 10^scale` in a column of this scale.
pub(crate) fn encode(value: i128, scale: u8, out: &mut Vec<u8>) {
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
