//! The Arrow schema of a table.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;

use crate::column::Column;
use crate::pg_type::PgType;

/// Where a field keeps its PostgreSQL declaration.
pub(crate) const PG_TYPE_KEY: &str = "eidos.pg_type";

/// One field for each column, with its declaration and Parquet's field id: its number, or its position (from 1) where
/// there is no number.
pub(crate) fn arrow_schema(columns: &[Column], numbers: &[i16]) -> SchemaRef {
    let fields = columns.iter().enumerate().map(|(index, column)| {
        let id = numbers
            .get(index)
            .map_or(index + 1, |number| usize::from(number.unsigned_abs()));
        Field::new(&column.name, data_type(column.pg_type), column.nullable).with_metadata(HashMap::from([
            (PARQUET_FIELD_ID_META_KEY.to_owned(), id.to_string()),
            (PG_TYPE_KEY.to_owned(), column.pg_type.declaration()),
        ]))
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

fn data_type(pg_type: PgType) -> DataType {
    match pg_type {
        PgType::Bool => DataType::Boolean,
        PgType::Int2 => DataType::Int16,
        PgType::Int4 => DataType::Int32,
        PgType::Int8 => DataType::Int64,
        PgType::Float4 => DataType::Float32,
        PgType::Float8 => DataType::Float64,
        PgType::Numeric { precision, scale } => decimal(precision, scale),
        PgType::Varchar(_) | PgType::Char(_) | PgType::Text | PgType::Json | PgType::Jsonb => DataType::Utf8,
        PgType::Bytea => DataType::Binary,
        PgType::Uuid => DataType::FixedSizeBinary(16),
        PgType::Date => DataType::Date32,
        PgType::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
        PgType::Timestamptz => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
    }
}

/// numeric(2,5) holds 0.00012; Arrow wants as many digits as decimal places.
pub(super) fn decimal(precision: u8, scale: u8) -> DataType {
    DataType::Decimal128(precision.max(scale), i8::try_from(scale).unwrap_or(i8::MAX))
}
