//! [`PartReader`]: a part in, the COPY BINARY tuples it was made of out.

use bytes::Bytes;

use crate::ArchiveFormat;
use crate::codec_error::CodecError;
use crate::column::Column;
use crate::csv::CsvRows;
use crate::parquet_file::ParquetRows;

mod block;

pub(crate) use block::BlockBuilder;
use block::Window;
pub use block::{RowBlock, TimeWindow};

/// Reads one part, block by block. Decoding one block takes milliseconds. Ends after the first error.
#[derive(Debug)]
pub struct PartReader {
    columns: Vec<Column>,
    rows: Rows,
    window: Option<Window>,
    ended: bool,
}

#[derive(Debug)]
enum Rows {
    Parquet(Box<ParquetRows>),
    Csv(CsvRows),
}

impl PartReader {
    /// Opens the whole bytes of a part, whose SHA-256 the caller has checked.
    ///
    /// # Errors
    /// [`CodecError::Part`] when it is not such a file or has other columns; [`CodecError::Setup`] when the window's
    /// column is missing or holds no time.
    pub fn open(
        format: ArchiveFormat,
        columns: &[Column],
        part: Bytes,
        window: Option<&TimeWindow>,
    ) -> Result<Self, CodecError> {
        let window = window.map(|window| Window::new(columns, window)).transpose()?;
        let rows = match format {
            ArchiveFormat::Parquet => Rows::Parquet(Box::new(ParquetRows::open(columns, part)?)),
            ArchiveFormat::Csv => Rows::Csv(CsvRows::open(columns, part)?),
        };
        Ok(Self {
            columns: columns.to_vec(),
            rows,
            window,
            ended: false,
        })
    }

    fn next_block(&mut self) -> Result<Option<RowBlock>, CodecError> {
        let mut block = BlockBuilder::new(self.window.clone());
        let more = match &mut self.rows {
            Rows::Parquet(rows) => rows.fill(&self.columns, &mut block)?,
            Rows::Csv(rows) => rows.fill(&self.columns, &mut block)?,
        };
        self.ended = !more;
        Ok(block.finish())
    }
}

impl Iterator for PartReader {
    type Item = Result<RowBlock, CodecError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.next_block();
        self.ended |= next.is_err();
        next.transpose()
    }
}
