//! Rows as Arrow record batches, from COPY BINARY tuples and back into them.

mod builder;
mod schema;
mod tuples;

pub(crate) use builder::{BatchBuilder, Refused};
pub(crate) use schema::{PG_TYPE_KEY, arrow_schema};
pub(crate) use tuples::{TupleColumns, put_field, put_field_count};
