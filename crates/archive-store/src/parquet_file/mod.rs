//! Parts as Parquet files.

mod reader;
mod writer;

pub(crate) use reader::ParquetRows;
pub(crate) use writer::ParquetPart;
