//! Parts as Parquet files.

mod footer;
mod layout;
mod reader;
mod writer;

pub(crate) use reader::ParquetRows;
pub(crate) use writer::{FileShape, ParquetPart};
