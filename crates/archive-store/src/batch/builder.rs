//! [`BatchBuilder`]: COPY BINARY tuples into one Arrow array for each column.

use std::sync::Arc;

use arrow_array::builder::{
    BinaryBuilder, BooleanBuilder, Date32Builder, Decimal128Builder, FixedSizeBinaryBuilder, Float32Builder,
    Float64Builder, Int16Builder, Int32Builder, Int64Builder, StringBuilder, TimestampMicrosecondBuilder,
};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::SchemaRef;
use eidos_types::copy_binary::Tuple;

use crate::batch::schema;
use crate::codec_error::{CodecError, ValueError};
use crate::column::Column;
use crate::pg_type::PgType;
use crate::pgcopy::{numeric, time};
use crate::text::{boolean, fixed, jsonb, utf8};

const UUID_BYTES: i32 = 16;

/// One value of a row is refused.
#[derive(Debug)]
pub(crate) struct Refused {
    /// Which column.
    pub(crate) column: usize,
    pub(crate) error: ValueError,
}

/// Collects rows into one record batch after the other.
#[derive(Debug)]
pub(crate) struct BatchBuilder {
    schema: SchemaRef,
    columns: Vec<ColumnBuilder>,
}

impl BatchBuilder {
    /// `numbers` are the fields' ids, see [`schema::arrow_schema`]. `canonical_nan` refuses a NaN whose bits the word NaN does not give back.
    pub(crate) fn new(columns: &[Column], numbers: &[i16], canonical_nan: bool) -> Self {
        Self {
            schema: schema::arrow_schema(columns, numbers),
            columns: columns
                .iter()
                .map(|column| ColumnBuilder::new(column, canonical_nan))
                .collect(),
        }
    }

    pub(crate) const fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Appends one row; it has as many fields as there are columns.
    pub(crate) fn append(&mut self, tuple: &Tuple<'_>) -> Result<(), Refused> {
        for (column, (builder, field)) in self.columns.iter_mut().zip(tuple.fields()).enumerate() {
            builder.append(field).map_err(|error| Refused { column, error })?;
        }
        Ok(())
    }

    /// The rows so far; the builder is empty afterwards.
    pub(crate) fn finish(&mut self) -> Result<RecordBatch, CodecError> {
        let arrays = self
            .columns
            .iter_mut()
            .map(|column| column.values.finish())
            .collect();
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), arrays)?)
    }
}

#[derive(Debug)]
struct ColumnBuilder {
    values: Values,
    nullable: bool,
    canonical_nan: bool,
}

/// An Arrow builder and what is needed to read a field for it.
#[derive(Debug)]
enum Values {
    Bool(BooleanBuilder),
    Int16(Int16Builder),
    Int32(Int32Builder),
    Int64(Int64Builder),
    Float32(Float32Builder),
    Float64(Float64Builder),
    Decimal {
        builder: Decimal128Builder,
        precision: u8,
        scale: u8,
    },
    Text(StringBuilder),
    Jsonb(StringBuilder),
    Bytea(BinaryBuilder),
    Uuid(FixedSizeBinaryBuilder),
    Date(Date32Builder),
    Timestamp(TimestampMicrosecondBuilder),
}

impl ColumnBuilder {
    fn new(column: &Column, canonical_nan: bool) -> Self {
        Self {
            values: Values::new(column.pg_type),
            nullable: column.nullable,
            canonical_nan,
        }
    }

    fn append(&mut self, field: Option<&[u8]>) -> Result<(), ValueError> {
        let Some(raw) = field else {
            if !self.nullable {
                return Err(ValueError::new(
                    "NULL in a column that is declared NOT NULL",
                    "correct the row, or declare the column as it is (DROP NOT NULL)",
                ));
            }
            self.values.append_null();
            return Ok(());
        };
        if self.canonical_nan {
            self.values.check_nan(raw)?;
        }
        self.values.append(raw)
    }
}

impl Values {
    fn new(pg_type: PgType) -> Self {
        match pg_type {
            PgType::Bool => Self::Bool(BooleanBuilder::new()),
            PgType::Int2 => Self::Int16(Int16Builder::new()),
            PgType::Int4 => Self::Int32(Int32Builder::new()),
            PgType::Int8 => Self::Int64(Int64Builder::new()),
            PgType::Float4 => Self::Float32(Float32Builder::new()),
            PgType::Float8 => Self::Float64(Float64Builder::new()),
            PgType::Numeric { precision, scale } => Self::Decimal {
                builder: Decimal128Builder::new().with_data_type(schema::decimal(precision, scale)),
                precision,
                scale,
            },
            PgType::Varchar(_) | PgType::Char(_) | PgType::Text | PgType::Json => {
                Self::Text(StringBuilder::new())
            }
            PgType::Jsonb => Self::Jsonb(StringBuilder::new()),
            PgType::Bytea => Self::Bytea(BinaryBuilder::new()),
            PgType::Uuid => Self::Uuid(FixedSizeBinaryBuilder::new(UUID_BYTES)),
            PgType::Date => Self::Date(Date32Builder::new()),
            PgType::Timestamp => Self::Timestamp(TimestampMicrosecondBuilder::new()),
            PgType::Timestamptz => Self::Timestamp(TimestampMicrosecondBuilder::new().with_timezone("UTC")),
        }
    }

