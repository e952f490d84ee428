//! Dates and times of the proleptic Gregorian calendar in PostgreSQL's ISO style, years before 1 as BC.

use std::fmt::Write as _;

use crate::codec_error::ValueError;

const DAY_MICROS: i64 = 86_400_000_000;
const SECOND_MICROS: i64 = 1_000_000;
const BC: &str = " BC";

/// Appends the date of days since 1970.
pub(crate) fn format_date(days: i32, out: &mut String) {
    let bc = push_date(i64::from(days), out);
    out.push_str(if bc { BC } else { "" });
}

/// Appends the time of microseconds since 1970, with `+00` when it has a zone.
pub(crate) fn format_timestamp(micros: i64, zone: bool, out: &mut String) {
    let bc = push_date(micros.div_euclid(DAY_MICROS), out);
    let of_day = micros.rem_euclid(DAY_MICROS);
    let (seconds, fraction) = (of_day / SECOND_MICROS, of_day % SECOND_MICROS);
    // Writing into a String cannot fail.
    let _ = write!(
        out,
        " {:02}:{:02}:{:02}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    );
    if fraction != 0 {
        let digits = format!("{fraction:06}");
        let _ = write!(out, ".{}", digits.trim_end_matches('0'));
    }
    out.push_str(if zone { "+00" } else { "" });
    out.push_str(if bc { BC } else { "" });
}

/// Appends year, month and day; returns whether the year is one before 1.
fn push_date(days: i64, out: &mut String) -> bool {
    let (year, month, day) = civil(days);
    let bc = year < 1;
    let shown = if bc { 1 - year } else { year };
    let _ = write!(out, "{shown:04}-{month:02}-{day:02}");
    bc
}

/// Days since 1970 of a date that [`format_date`] wrote.
pub(super) fn parse_date(text: &str) -> Result<i32, ValueError> {
    let (text, bc) = strip_bc(text);
    let days = date_days(text, bc).ok_or_else(|| ValueError::malformed("no date"))?;
    i32::try_from(days).map_err(|_too_large| ValueError::malformed("a date too far away"))
}

/// Microseconds since 1970 of a time that [`format_timestamp`] wrote.
pub(super) fn parse_timestamp(text: &str, zone: bool) -> Result<i64, ValueError> {
    timestamp_micros(text, zone).ok_or_else(|| ValueError::malformed("no timestamp in UTC"))
}

fn timestamp_micros(text: &str, zone: bool) -> Option<i64> {
    let (text, bc) = strip_bc(text);
    let text = if zone { text.strip_suffix("+00")? } else { text };
    let (date, clock) = text.split_once(' ')?;
    let (clock, fraction) = clock
        .split_once('.')
        .map_or((clock, None), |(clock, part)| (clock, Some(part)));
    let mut parts = clock.split(':').map(|part| digits(part, 2));
    let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next()??);
    if parts.next().is_some() || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let micros = match fraction {
        None => 0,
        Some(part) if (1..=6).contains(&part.len()) && !part.ends_with('0') => {
            digits(&format!("{part:0<6}"), 6)?
        }
        Some(_) => return None,
    };
    let of_day = ((hour * 60 + minute) * 60 + second) * SECOND_MICROS + micros;
    // In 128 bits, as the day of the first timestamp begins before the first microsecond that fits.
    let total = i128::from(date_days(date, bc)?) * i128::from(DAY_MICROS) + i128::from(of_day);
    i64::try_from(total).ok()
}

fn strip_bc(text: &str) -> (&str, bool) {
    text.strip_suffix(BC).map_or((text, false), |text| (text, true))
}

/// Exactly `width` digits.
fn digits(text: &str, width: usize) -> Option<i64> {
    (text.len() == width && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
}

fn date_days(text: &str, bc: bool) -> Option<i64> {
    let (year, rest) = text.split_once('-')?;
    let (month, day) = rest.split_once('-')?;
    let shown = if (4..=7).contains(&year.len()) {
        digits(year, year.len())?
    } else {
        return None;
    };
    let year = if bc { 1 - shown } else { shown };
    let date = (year, digits(month, 2)?, digits(day, 2)?);
    let days = days_of(date);
    // 31 February is another day's name.
    (shown > 0 && civil(days) == date).then_some(days)
}

/// Year, month, day of days since 1970 (Howard Hinnant's `civil_from_days`: years begin in March, so that the leap
/// day is the last one of a year; 146097 days are 400 years).
const fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    let year = year_of_era + era * 400 + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

/// The way back.
const fn days_of((year, month, day): (i64, i64, i64)) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let march_month = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * march_month + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}
