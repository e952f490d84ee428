//! Floats: the shortest digits that read back as the same bits, an exponent of at least two digits outside 1e-4..1e15 (1e6
//! for real), as PostgreSQL does. Where several are equally short PostgreSQL may choose others; the value is the same.

use std::fmt::Write as _;

/// Appends a `double precision`.
pub(crate) fn format_f64(value: f64, out: &mut String) {
    if value.is_finite() {
        place_exponent(&format!("{value:e}"), 15, out);
    } else {
        special(value.is_nan(), value.is_sign_negative(), out);
    }
}

/// Appends a `real`.
pub(crate) fn format_f32(value: f32, out: &mut String) {
    if value.is_finite() {
        place_exponent(&format!("{value:e}"), 6, out);
    } else {
        special(value.is_nan(), value.is_sign_negative(), out);
    }
}

fn special(nan: bool, negative: bool, out: &mut String) {
    out.push_str(match (nan, negative) {
        (true, _) => "NaN",
        (false, false) => "Infinity",
        (false, true) => "-Infinity",
    });
}

/// `-1.25e-7` as PostgreSQL would write it.
fn place_exponent(scientific: &str, first_large: i32, out: &mut String) {
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if exponent < -4 || exponent >= first_large {
        let sign = if exponent < 0 { '-' } else { '+' };
        // Writing into a String cannot fail.
        let _ = write!(out, "{mantissa}e{sign}{:02}", exponent.unsigned_abs());
        return;
    }
    let (sign, mantissa) = mantissa
        .strip_prefix('-')
        .map_or(("", mantissa), |mantissa| ("-", mantissa));
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    out.push_str(sign);
    match usize::try_from(exponent) {
        Ok(exponent) if digits.len() <= exponent + 1 => {
            out.push_str(&digits);
            out.extend(std::iter::repeat_n('0', exponent + 1 - digits.len()));
        }
        Ok(exponent) => {
            let (whole, fraction) = digits.split_at(exponent + 1);
            let _ = write!(out, "{whole}.{fraction}");
        }
        Err(_) => {
            out.push_str("0.");
            out.extend(std::iter::repeat_n('0', exponent.unsigned_abs() as usize - 1));
            out.push_str(&digits);
        }
    }
}
