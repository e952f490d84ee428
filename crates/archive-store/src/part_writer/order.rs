//! [`OrderCheck`]: a file states an order only when its rows have it.

use std::cmp::Ordering;

use eidos_types::copy_binary::Tuple;

use crate::codec_error::CodecError;
use crate::column::Column;
use crate::pg_type::PgType;

/// The positions of the leading columns of `ordered_by` that Parquet orders as PostgreSQL does. Text is not among them:
/// PostgreSQL orders it by a collation, Parquet by bytes. Nor are floats, whose NaN has no place in Parquet's order, and
/// numerics, whose COPY bytes cannot be compared.
///
/// # Errors
/// [`CodecError::Setup`] naming the column that is not among `columns`.
pub(crate) fn stated_order(columns: &[Column], ordered_by: &[String]) -> Result<Vec<usize>, CodecError> {
    let mut positions = Vec::new();
    let mut stated = true;
    for name in ordered_by {
        let found = columns
            .iter()
            .enumerate()
            .find(|(_, column)| column.name == *name);
        let (position, column) = found.ok_or_else(|| {
            CodecError::Setup(format!(
                "rows are ordered by the column {name}, which is not exported"
            ))
        })?;
        stated = stated && same_order(column.pg_type);
        if stated {
            positions.push(position);
        }
    }
    Ok(positions)
}

const fn same_order(pg_type: PgType) -> bool {
    is_signed(pg_type) || matches!(pg_type, PgType::Bool | PgType::Bytea | PgType::Uuid)
}

/// Whether its COPY bytes are a big-endian number with a sign; others compare byte by byte.
const fn is_signed(pg_type: PgType) -> bool {
    matches!(
        pg_type,
        PgType::Int2 | PgType::Int4 | PgType::Int8 | PgType::Date | PgType::Timestamp | PgType::Timestamptz
    )
}

/// Compares each row with the one before.
#[derive(Debug)]
pub(super) struct OrderCheck {
    /// Position, whether it is signed, and the last row's value; `None` is NULL, which comes last.
    columns: Vec<(usize, bool, Option<Vec<u8>>)>,
    rows: u64,
}

impl OrderCheck {
    pub(super) fn new(columns: &[Column], ordered_by: &[String]) -> Result<Self, CodecError> {
        let stated = stated_order(columns, ordered_by)?;
        let signed = |position: usize| {
            columns
                .get(position)
                .is_some_and(|column| is_signed(column.pg_type))
        };
        Ok(Self {
            columns: stated
                .into_iter()
                .map(|position| (position, signed(position), None))
                .collect(),
            rows: 0,
        })
    }

    /// Takes the next row.
    ///
    /// # Errors
    /// [`CodecError::Stream`] when it does not follow the last one.
    pub(super) fn take(&mut self, tuple: &Tuple<'_>) -> Result<(), CodecError> {
        let mut order = Ordering::Equal;
        for (position, signed, last) in &mut self.columns {
            let value = tuple.field(*position);
            if self.rows > 0 && order == Ordering::Equal {
                order = compare(last.as_deref(), value, *signed);
            }
            match (value, last) {
                (Some(value), Some(last)) => value.clone_into(last),
                (value, last) => *last = value.map(<[u8]>::to_vec),
            }
        }
        self.rows += 1;
        if order == Ordering::Greater {
            return Err(CodecError::Stream {
                row: self.rows,
                what:
                    "it does not follow the row before in the order of the key: an index may be damaged, see \
                       REINDEX"
                        .to_owned(),
            });
        }
        Ok(())
    }
}

fn compare(last: Option<&[u8]>, next: Option<&[u8]>, signed: bool) -> Ordering {
    let (Some(last), Some(next)) = (last, next) else {
        return last.is_none().cmp(&next.is_none());
    };
    match (last.split_first(), next.split_first()) {
        (Some((last_high, last_rest)), Some((next_high, next_rest))) if signed => {
            let high = last_high.cast_signed().cmp(&next_high.cast_signed());
            high.then_with(|| last_rest.cmp(next_rest))
        }
        _ => last.cmp(next),
    }
}
