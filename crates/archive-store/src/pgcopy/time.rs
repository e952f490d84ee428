//! Dates and timestamps: PostgreSQL counts from 2000-01-01, Arrow from 1970-01-01.

use crate::codec_error::ValueError;

/// 2000-01-01 in days since 1970-01-01.
const EPOCH_DAYS: i32 = 10_957;
/// The same in microseconds.
const EPOCH_MICROS: i64 = EPOCH_DAYS as i64 * 86_400_000_000;

const REMEDY: &str =
    "an archive has no place for it: set the row to NULL or a real time, or keep the rows of this range";

/// Days since 1970 of a date's days since 2000.
pub(crate) fn date_from_pg(days: i32) -> Result<i32, ValueError> {
    match days {
        i32::MAX => Err(ValueError::new("the date is infinity", REMEDY)),
        i32::MIN => Err(ValueError::new("the date is -infinity", REMEDY)),
        days => days
            .checked_add(EPOCH_DAYS)
            .ok_or_else(|| ValueError::malformed("a date beyond year 5874897")),
    }
}

/// The way back.
pub(crate) fn date_to_pg(days: i32) -> Result<i32, ValueError> {
    days.checked_sub(EPOCH_DAYS)
        .ok_or_else(|| ValueError::malformed("a date before the first one"))
}

/// Microseconds since 1970 of a timestamp's microseconds since 2000.
pub(crate) fn timestamp_from_pg(micros: i64) -> Result<i64, ValueError> {
    match micros {
        i64::MAX => Err(ValueError::new("the timestamp is infinity", REMEDY)),
        i64::MIN => Err(ValueError::new("the timestamp is -infinity", REMEDY)),
        micros => micros
            .checked_add(EPOCH_MICROS)
            .ok_or_else(|| ValueError::new("the timestamp is after the year 294246", REMEDY)),
    }
}

/// The way back.
pub(crate) fn timestamp_to_pg(micros: i64) -> Result<i64, ValueError> {
    micros
        .checked_sub(EPOCH_MICROS)
        .ok_or_else(|| ValueError::malformed("a timestamp before the first one"))
}
