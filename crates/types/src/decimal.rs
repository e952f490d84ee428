//! Scaled integers as decimal text.

use crate::numeric::power_of_ten;

/// Appends `value / 10^scale` with exactly `scale` decimals.
pub fn format(value: i128, scale: u8, out: &mut String) {
    place_point(&value.to_string(), scale, out);
}

/// Appends the text of an integer with a point before its last `scale` digits.
pub fn place_point(integer: &str, scale: u8, out: &mut String) {
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

/// Returns an integer's text as a decimal of at most `scale` decimals, without trailing zeros: `12.5`, `3`.
pub(crate) fn shortest(integer: &str, scale: u8) -> String {
    let mut text = String::with_capacity(integer.len() + 2);
    place_point(integer, scale, &mut text);
    if scale > 0 {
        let kept = text.trim_end_matches('0').trim_end_matches('.').len();
        text.truncate(kept);
    }
    text
}

/// Reads what [`format()`] writes: the text has exactly `scale` decimals and at most `precision` digits.
///
/// # Errors
/// A sentence that says what the text is not.
pub fn parse(text: &str, precision: u8, scale: u8) -> Result<i128, String> {
    let malformed = || format!("no numeric with {scale} decimal places");
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
    if value.unsigned_abs() >= power_of_ten(precision.into()) {
        return Err(format!("a numeric of more than {precision} digits"));
    }
    Ok(if negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_shortest_text_has_no_zeros_at_its_end() {
        for (integer, scale, text) in [
            ("0", 18, "0"),
            ("1", 18, "0.000000000000000001"),
            ("-1250", 2, "-12.5"),
            ("300", 2, "3"),
            ("300", 0, "300"),
        ] {
            assert_eq!(shortest(integer, scale), text);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(value in (1 - 10_i128.pow(38))..10_i128.pow(38), scale in 0_u8..=38) {
            let mut text = String::new();
            format(value, scale, &mut text);
            prop_assert_eq!(parse(&text, 38, scale), Ok(value));
        }

        #[test]
        fn any_text_never_panics(text in ".{0,50}", scale in 0_u8..=38) {
            let _ = parse(&text, 38, scale);
        }
    }
}
