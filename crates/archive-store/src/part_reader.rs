//! [`PartReader`]: a part in, the COPY BINARY tuples it was made of out.

use bytes::Bytes;
use eidos_settings::ArchiveFormat;

use crate::codec_error::CodecError;
use crate::column::Column;
use crate::digest::ContentDigest;

/// Some whole rows, in the order in which they were exported.
#[derive(Debug, Clone)]
pub struct RowBlock {
    /// COPY BINARY tuples, without the stream's header and trailer; about 256 KiB, or one row.
    pub bytes: Bytes,
    /// How many, never 0.
    pub rows: u64,
    /// Of these rows.
    pub digest: ContentDigest,
}

/// Only rows whose time is in `from_ms..to_ms`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeWindow {
    /// An integer column of epoch milliseconds, a timestamp(tz) or a date.
    pub column: String,
    /// The first millisecond.
    pub from_ms: i64,
    /// The first millisecond after.
    pub to_ms: i64,
}

/// Reads one part, block by block. Decoding one block takes milliseconds.
#[derive(Debug)]
pub struct PartReader {}

impl PartReader {
    /// Opens the whole bytes of a part, whose SHA-256 the caller has checked.
    ///
    /// # Errors
    /// [`CodecError::Part`] when it is no such file or has other columns; [`CodecError::Setup`] when the window's
    /// column is missing or holds no time.
    pub fn open(
        _format: ArchiveFormat,
        _columns: &[Column],
        _part: Bytes,
        _window: Option<&TimeWindow>,
    ) -> Result<Self, CodecError> {
        Err(CodecError::Part("not written yet".to_owned()))
    }
}

impl Iterator for PartReader {
    type Item = Result<RowBlock, CodecError>;

    fn next(&mut self) -> Option<Self::Item> {
        None
    }
}