    fn append_null(&mut self) {
        match self {
            Self::Bool(builder) => builder.append_null(),
            Self::Int16(builder) => builder.append_null(),
            Self::Int32(builder) => builder.append_null(),
            Self::Int64(builder) => builder.append_null(),
            Self::Float32(builder) => builder.append_null(),
            Self::Float64(builder) => builder.append_null(),
            Self::Decimal { builder, .. } => builder.append_null(),
            Self::Text(builder) | Self::Jsonb(builder) => builder.append_null(),
            Self::Bytea(builder) => builder.append_null(),
            Self::Uuid(builder) => builder.append_null(),
            Self::Date(builder) => builder.append_null(),
            Self::Timestamp(builder) => builder.append_null(),
        }
    }

    fn append(&mut self, raw: &[u8]) -> Result<(), ValueError> {
        match self {
            Self::Bool(builder) => builder.append_value(boolean(raw)?),
            Self::Int16(builder) => builder.append_value(i16::from_be_bytes(fixed(raw)?)),
            Self::Int32(builder) => builder.append_value(i32::from_be_bytes(fixed(raw)?)),
            Self::Int64(builder) => builder.append_value(i64::from_be_bytes(fixed(raw)?)),
            Self::Float32(builder) => builder.append_value(f32::from_be_bytes(fixed(raw)?)),
            Self::Float64(builder) => builder.append_value(f64::from_be_bytes(fixed(raw)?)),
            Self::Decimal {
                builder,
                precision,
                scale,
            } => {
                builder.append_value(numeric::decode(raw, *precision, *scale)?);
            }
            Self::Text(builder) => builder.append_value(utf8(raw)?),
            Self::Jsonb(builder) => builder.append_value(jsonb(raw)?),
            Self::Bytea(builder) => builder.append_value(raw),
            Self::Uuid(builder) => builder
                .append_value(fixed::<16>(raw)?)
                .map_err(|error| ValueError::malformed(error.to_string()))?,
            Self::Date(builder) => builder.append_value(time::date_from_pg(i32::from_be_bytes(fixed(raw)?))?),
            Self::Timestamp(builder) => {
                builder.append_value(time::timestamp_from_pg(i64::from_be_bytes(fixed(raw)?))?);
            }
        }
        Ok(())
    }

    /// Refuses a NaN with other bits than the one that reading the word NaN gives.
    fn check_nan(&self, raw: &[u8]) -> Result<(), ValueError> {
        let lost = match self {
            Self::Float32(_) => {
                let value = f32::from_be_bytes(fixed(raw)?);
                value.is_nan() && value.to_bits() != f32::NAN.to_bits()
            }
            Self::Float64(_) => {
                let value = f64::from_be_bytes(fixed(raw)?);
                value.is_nan() && value.to_bits() != f64::NAN.to_bits()
            }
            _ => false,
        };
        if lost {
            return Err(ValueError::new(
                "the float is a NaN with bits that text cannot hold",
                "archive this table as Parquet, which keeps them, or set the row to 'NaN' or NULL",
            ));
        }
        Ok(())
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Bool(builder) => Arc::new(builder.finish()),
            Self::Int16(builder) => Arc::new(builder.finish()),
            Self::Int32(builder) => Arc::new(builder.finish()),
            Self::Int64(builder) => Arc::new(builder.finish()),
            Self::Float32(builder) => Arc::new(builder.finish()),
            Self::Float64(builder) => Arc::new(builder.finish()),
            Self::Decimal { builder, .. } => Arc::new(builder.finish()),
            Self::Text(builder) | Self::Jsonb(builder) => Arc::new(builder.finish()),
            Self::Bytea(builder) => Arc::new(builder.finish()),
            Self::Uuid(builder) => Arc::new(builder.finish()),
            Self::Date(builder) => Arc::new(builder.finish()),
            Self::Timestamp(builder) => Arc::new(builder.finish()),
        }
    }
}
