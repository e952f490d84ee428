//! [`ParquetPart`]: record batches into one Parquet file in memory.

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use crate::codec_error::CodecError;
use crate::column::Column;
use crate::digest::ContentDigest;
use crate::parquet_file::footer::state_type_defined_order;
use crate::parquet_file::layout::{ColumnLayout, layout};
use crate::part_writer::{PartFacts, PartOptions, stated_order};
use crate::pg_type::PgType;

/// A row group is closed before it holds more than this of COPY bytes, so that a reader never needs more for one.
const MAX_GROUP_BYTES: usize = 64 << 20;

/// How often a bloom filter lets a reader look in vain. Filters have sizes of powers of two: this one takes a byte for
/// each different value.
const BLOOM_FILTER_WRONG: f64 = 0.05;
/// Where a file keeps the digest of its rows.
const DIGEST_KEY: &str = "eidos.content_digest";

/// What all files of an export share.
#[derive(Debug)]
pub(crate) struct FileShape {
    pub(crate) schema: SchemaRef,
    pub(crate) columns: Vec<Column>,
    pub(crate) options: PartOptions,
    pub(crate) facts: PartFacts,
}

/// A part that is being written.
#[derive(Debug)]
pub(crate) struct ParquetPart {
    writer: ArrowWriter<Vec<u8>>,
    row_group_rows: usize,
    /// COPY bytes of the open row group.
    group_bytes: usize,
}

impl ParquetPart {
    /// A file that will begin with the rows of `first`, which had this many COPY bytes.
    pub(crate) fn new(shape: &FileShape, first: &RecordBatch, copy_bytes: usize) -> Result<Self, CodecError> {
        let options = &shape.options;
        // Grown by doubling it would for a moment be there three times.
        let file = Vec::with_capacity(options.part_bytes + options.part_bytes / 8);
        let properties = shape.properties(first, copy_bytes)?;
        let writer = ArrowWriter::try_new(file, shape.schema.clone(), Some(properties))?;
        Ok(Self {
            writer,
            row_group_rows: options.row_group_rows,
            group_bytes: 0,
        })
    }

    /// Adds a batch of rows that had this many COPY bytes.
    pub(crate) fn write(&mut self, batch: &RecordBatch, copy_bytes: usize) -> Result<(), CodecError> {
        let group_rows = self.writer.in_progress_rows();
        let too_many = group_rows + batch.num_rows() > self.row_group_rows;
        if group_rows > 0 && (too_many || self.group_bytes + copy_bytes > MAX_GROUP_BYTES) {
            self.writer.flush()?;
            self.group_bytes = 0;
        }
        self.writer.write(batch)?;
        self.group_bytes += copy_bytes;
        Ok(())
    }

    /// About how many bytes the file would have if it ended here.
    pub(crate) fn size(&self) -> usize {
        self.writer.bytes_written() + self.writer.in_progress_size()
    }

    /// The file. `digest` is that of its rows.
    pub(crate) fn finish(mut self, digest: &ContentDigest) -> Result<Vec<u8>, CodecError> {
        let digest = KeyValue::new(DIGEST_KEY.to_owned(), digest.to_string());
        self.writer.append_key_value_metadata(digest);
        let mut file = self.writer.into_inner()?;
        state_type_defined_order(&mut file)?;
        Ok(file)
    }
}

impl FileShape {
    /// Judged by the first rows of a file, which had this many COPY bytes.
    fn properties(&self, first: &RecordBatch, copy_bytes: usize) -> Result<WriterProperties, CodecError> {
        let level = ZstdLevel::try_new(self.options.zstd_level)?;
        let mut properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(level))
            .set_created_by(concat!("eidos-archive-store ", env!("CARGO_PKG_VERSION")).to_owned())
            .set_max_row_group_row_count(Some(self.options.row_group_rows))
            .set_dictionary_enabled(false)
            .set_sorting_columns(self.sorting_columns()?)
            .set_key_value_metadata(Some(self.key_values()));
        let row_bytes = copy_bytes / first.num_rows().max(1);
        let group_rows = self
            .options
            .row_group_rows
            .min(MAX_GROUP_BYTES / row_bytes.max(1));
        for (column, sample) in self.columns.iter().zip(first.columns()) {
            let path = ColumnPath::new(vec![column.name.clone()]);
            let ColumnLayout {
                dictionary_limit,
                bloom_filter,
            } = layout(column, sample, group_rows, self.options.zstd_level);
            properties = properties.set_column_statistics_enabled(path.clone(), statistics(column.pg_type));
            if let Some(limit) = dictionary_limit {
                properties = properties
                    .set_column_dictionary_enabled(path.clone(), true)
                    .set_column_dictionary_page_size_limit(path.clone(), limit);
            }
            if bloom_filter {
                properties = properties
                    .set_column_bloom_filter_fpp(path.clone(), BLOOM_FILTER_WRONG)
                    .set_column_bloom_filter_max_ndv(path.clone(), group_rows as u64);
            }
            if matches!(
                column.pg_type,
                PgType::Int8 | PgType::Timestamp | PgType::Timestamptz
            ) {
                // Ids and times grow by little: their differences take a fraction of their width.
                properties = properties.set_column_encoding(path, Encoding::DELTA_BINARY_PACKED);
            }
        }
        Ok(properties.build())
    }

    fn sorting_columns(&self) -> Result<Option<Vec<SortingColumn>>, CodecError> {
        let stated = stated_order(&self.columns, &self.facts.ordered_by)?;
        let sorting = |position: usize| SortingColumn {
            column_idx: i32::try_from(position).unwrap_or(i32::MAX),
            descending: false,
            nulls_first: false,
        };
        Ok((!stated.is_empty()).then(|| stated.into_iter().map(sorting).collect()))
    }

    fn key_values(&self) -> Vec<KeyValue> {
        let known = self.facts.key_values.iter();
        known
            .map(|(key, value)| KeyValue::new(key.clone(), value.clone()))
            .collect()
    }
}

/// Minimum and maximum of pages and row groups let readers skip what they do not look for. Floats have none: readers
/// disagree on the place of NaN, and some then skip rows that they were asked for. Of documents and bytes only NULLs are
/// counted by all of them.
const fn statistics(pg_type: PgType) -> EnabledStatistics {
    match pg_type {
        PgType::Float4 | PgType::Float8 => EnabledStatistics::None,
        PgType::Json | PgType::Jsonb | PgType::Bytea => EnabledStatistics::Chunk,
        _ => EnabledStatistics::Page,
    }
}
