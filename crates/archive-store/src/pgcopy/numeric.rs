//! numeric(p,s) of an archived column: only bytes that come back exactly are taken.

use eidos_types::numeric::{NumericError, decode_canonical};

use crate::codec_error::ValueError;

const SPECIAL_REMEDY: &str = "an archive has no place for it: set the row to NULL or a number, keep the rows of this \
                              range, or add CHECK (column <> 'NaN') so that it cannot appear again";

/// Returns the scaled integer of a numeric's bytes.
pub(crate) fn decode(raw: &[u8], precision: u8, scale: u8) -> Result<i128, ValueError> {
    decode_canonical(raw, precision, scale).map_err(|error| refusal(raw, error))
}

fn refusal(raw: &[u8], error: NumericError) -> ValueError {
    match error {
        NumericError::NotANumber => ValueError::new("the numeric is NaN", SPECIAL_REMEDY),
        NumericError::Infinite => {
            // 0xF000 is -Infinity, 0xD000 is Infinity.
            let sign = if raw.get(4) == Some(&0xf0) { "-" } else { "" };
            ValueError::new(format!("the numeric is {sign}Infinity"), SPECIAL_REMEDY)
        }
        NumericError::TooLarge { precision, .. } => {
            ValueError::malformed(format!("a numeric of more than {precision} digits"))
        }
        NumericError::TooManyDecimals { .. } => {
            ValueError::malformed("a numeric with digits beyond its decimal places")
        }
        NumericError::Malformed(what) => ValueError::malformed(format!("no numeric: {what}")),
    }
}
