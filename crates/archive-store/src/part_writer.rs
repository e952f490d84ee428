//! [`PartEncoder`]: a COPY BINARY stream in, finished parts out.

use bytes::Bytes;
use eidos_settings::ArchiveFormat;

use crate::codec_error::CodecError;
use crate::column::{Column, KeyColumns};
use crate::digest::ContentDigest;
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

/// One finished object.
#[derive(Debug, Clone)]
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
/// blocking thread. Dropping it ends the other thread.
#[derive(Debug)]
pub struct PartEncoder {}

impl PartEncoder {
    /// Starts an export of these columns.
    ///
    /// # Errors
    /// [`CodecError::Setup`] for options or columns that cannot work.
    #[expect(clippy::needless_pass_by_value, reason = "the encoder keeps them")]
    pub fn new(columns: Vec<Column>, key: KeyColumns, _options: PartOptions) -> Result<Self, CodecError> {
        key.positions(&columns)?;
        Ok(Self {})
    }

    /// Takes the next bytes of the stream, cut anywhere, and returns the parts that have been finished.
    ///
    /// # Errors
    /// When the stream is broken or a value is refused; the encoder is of no more use then.
    pub fn push(&mut self, _chunk: &[u8]) -> Result<Vec<EncodedPart>, CodecError> {
        Err(CodecError::Thread("not written yet".to_owned()))
    }

    /// The stream has ended: returns the remaining parts (none for a table without rows) and the totals.
    ///
    /// # Errors
    /// As [`Self::push`], and when the stream ended without its trailer.
    pub fn finish(self) -> Result<(Vec<EncodedPart>, ExportTotals), CodecError> {
        Err(CodecError::Thread("not written yet".to_owned()))
    }
}
