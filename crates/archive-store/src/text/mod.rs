//! Values as PostgreSQL prints and reads them, to and from their COPY BINARY bytes. Used by CSV, by the keys of
//! segments and error messages, and by statistics.

mod calendar;
mod float;

use std::fmt::Write as _;

use eidos_types::decimal;
use uuid::Uuid;

use crate::codec_error::ValueError;
use crate::pg_type::PgType;
use crate::pgcopy::{numeric, time};

pub(crate) use calendar::{format_date, format_timestamp};
pub(crate) use float::{format_f32, format_f64};

/// The version byte of a jsonb value.
pub(crate) const JSONB_VERSION: u8 = 1;

/// The `N` bytes of a value of fixed width.
pub(crate) fn fixed<const N: usize>(raw: &[u8]) -> Result<[u8; N], ValueError> {
    raw.try_into()
        .map_err(|_length| ValueError::malformed(format!("a value of {} bytes instead of {N}", raw.len())))
}

/// UTF-8 without NUL, which is all PostgreSQL can hold.
pub(crate) fn utf8(raw: &[u8]) -> Result<&str, ValueError> {
    let text = std::str::from_utf8(raw).map_err(|error| {
        ValueError::new(
            format!("text that is not UTF-8 ({error})"),
            "the row holds bytes that are not valid in its database's encoding: correct or remove that value",
        )
    })?;
    // Every byte is looked at: that compiles to a few instructions for a whole value.
    if raw.iter().fold(0, |nul, byte| nul | u8::from(*byte == 0)) > 0 {
        return Err(ValueError::malformed("text with a NUL byte"));
    }
    Ok(text)
}

/// The text of a jsonb value.
pub(crate) fn jsonb(raw: &[u8]) -> Result<&str, ValueError> {
    match raw.split_first() {
        Some((&JSONB_VERSION, text)) => utf8(text),
        Some((version, _)) => Err(ValueError::malformed(format!(
            "jsonb of the unknown version {version}"
        ))),
        None => Err(ValueError::malformed("jsonb without a version byte")),
    }
}

/// A boolean's one byte.
pub(crate) fn boolean(raw: &[u8]) -> Result<bool, ValueError> {
    match raw {
        [0] => Ok(false),
        [1] => Ok(true),
        _ => Err(ValueError::malformed("a boolean that is neither 0 nor 1")),
    }
}

/// Appends what PostgreSQL prints for a value's bytes (times in UTC).
pub(crate) fn format(pg_type: PgType, raw: &[u8], out: &mut String) -> Result<(), ValueError> {
    match pg_type {
        PgType::Bool => out.push(if boolean(raw)? { 't' } else { 'f' }),
        PgType::Int2 => display(i16::from_be_bytes(fixed(raw)?), out),
        PgType::Int4 => display(i32::from_be_bytes(fixed(raw)?), out),
        PgType::Int8 => display(i64::from_be_bytes(fixed(raw)?), out),
        PgType::Float4 => format_f32(f32::from_be_bytes(fixed(raw)?), out),
        PgType::Float8 => format_f64(f64::from_be_bytes(fixed(raw)?), out),
        PgType::Numeric { precision, scale } => {
            decimal::format(numeric::decode(raw, precision, scale)?, scale, out);
        }
        PgType::Varchar(_) | PgType::Char(_) | PgType::Text | PgType::Json => out.push_str(utf8(raw)?),
        PgType::Jsonb => out.push_str(jsonb(raw)?),
        PgType::Bytea => {
            out.push_str("\\x");
            out.push_str(&hex::encode(raw));
        }
        PgType::Uuid => display(Uuid::from_bytes(fixed(raw)?).hyphenated(), out),
        PgType::Date => format_date(time::date_from_pg(i32::from_be_bytes(fixed(raw)?))?, out),
        PgType::Timestamp | PgType::Timestamptz => {
            let micros = time::timestamp_from_pg(i64::from_be_bytes(fixed(raw)?))?;
            format_timestamp(micros, pg_type == PgType::Timestamptz, out);
        }
    }
    Ok(())
}

fn display(value: impl std::fmt::Display, out: &mut String) {
    // Writing into a String cannot fail.
    let _ = write!(out, "{value}");
}

/// Appends the COPY BINARY bytes of a value that [`format()`] printed. Other ways to write the same value are refused.
pub(crate) fn parse(pg_type: PgType, text: &str, out: &mut Vec<u8>) -> Result<(), ValueError> {
    match pg_type {
        PgType::Bool => out.push(match text {
            "t" => 1,
            "f" => 0,
            _ => return Err(ValueError::malformed("a boolean that is neither t nor f")),
        }),
        PgType::Int2 => out.extend(number::<i16>(text)?.to_be_bytes()),
        PgType::Int4 => out.extend(number::<i32>(text)?.to_be_bytes()),
        PgType::Int8 => out.extend(number::<i64>(text)?.to_be_bytes()),
        PgType::Float4 => out.extend(number::<f32>(text)?.to_be_bytes()),
        PgType::Float8 => out.extend(number::<f64>(text)?.to_be_bytes()),
        PgType::Numeric { precision, scale } => {
            let value = decimal::parse(text, precision, scale).map_err(ValueError::malformed)?;
            eidos_types::numeric::encode(value, scale, out);
        }
        PgType::Varchar(_) | PgType::Char(_) | PgType::Text | PgType::Json => {
            out.extend_from_slice(utf8(text.as_bytes())?.as_bytes());
        }
        PgType::Jsonb => {
            out.push(JSONB_VERSION);
            out.extend_from_slice(utf8(text.as_bytes())?.as_bytes());
        }
        PgType::Bytea => {
            let digits = text
                .strip_prefix("\\x")
                .and_then(|digits| hex::decode(digits).ok());
            out.extend_from_slice(
                &digits.ok_or_else(|| ValueError::malformed("bytea without \\x and hex digits"))?,
            );
        }
        PgType::Uuid => {
            let uuid = Uuid::try_parse(text).map_err(|_why| ValueError::malformed("no uuid"))?;
            out.extend_from_slice(uuid.as_bytes());
        }
        PgType::Date => out.extend(time::date_to_pg(calendar::parse_date(text)?)?.to_be_bytes()),
        PgType::Timestamp | PgType::Timestamptz => {
            let micros = calendar::parse_timestamp(text, pg_type == PgType::Timestamptz)?;
            out.extend(time::timestamp_to_pg(micros)?.to_be_bytes());
        }
    }
    Ok(())
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, ValueError> {
    text.parse()
        .map_err(|_why| ValueError::malformed("no number of the column's type"))
}
