//! [`ParquetPart`]: record batches into one Parquet file in memory.

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use crate::codec_error::CodecError;
use crate::column::Column;
use crate::part_writer::PartOptions;
use crate::pg_type::PgType;

/// A column whose dictionary grows larger has values that rarely repeat: looking each of them up costs more than it saves.
/// Markets, statuses, wallets of a market and batches stay well below.
const MAX_DICTIONARY_BYTES: usize = 128 << 10;
/// A row group is closed before it holds more than this of COPY bytes, so that a reader never needs more for one.
const MAX_GROUP_BYTES: usize = 64 << 20;

/// A part that is being written.
#[derive(Debug)]
pub(crate) struct ParquetPart {
    writer: ArrowWriter<Vec<u8>>,
    row_group_rows: usize,
    /// COPY bytes of the open row group.
    group_bytes: usize,
}

impl ParquetPart {
    pub(crate) fn new(
        schema: &SchemaRef,
        columns: &[Column],
        options: &PartOptions,
    ) -> Result<Self, CodecError> {
        // Grown by doubling it would for a moment be there three times.
        let file = Vec::with_capacity(options.part_bytes + options.part_bytes / 8);
        let writer = ArrowWriter::try_new(file, schema.clone(), Some(properties(columns, options)?))?;
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

    pub(crate) fn finish(self) -> Result<Vec<u8>, CodecError> {
        Ok(self.writer.into_inner()?)
    }
}

fn properties(columns: &[Column], options: &PartOptions) -> Result<WriterProperties, CodecError> {
    let level = ZstdLevel::try_new(options.zstd_level)?;
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(level))
        .set_created_by(concat!("eidos-archive-store ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_max_row_group_row_count(Some(options.row_group_rows))
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_dictionary_page_size_limit(MAX_DICTIONARY_BYTES);
    for column in columns {
        let path = ColumnPath::new(vec![column.name.clone()]);
        if !dictionary(column.pg_type) {
            properties = properties.set_column_dictionary_enabled(path.clone(), false);
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

/// Whether values usually repeat within a row group. Floats never go through a dictionary: it compares them as
/// numbers, to which -0 is 0, and their bits must come back.
const fn dictionary(pg_type: PgType) -> bool {
    matches!(
        pg_type,
        PgType::Bool
            | PgType::Int2
            | PgType::Int4
            | PgType::Varchar(_)
            | PgType::Char(_)
            | PgType::Text
            | PgType::Date
    )
}
