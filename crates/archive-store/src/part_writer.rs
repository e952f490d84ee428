//! [`PartEncoder`]: a COPY BINARY stream in, finished parts out.

mod order;
mod part;
mod rows;
mod worker;

use std::collections::HashSet;

use eidos_types::copy_binary::CopyScanner;

use crate::codec_error::CodecError;
use crate::column::{Column, KeyColumns};
use crate::parquet_file::FileShape;
pub(crate) use crate::part_writer::order::stated_order;
pub use crate::part_writer::part::{EncodedPart, ExportTotals, PartFacts, PartOptions};
use crate::part_writer::rows::RowCollector;
use crate::part_writer::worker::Worker;

/// Turns a COPY BINARY stream into parts. Rows are decoded on the thread of the caller, encoded and compressed on a
/// thread of its own; both calls may block for as long as one batch takes (tens of milliseconds) and belong on a
/// blocking thread. Dropping it gives the export up and ends the other thread.
///
/// It holds one row, three batches of at most 4 MiB, one open row group and one part, whatever the table's size; the
/// caller holds the parts it was given.
#[derive(Debug)]
pub struct PartEncoder {
    scanner: CopyScanner,
    rows: RowCollector,
    worker: Worker,
    failed: bool,
}

impl PartEncoder {
    /// Starts an export of these columns.
    ///
    /// # Errors
    /// [`CodecError::Setup`] for options or columns that cannot work.
    #[expect(clippy::needless_pass_by_value, reason = "one key belongs to one export")]
    pub fn new(
        columns: Vec<Column>,
        key: KeyColumns,
        options: PartOptions,
        facts: PartFacts,
    ) -> Result<Self, CodecError> {
        options.check()?;
        check_columns(&columns, &facts)?;
        let scanner = CopyScanner::new(columns.len());
        let rows = RowCollector::new(columns.clone(), &key, &options, &facts)?;
        let worker = Worker::start(FileShape {
            schema: rows.builder().schema().clone(),
            columns,
            options,
            facts,
        })?;
        Ok(Self {
            scanner,
            rows,
            worker,
            failed: false,
        })
    }

    /// Takes the next bytes of the stream, cut anywhere, and returns the parts that have been finished.
    ///
    /// # Errors
    /// When the stream is broken or a value is refused; the encoder is of no more use then.
    pub fn push(&mut self, chunk: &[u8]) -> Result<Vec<EncodedPart>, CodecError> {
        if self.failed {
            return Err(CodecError::Setup("the export has failed before".to_owned()));
        }
        let Self {
            scanner,
            rows,
            worker,
            failed,
        } = self;
        let taken = scanner.feed(chunk, CodecError::from, |tuple| {
            rows.take(&tuple)?.map_or(Ok(()), |batch| worker.send(batch))
        });
        *failed = taken.is_err();
        taken?;
        Ok(worker.finished())
    }

    /// The stream has ended: returns the remaining parts (none for a table without rows) and the totals.
    ///
    /// # Errors
    /// As [`Self::push`], and when the stream ended without its trailer.
    pub fn finish(self) -> Result<(Vec<EncodedPart>, ExportTotals), CodecError> {
        let Self {
            scanner,
            mut rows,
            mut worker,
            failed,
        } = self;
        if failed {
            return Err(CodecError::Setup("the export has failed before".to_owned()));
        }
        let scanned = scanner.finish()?;
        if let Some(batch) = rows.cut()? {
            worker.send(batch)?;
        }
        let parts = worker.finish()?;
        let totals = rows.totals()?;
        if totals.rows != scanned {
            return Err(CodecError::Stream {
                row: scanned,
                what: format!("only {} were taken", totals.rows),
            });
        }
        Ok((parts, totals))
    }
}

fn check_columns(columns: &[Column], facts: &PartFacts) -> Result<(), CodecError> {
    let numbers = facts.column_numbers.len();
    if numbers != 0 && numbers != columns.len() {
        let columns = columns.len();
        return Err(CodecError::Setup(format!(
            "there are {numbers} numbers for {columns} columns"
        )));
    }
    if columns.is_empty() {
        return Err(CodecError::Setup(
            "a table without columns has nothing to archive".to_owned(),
        ));
    }
    let mut names = HashSet::new();
    match columns.iter().find(|column| !names.insert(column.name.as_str())) {
        None => Ok(()),
        Some(twice) => Err(CodecError::Setup(format!(
            "the column {} is there twice",
            twice.name
        ))),
    }
}
