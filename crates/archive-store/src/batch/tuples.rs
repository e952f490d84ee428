//! Arrow arrays into COPY BINARY fields.

use arrow_array::cast::AsArray as _;
use arrow_array::types::{
    Date32Type, Decimal128Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type,
    TimestampMicrosecondType,
};
use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, FixedSizeBinaryArray,
    Float32Array, Float64Array, Int16Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};

use crate::codec_error::{CodecError, ValueError};
use crate::column::Column;
use crate::pg_type::PgType;
use crate::pgcopy::time;
use crate::text::JSONB_VERSION;

/// What a length of -1 means.
const NULL: [u8; 4] = (-1_i32).to_be_bytes();

/// A record batch's columns, each with its type known.
pub(crate) struct TupleColumns<'a> {
    columns: Vec<(&'a dyn Array, View<'a>)>,
}

/// An array of one column.
enum View<'a> {
    Bool(&'a BooleanArray),
    Int16(&'a Int16Array),
    Int32(&'a Int32Array),
    Int64(&'a Int64Array),
    Float32(&'a Float32Array),
    Float64(&'a Float64Array),
    Decimal(&'a Decimal128Array, u8),
    Text(&'a StringArray),
    Jsonb(&'a StringArray),
    Bytea(&'a BinaryArray),
    Uuid(&'a FixedSizeBinaryArray),
    Date(&'a Date32Array),
    Timestamp(&'a TimestampMicrosecondArray),
}

impl<'a> TupleColumns<'a> {
    /// The columns of a batch that was made for `columns`.
    ///
    /// # Errors
    /// [`CodecError::Part`] when it has others.
    pub(crate) fn new(columns: &[Column], batch: &'a RecordBatch) -> Result<Self, CodecError> {
        if columns.len() != batch.num_columns() {
            let found = batch.num_columns();
            return Err(CodecError::Part(format!(
                "it has {found} columns instead of {}",
                columns.len()
            )));
        }
        let view = |(column, array): (&Column, &'a ArrayRef)| {
            let other = || {
                CodecError::Part(format!(
                    "column {} is stored as {}",
                    column.name,
                    array.data_type()
                ))
            };
            View::new(column.pg_type, array)
                .map(|view| (&**array, view))
                .ok_or_else(other)
        };
        Ok(Self {
            columns: columns
                .iter()
                .zip(batch.columns())
                .map(view)
                .collect::<Result<_, _>>()?,
        })
    }

    /// Appends the bytes of one field without their length; returns whether it is a value. `row` is below the
    /// batch's rows.
    pub(crate) fn put_value(&self, column: usize, row: usize, out: &mut Vec<u8>) -> Result<bool, ValueError> {
        match self.columns.get(column) {
            Some((array, view)) if array.is_valid(row) => view.put(row, out).map(|()| true),
            _ => Ok(false),
        }
    }

    /// Appends one row as a tuple.
    pub(crate) fn put_tuple(&self, row: usize, out: &mut Vec<u8>) -> Result<(), ValueError> {
        put_field_count(self.columns.len(), out);
        for column in 0..self.columns.len() {
            put_field(out, |out| self.put_value(column, row, out))?;
        }
        Ok(())
    }
}

/// Appends the number that begins a tuple. PostgreSQL has at most 1600 columns.
pub(crate) fn put_field_count(columns: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(&i16::try_from(columns).unwrap_or(i16::MAX).to_be_bytes());
}

/// Appends one field: its length, then what `value` appends, or NULL when that returns false.
pub(crate) fn put_field(
    out: &mut Vec<u8>,
    value: impl FnOnce(&mut Vec<u8>) -> Result<bool, ValueError>,
) -> Result<(), ValueError> {
    let at = out.len();
    out.extend_from_slice(&NULL);
    if value(out)? {
        let len = i32::try_from(out.len() - at - NULL.len())
            .map_err(|_too_large| ValueError::malformed("a value of more than 2 GiB"))?;
        if let Some(place) = out.get_mut(at..at + NULL.len()) {
            place.copy_from_slice(&len.to_be_bytes());
        }
    }
    Ok(())
}

impl<'a> View<'a> {
    fn new(pg_type: PgType, array: &'a ArrayRef) -> Option<Self> {
        Some(match pg_type {
            PgType::Bool => Self::Bool(array.as_boolean_opt()?),
            PgType::Int2 => Self::Int16(array.as_primitive_opt::<Int16Type>()?),
            PgType::Int4 => Self::Int32(array.as_primitive_opt::<Int32Type>()?),
            PgType::Int8 => Self::Int64(array.as_primitive_opt::<Int64Type>()?),
            PgType::Float4 => Self::Float32(array.as_primitive_opt::<Float32Type>()?),
            PgType::Float8 => Self::Float64(array.as_primitive_opt::<Float64Type>()?),
            PgType::Numeric { scale, .. } => {
                Self::Decimal(array.as_primitive_opt::<Decimal128Type>()?, scale)
            }
            PgType::Varchar(_) | PgType::Char(_) | PgType::Text | PgType::Json => {
                Self::Text(array.as_string_opt::<i32>()?)
            }
            PgType::Jsonb => Self::Jsonb(array.as_string_opt::<i32>()?),
            PgType::Bytea => Self::Bytea(array.as_binary_opt::<i32>()?),
            PgType::Uuid => Self::Uuid(array.as_fixed_size_binary_opt()?),
            PgType::Date => Self::Date(array.as_primitive_opt::<Date32Type>()?),
            PgType::Timestamp | PgType::Timestamptz => {
                Self::Timestamp(array.as_primitive_opt::<TimestampMicrosecondType>()?)
            }
        })
    }

    fn put(&self, row: usize, out: &mut Vec<u8>) -> Result<(), ValueError> {
        match self {
            Self::Bool(array) => out.push(u8::from(array.value(row))),
            Self::Int16(array) => out.extend_from_slice(&array.value(row).to_be_bytes()),
            Self::Int32(array) => out.extend_from_slice(&array.value(row).to_be_bytes()),
            Self::Int64(array) => out.extend_from_slice(&array.value(row).to_be_bytes()),
            Self::Float32(array) => out.extend_from_slice(&array.value(row).to_be_bytes()),
            Self::Float64(array) => out.extend_from_slice(&array.value(row).to_be_bytes()),
            Self::Decimal(array, scale) => eidos_types::numeric::encode(array.value(row), *scale, out),
            Self::Text(array) => out.extend_from_slice(array.value(row).as_bytes()),
            Self::Jsonb(array) => {
                out.push(JSONB_VERSION);
                out.extend_from_slice(array.value(row).as_bytes());
            }
            Self::Bytea(array) => out.extend_from_slice(array.value(row)),
            Self::Uuid(array) => out.extend_from_slice(array.value(row)),
            Self::Date(array) => out.extend_from_slice(&time::date_to_pg(array.value(row))?.to_be_bytes()),
            Self::Timestamp(array) => {
                out.extend_from_slice(&time::timestamp_to_pg(array.value(row))?.to_be_bytes());
            }
        }
        Ok(())
    }
}
