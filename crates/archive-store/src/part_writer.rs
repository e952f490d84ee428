//! [`PartEncoder`]: a COPY BINARY stream in, finished parts out.

mod order;
mod rows;
mod worker;

use std::collections::HashSet;
use std::fmt;

use bytes::Bytes;
use eidos_settings::ArchiveFormat;

use crate::codec_error::CodecError;
use crate::column::{Column, KeyColumns};
use crate::digest::ContentDigest;
use crate::parquet_file::FileShape;
pub(crate) use crate::part_writer::order::stated_order;
use crate::part_writer::rows::RowCollector;
use crate::part_writer::worker::Worker;
use crate::pgcopy::scanner::CopyScanner;
use crate::segment::Segment;
use crate::stats::ColumnStats;

/// How parts are cut and written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartOptions {
    /// Parquet with zstd, or plain CSV.
    pub format: ArchiveFormat,
    /// A part is closed when its encoded size passes this many bytes; it overshoots by at most one batch
    /// (an eighth of this, at most 4 MiB before compression, or one row).
    pub part_bytes: usize,
    /// Most rows of one Parquet row group; a group is also closed after 64 MiB of rows.
    pub row_group_rows: usize,
    /// 1–22.
    pub zstd_level: i32,
    /// Rows of one [`Segment`]; `None` makes none.
    pub segment_rows: Option<u32>,
}

/// What a Parquet file says of itself beside its rows. CSV says nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PartFacts {
    /// Parquet's field ids, one for each column. Empty: positions from 1.
    pub column_numbers: Vec<i16>,
    /// The columns that the stream is ordered by, ascending as PostgreSQL orders them. Empty: it is in no order.
    pub ordered_by: Vec<String>,
    /// Keys and values of the footer, in this order.
    pub key_values: Vec<(String, String)>,
}

/// One finished object.
#[derive(Clone)]
pub struct EncodedPart {
    /// The whole file.
    pub bytes: Bytes,
    /// SHA-256 of `bytes`.
    pub sha256: [u8; 32],
    /// Rows in it, never 0.
    pub rows: u64,
    /// Of these rows.
    pub digest: ContentDigest,
}

impl fmt::Debug for EncodedPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EncodedPart")
            .field("bytes", &self.bytes.len())
            .field("sha256", &hex::encode(self.sha256))
            .field("rows", &self.rows)
            .field("digest", &self.digest)
            .finish()
    }
}

/// What is known when the stream has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportTotals {
    /// All rows.
    pub rows: u64,
    /// Of all rows.
    pub digest: ContentDigest,
    /// One for each column, in order.
    pub column_stats: Vec<ColumnStats>,
    /// Empty without `segment_rows`.
    pub segments: Vec<Segment>,
}

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
        let taken = scanner.feed(chunk, |tuple| {
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

impl PartOptions {
    fn check(&self) -> Result<(), CodecError> {
        let setup = |what: &str| Err(CodecError::Setup(what.to_owned()));
        if self.part_bytes == 0 || self.row_group_rows == 0 {
            return setup("part_bytes and row_group_rows must not be 0");
        }
        if !(1..=22).contains(&self.zstd_level) {
            return setup("zstd_level must be in 1..=22");
        }
        if self.segment_rows == Some(0) {
            return setup("segment_rows must not be 0");
        }
        Ok(())
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
