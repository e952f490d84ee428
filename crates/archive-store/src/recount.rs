//! [`Recount`]: everything a manifest says of rows, found again from decoded parts.

use crate::ArchiveFormat;
use bytes::Bytes;
use eidos_types::copy_binary::{COPY_HEADER, CopyScanner, Tuple};
use tokio_util::sync::CancellationToken;

use crate::batch::BatchBuilder;
use crate::codec_error::CodecError;
use crate::digest::ContentDigest;
use crate::manifest::{Manifest, Part};
use crate::part_reader::PartReader;
use crate::segment::{SegmentCutter, Unprintable};
use crate::stats::StatsCollector;

/// Rows of one batch of statistics.
const BATCH_ROWS: usize = 8192;
/// Bytes after which a batch is closed.
const BATCH_BYTES: usize = 4 << 20;

/// Rows, digests, segments and statistics of the parts taken so far.
#[derive(Debug)]
pub(crate) struct Recount {
    scanner: CopyScanner,
    rows: RowsSeen,
}

#[derive(Debug)]
struct RowsSeen {
    rows: u64,
    digest: ContentDigest,
    segments: SegmentCutter,
    stats: StatsCollector,
    builder: BatchBuilder,
    batch_rows: usize,
    batch_bytes: usize,
}

impl Recount {
    pub(crate) fn new(manifest: &Manifest) -> Result<Self, CodecError> {
        let columns = &manifest.columns;
        let key = manifest.key_columns().positions(columns)?;
        let mut scanner = CopyScanner::new(columns.len());
        scanner.feed(&COPY_HEADER, CodecError::from, |_| Ok(()))?;
        Ok(Self {
            scanner,
            rows: RowsSeen {
                rows: 0,
                digest: ContentDigest::ZERO,
                segments: SegmentCutter::new(manifest.segment_rows, columns, &key),
                stats: StatsCollector::new(columns),
                builder: BatchBuilder::new(columns, &[], manifest.format == ArchiveFormat::Csv),
                batch_rows: 0,
                batch_bytes: 0,
            },
        })
    }

    /// Decodes one part whose bytes have been proved, and compares its rows with what the manifest says of it. Stops
    /// early, without a finding, when cancelled.
    pub(crate) fn take(
        mut self,
        manifest: &Manifest,
        part: &Part,
        bytes: Bytes,
        cancel: &CancellationToken,
    ) -> Result<Self, CodecError> {
        let mut rows = 0;
        let mut digest = ContentDigest::ZERO;
        let Self { scanner, rows: seen } = &mut self;
        for block in PartReader::open(manifest.format, &manifest.columns, bytes, None)? {
            if cancel.is_cancelled() {
                return Ok(self);
            }
            let block = block?;
            rows += block.rows;
            digest.merge(&block.digest);
            scanner.feed(&block.bytes, CodecError::from, |tuple| seen.see(&tuple))?;
        }
        if (rows, digest) != (part.rows, part.digest) {
            return Err(CodecError::Part(format!(
                "it decodes to {rows} rows with digest {digest} instead of {} with {}",
                part.rows, part.digest
            )));
        }
        seen.digest.merge(&digest);
        Ok(self)
    }

    /// After the last part: the rows and their digest, or what differs from the manifest.
    pub(crate) fn finish(self, manifest: &Manifest) -> Result<(u64, ContentDigest), String> {
        let mut seen = self.rows;
        seen.close_batch().map_err(|error| error.to_string())?;
        let (rows, digest) = (seen.rows, seen.digest);
        if (rows, digest) != (manifest.rows, manifest.content_digest) {
            return Err(format!(
                "its parts decode to {rows} rows with digest {digest} instead of {} with {}",
                manifest.rows, manifest.content_digest
            ));
        }
        let segments = seen.segments.finish();
        let segments = segments.map_err(|error| unprintable(error).to_string())?;
        if segments != manifest.segments {
            return Err("its segments are not those of the rows in its parts".to_owned());
        }
        let differs = seen
            .stats
            .finish()
            .into_iter()
            .zip(&manifest.column_stats)
            .find(|(found, written)| found != *written);
        if let Some((_, written)) = differs {
            return Err(format!(
                "its statistics of column {} are not those of the rows in its parts",
                written.name
            ));
        }
        Ok((rows, digest))
    }
}

impl RowsSeen {
    fn see(&mut self, tuple: &Tuple<'_>) -> Result<(), CodecError> {
        self.rows += 1;
        if !self.segments.is_off() {
            let digest = ContentDigest::of_row(tuple.bytes());
            self.segments.take(tuple, &digest).map_err(unprintable)?;
        }
        self.builder.append(tuple).map_err(|refused| {
            CodecError::Part(format!(
                "a value of it is none of its column: {}",
                refused.error.what
            ))
        })?;
        self.batch_rows += 1;
        self.batch_bytes += tuple.bytes().len();
        if self.batch_rows >= BATCH_ROWS || self.batch_bytes >= BATCH_BYTES {
            self.close_batch()?;
        }
        Ok(())
    }

    fn close_batch(&mut self) -> Result<(), CodecError> {
        if self.batch_rows > 0 {
            self.stats.see(&self.builder.finish()?);
            self.batch_rows = 0;
            self.batch_bytes = 0;
        }
        Ok(())
    }
}

fn unprintable(Unprintable { column: _, what }: Unprintable) -> CodecError {
    CodecError::Part(format!("a key of it cannot be printed: {what}"))
}
