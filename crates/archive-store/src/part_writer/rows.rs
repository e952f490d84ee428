//! The first thread's work: tuples into batches, digests, segments and statistics.

use eidos_types::copy_binary::Tuple;

use crate::batch::{BatchBuilder, Refused};
use crate::codec_error::{CodecError, ValueError};
use crate::column::{Column, KeyColumns};
use crate::digest::ContentDigest;
use crate::part_writer::order::OrderCheck;
use crate::part_writer::worker::Batch;
use crate::part_writer::{ExportTotals, PartFacts, PartOptions};
use crate::segment::{SegmentCutter, Unprintable};
use crate::stats::StatsCollector;
use crate::text;

const MAX_BATCH_ROWS: usize = 8192;
const MAX_BATCH_BYTES: usize = 4 << 20;
const MIN_BATCH_BYTES: usize = 1 << 10;

/// Takes tuples one by one.
#[derive(Debug)]
pub(super) struct RowCollector {
    columns: Vec<Column>,
    /// Positions of the key's columns.
    key: Vec<usize>,
    builder: BatchBuilder,
    max_rows: usize,
    max_bytes: usize,
    batch_rows: usize,
    batch_bytes: usize,
    batch_digest: ContentDigest,
    rows: u64,
    digest: ContentDigest,
    segments: SegmentCutter,
    stats: StatsCollector,
    order: OrderCheck,
}

impl RowCollector {
    pub(super) fn new(
        columns: Vec<Column>,
        key: &KeyColumns,
        options: &PartOptions,
        facts: &PartFacts,
    ) -> Result<Self, CodecError> {
        let canonical_nan = options.format == crate::ArchiveFormat::Csv;
        let key = key.positions(&columns)?;
        Ok(Self {
            builder: BatchBuilder::new(&columns, &facts.column_numbers, canonical_nan),
            max_rows: MAX_BATCH_ROWS.min(options.row_group_rows),
            max_bytes: (options.part_bytes / 8).clamp(MIN_BATCH_BYTES, MAX_BATCH_BYTES),
            batch_rows: 0,
            batch_bytes: 0,
            batch_digest: ContentDigest::ZERO,
            rows: 0,
            digest: ContentDigest::ZERO,
            segments: SegmentCutter::new(options.segment_rows, &columns, &key),
            stats: StatsCollector::new(&columns),
            order: OrderCheck::new(&columns, &facts.ordered_by)?,
            key,
            columns,
        })
    }

    pub(super) const fn builder(&self) -> &BatchBuilder {
        &self.builder
    }

    /// Takes one row; returns a batch when it is full.
    pub(super) fn take(&mut self, tuple: &Tuple<'_>) -> Result<Option<Batch>, CodecError> {
        self.order.take(tuple)?;
        self.builder
            .append(tuple)
            .map_err(|refused| self.refusal(tuple, refused))?;
        let digest = ContentDigest::of_row(tuple.bytes());
        self.batch_digest.merge(&digest);
        self.batch_rows += 1;
        self.batch_bytes += tuple.bytes().len();
        self.segment(tuple, &digest)?;
        if self.batch_rows >= self.max_rows || self.batch_bytes >= self.max_bytes {
            return self.cut();
        }
        Ok(None)
    }

    /// The rows since the last batch, if there are any.
    pub(super) fn cut(&mut self) -> Result<Option<Batch>, CodecError> {
        if self.batch_rows == 0 {
            return Ok(None);
        }
        let rows = self.builder.finish()?;
        self.stats.see(&rows);
        self.rows += std::mem::take(&mut self.batch_rows) as u64;
        let digest = std::mem::take(&mut self.batch_digest);
        self.digest.merge(&digest);
        Ok(Some(Batch {
            rows,
            digest,
            copy_bytes: std::mem::take(&mut self.batch_bytes),
        }))
    }

    /// After the last [`Self::cut`].
    pub(super) fn totals(self) -> Result<ExportTotals, CodecError> {
        Ok(ExportTotals {
            rows: self.rows,
            digest: self.digest,
            column_stats: self.stats.finish(),
            segments: self.segments.finish().map_err(unprintable)?,
        })
    }

    fn segment(&mut self, tuple: &Tuple<'_>, digest: &ContentDigest) -> Result<(), CodecError> {
        if self.segments.is_off() {
            return Ok(());
        }
        let is_null = |column: &usize| tuple.field(*column).is_none();
        if let Some(column) = self.key.iter().copied().find(is_null) {
            let error = ValueError::new(
                "the value is NULL, but it is part of the row's key",
                "choose a time column and a primary key without NULLs, or set the value",
            );
            return Err(self.refusal(tuple, Refused { column, error }));
        }
        self.segments.take(tuple, digest).map_err(unprintable)
    }

    fn refusal(&self, tuple: &Tuple<'_>, Refused { column, error }: Refused) -> CodecError {
        let value = |position: &usize| {
            let column = self.columns.get(*position)?;
            let mut printed = String::new();
            match tuple.field(*position) {
                None => printed.push_str("NULL"),
                Some(raw) => {
                    if text::format(column.pg_type, raw, &mut printed).is_err() {
                        "unreadable".clone_into(&mut printed);
                    }
                }
            }
            Some(format!("{}={printed}", column.name))
        };
        CodecError::Value {
            column: self
                .columns
                .get(column)
                .map_or_else(String::new, |column| column.name.clone()),
            key: format!(
                "({})",
                self.key.iter().filter_map(value).collect::<Vec<_>>().join(", ")
            ),
            what: error.what,
            remedy: error.remedy,
        }
    }
}

fn unprintable(Unprintable { column, what }: Unprintable) -> CodecError {
    CodecError::Setup(format!("the key column {column} cannot be printed: {what}"))
}
