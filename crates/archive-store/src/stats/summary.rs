//! Minimum, maximum and sum, collected batch by batch from Arrow arrays.

use arrow_array::cast::AsArray as _;
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int16Type, Int32Type,
    Int64Type, TimestampMicrosecondType,
};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_buffer::i256;
use eidos_types::decimal;
use uuid::Uuid;

use crate::column::Column;
use crate::pg_type::PgType;
use crate::stats::ColumnStats;
use crate::text;

/// Longer text is not a minimum or maximum that a person reads.
const MAX_TEXT_BYTES: usize = 256;

/// Collects [`ColumnStats`] of all columns.
#[derive(Debug)]
pub(crate) struct StatsCollector {
    columns: Vec<(Column, u64, Summary)>,
}

impl StatsCollector {
    pub(crate) fn new(columns: &[Column]) -> Self {
        let summary = |column: &Column| (column.clone(), 0, Summary::new(column.pg_type));
        Self {
            columns: columns.iter().map(summary).collect(),
        }
    }

    /// Takes a batch of these columns.
    pub(crate) fn see(&mut self, batch: &RecordBatch) {
        for ((_, nulls, summary), array) in self.columns.iter_mut().zip(batch.columns()) {
            *nulls += array.null_count() as u64;
            summary.see(array);
        }
    }

    pub(crate) fn finish(self) -> Vec<ColumnStats> {
        let stats = |(column, nulls, summary): (Column, u64, Summary)| {
            let pg_type = column.pg_type;
            let (min, max, sum) = summary.texts(pg_type);
            ColumnStats {
                name: column.name,
                nulls,
                min,
                max,
                sum,
            }
        };
        self.columns.into_iter().map(stats).collect()
    }
}

#[derive(Debug)]
struct Extremes<T> {
    range: Option<(T, T)>,
}

impl<T: PartialOrd + Copy> Extremes<T> {
    const NONE: Self = Self { range: None };

    fn see(&mut self, value: T) {
        match &mut self.range {
            None => self.range = Some((value, value)),
            Some((min, max)) => {
                if value < *min {
                    *min = value;
                }
                if value > *max {
                    *max = value;
                }
            }
        }
    }

    fn texts(self, mut text: impl FnMut(T, &mut String)) -> (Option<String>, Option<String>) {
        let mut print = |value| {
            let mut out = String::new();
            text(value, &mut out);
            out
        };
        self.range
            .map_or((None, None), |(min, max)| (Some(print(min)), Some(print(max))))
    }
}

#[derive(Debug)]
enum Summary {
    Bool(Extremes<bool>),
    /// A sum of 2^64 bigints fits.
    Integer(Extremes<i64>, i128),
    /// A sum of 2^64 numbers of 38 digits fits.
    Decimal(Extremes<i128>, i256),
    Float(Extremes<f64>),
    Text(Option<(Vec<u8>, Vec<u8>)>),
    Uuid(Extremes<[u8; 16]>),
    Date(Extremes<i32>),
    Timestamp(Extremes<i64>),
    NoOrder,
}

type Texts = (Option<String>, Option<String>, Option<String>);

impl Summary {
    const fn new(pg_type: PgType) -> Self {
        match pg_type {
            PgType::Bool => Self::Bool(Extremes::NONE),
            PgType::Int2 | PgType::Int4 | PgType::Int8 => Self::Integer(Extremes::NONE, 0),
            PgType::Numeric { .. } => Self::Decimal(Extremes::NONE, i256::ZERO),
            PgType::Float4 | PgType::Float8 => Self::Float(Extremes::NONE),
            PgType::Varchar(_) | PgType::Char(_) | PgType::Text => Self::Text(None),
            PgType::Uuid => Self::Uuid(Extremes::NONE),
            PgType::Date => Self::Date(Extremes::NONE),
            PgType::Timestamp | PgType::Timestamptz => Self::Timestamp(Extremes::NONE),
            PgType::Json | PgType::Jsonb | PgType::Bytea => Self::NoOrder,
        }
    }

