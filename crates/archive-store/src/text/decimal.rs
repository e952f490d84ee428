//! Scaled integers as decimal text.

use crate::codec_error::ValueError;
use crate::pgcopy::numeric::power_of_ten;

/// Appends `value / 10^scale` with exactly `scale` decimal places.
pub(crate) fn format_decimal(value: i128, scale: u8, out: &mut String) {
    place_point(&value.to_string(), scale, out);
}

/// Appends an integer's text with its last `scale` digits behind a point.
pub(crate) fn place_point(integer: &str, scale: u8, out: &mut String) {
    let (sign, digits) = integer
        .strip_prefix('-')
        .map_or(("", integer), |digits| ("-", digits));
    out.push_str(sign);
    let scale = usize::from(scale);
    if scale == 0 {
        out.push_str(digits);
        return;
    }
    let split = digits.len().saturating_sub(scale);
    let (whole, fraction) = digits.split_at(split);
    out.push_str(if whole.is_empty() { "0" } else { whole });
    out.push('.');
    out.extend(std::iter::repeat_n('0', scale - fraction.len()));
    out.push_str(fraction);
}

/// The way back; the text has exactly `scale` decimal places.
pub(super) fn parse_decimal(text: &str, precision: u8, scale: u8) -> Result<i128, ValueError> {
    let malformed = || ValueError::malformed(format!("no numeric with {scale} decimal places"));
    let (negative, digits) = text
        .strip_prefix('-')
        .map_or((false, text), |digits| (true, digits));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() || fraction.len() != usize::from(scale) || digits.ends_with('.') {
        return Err(malformed());
    }
    let mut value = 0_i128;
    for byte in whole.bytes().chain(fraction.bytes()) {
        if !byte.is_ascii_digit() {
            return Err(malformed());
        }
        value = value
            .checked_mul(10)
            .and_then(|value| value.checked_add(i128::from(byte - b'0')))
            .ok_or_else(malformed)?;
    }
    if value.unsigned_abs() >= power_of_ten(u32::from(precision)) {
        return Err(ValueError::malformed(format!(
            "a numeric of more than {precision} digits"
        )));
    }
    Ok(if negative { -value } else { value })
}
