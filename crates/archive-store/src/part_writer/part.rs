//! What an export is asked for and what it gives: options and facts in, parts and totals out.

use std::fmt;

use crate::ArchiveFormat;
use bytes::Bytes;

use crate::codec_error::CodecError;
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

impl PartOptions {
    pub(super) fn check(&self) -> Result<(), CodecError> {
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