    fn see(&mut self, array: &ArrayRef) {
        match self {
            Self::NoOrder => {}
            Self::Bool(range) => {
                array
                    .as_boolean_opt()
                    .into_iter()
                    .flatten()
                    .flatten()
                    .for_each(|value| range.see(value));
            }
            Self::Integer(range, sum) => {
                let mut see = |value: i64| {
                    range.see(value);
                    *sum += i128::from(value);
                };
                each::<Int16Type>(array, |value| see(value.into()));
                each::<Int32Type>(array, |value| see(value.into()));
                each::<Int64Type>(array, see);
            }
            Self::Decimal(range, sum) => see_decimals(array, range, sum),
            Self::Float(range) => {
                let mut see = |value: f64| {
                    if !value.is_nan() {
                        range.see(value);
                    }
                };
                each::<Float32Type>(array, |value| see(value.into()));
                each::<Float64Type>(array, see);
            }
            Self::Text(range) => {
                let values = array.as_string_opt::<i32>().into_iter().flatten().flatten();
                values.for_each(|value| see_text(range, value.as_bytes()));
            }
            Self::Uuid(range) => {
                let values = array.as_fixed_size_binary_opt().into_iter().flatten().flatten();
                values
                    .filter_map(|value| value.try_into().ok())
                    .for_each(|value| range.see(value));
            }
            Self::Date(range) => each::<Date32Type>(array, |value| range.see(value)),
            Self::Timestamp(range) => each::<TimestampMicrosecondType>(array, |value| range.see(value)),
        }
    }

    fn texts(self, pg_type: PgType) -> Texts {
        let (extremes, sum) = match self {
            Self::NoOrder => ((None, None), None),
            Self::Bool(range) => (
                range.texts(|value, out| out.push(if value { 't' } else { 'f' })),
                None,
            ),
            Self::Integer(range, sum) => {
                let sum = range.range.map(|_| sum.to_string());
                (range.texts(|value, out| out.push_str(&value.to_string())), sum)
            }
            Self::Decimal(range, sum) => {
                let PgType::Numeric { scale, .. } = pg_type else {
                    return (None, None, None);
                };
                let sum = range.range.map(|_| {
                    let mut out = String::new();
                    decimal::place_point(&sum.to_string(), scale, &mut out);
                    out
                });
                (range.texts(|value, out| decimal::format(value, scale, out)), sum)
            }
            Self::Float(range) => {
                let print = |value: f64, out: &mut String| match pg_type {
                    PgType::Float4 => text::format_f32(narrow(value), out),
                    _ => text::format_f64(value, out),
                };
                (range.texts(print), None)
            }
            Self::Text(range) => (text_range(range), None),
            Self::Uuid(range) => (
                range.texts(|value, out| out.push_str(&Uuid::from_bytes(value).to_string())),
                None,
            ),
            Self::Date(range) => (range.texts(text::format_date), None),
            Self::Timestamp(range) => {
                let zone = pg_type == PgType::Timestamptz;
                (
                    range.texts(|value, out| text::format_timestamp(value, zone, out)),
                    None,
                )
            }
        };
        (extremes.0, extremes.1, sum)
    }
}

/// Every value of an array of this type; none of an array of another one.
fn each<T: ArrowPrimitiveType>(array: &ArrayRef, mut see: impl FnMut(T::Native)) {
    let Some(array) = array.as_primitive_opt::<T>() else {
        return;
    };
    if array.null_count() == 0 {
        array.values().iter().for_each(|value| see(*value));
    } else {
        array.iter().flatten().for_each(see);
    }
}

/// Adds in 128 bits as long as that fits, since most sums do.
fn see_decimals(array: &ArrayRef, range: &mut Extremes<i128>, sum: &mut i256) {
    let mut near = 0_i128;
    each::<Decimal128Type>(array, |value| {
        range.see(value);
        if let Some(fits) = near.checked_add(value) {
            near = fits;
        } else {
            *sum = sum.wrapping_add(i256::from_i128(near));
            near = value;
        }
    });
    *sum = sum.wrapping_add(i256::from_i128(near));
}

/// The value was a `real` before it was widened.
#[expect(
    clippy::cast_possible_truncation,
    reason = "it was a real before it was widened"
)]
const fn narrow(value: f64) -> f32 {
    value as f32
}

fn see_text(range: &mut Option<(Vec<u8>, Vec<u8>)>, value: &[u8]) {
    match range {
        None => *range = Some((value.to_vec(), value.to_vec())),
        Some((min, max)) => {
            if value > max.as_slice() {
                value.clone_into(max);
            } else if value < min.as_slice() {
                value.clone_into(min);
            }
        }
    }
}

fn text_range(range: Option<(Vec<u8>, Vec<u8>)>) -> (Option<String>, Option<String>) {
    let print = |value: Vec<u8>| {
        if value.len() > MAX_TEXT_BYTES {
            None
        } else {
            String::from_utf8(value).ok()
        }
    };
    range.map_or((None, None), |(min, max)| (print(min), print(max)))
}
