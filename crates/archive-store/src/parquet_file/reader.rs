//! [`ParquetRows`]: the rows of a Parquet part.

use arrow_array::RecordBatch;
use arrow_schema::{Field, Schema};
use bytes::Bytes;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};

use crate::batch::{PG_TYPE_KEY, TupleColumns, arrow_schema};
use crate::codec_error::CodecError;
use crate::column::Column;
use crate::part_reader::BlockBuilder;

/// A batch is this part of a row group, which has at most 64 MiB of COPY bytes.
const BATCHES_OF_GROUP: i64 = 16;
const MAX_BATCH_ROWS: usize = 8192;

/// The rows of a part, row group by row group.
#[derive(Debug)]
pub(crate) struct ParquetRows {
    part: Bytes,
    metadata: ArrowReaderMetadata,
    next_group: usize,
    batches: Option<ParquetRecordBatchReader>,
    /// The batch that is being read and its next row.
    current: Option<(RecordBatch, usize)>,
}

impl ParquetRows {
    pub(crate) fn open(columns: &[Column], part: Bytes) -> Result<Self, CodecError> {
        let metadata = ArrowReaderMetadata::load(&part, ArrowReaderOptions::new())
            .map_err(|error| CodecError::Part(error.to_string()))?;
        check_schema(&arrow_schema(columns, &[]), metadata.schema())?;
        Ok(Self {
            part,
            metadata,
            next_group: 0,
            batches: None,
            current: None,
        })
    }

    /// Adds rows to the block until it is full; returns false at the end of the part.
    pub(crate) fn fill(&mut self, columns: &[Column], block: &mut BlockBuilder) -> Result<bool, CodecError> {
        while !block.is_full() {
            let Some((batch, row)) = &mut self.current else {
                match self.next_batch()? {
                    Some(batch) => self.current = Some((batch, 0)),
                    None => return Ok(false),
                }
                continue;
            };
            let tuples = TupleColumns::new(columns, batch)?;
            while *row < batch.num_rows() && !block.is_full() {
                block
                    .row(|out| tuples.put_tuple(*row, out))
                    .map_err(|error| CodecError::Part(error.what))?;
                *row += 1;
            }
            if *row == batch.num_rows() {
                self.current = None;
            }
        }
        Ok(true)
    }

    fn next_batch(&mut self) -> Result<Option<RecordBatch>, CodecError> {
        loop {
            if let Some(batches) = &mut self.batches {
                match batches.next() {
                    Some(batch) => {
                        return Ok(Some(batch.map_err(|error| CodecError::Part(error.to_string()))?));
                    }
                    None => self.batches = None,
                }
            }
            let groups = self.metadata.metadata();
            if self.next_group >= groups.num_row_groups() {
                return Ok(None);
            }
            let rows = groups.row_group(self.next_group).num_rows();
            let batch_rows = usize::try_from(rows / BATCHES_OF_GROUP)
                .unwrap_or(1)
                .clamp(1, MAX_BATCH_ROWS);
            let builder =
                ParquetRecordBatchReaderBuilder::new_with_metadata(self.part.clone(), self.metadata.clone())
                    .with_row_groups(vec![self.next_group])
                    .with_batch_size(batch_rows);
            self.batches = Some(
                builder
                    .build()
                    .map_err(|error| CodecError::Part(error.to_string()))?,
            );
            self.next_group += 1;
        }
    }
}

fn check_schema(expected: &Schema, found: &Schema) -> Result<(), CodecError> {
    let describe = |field: Option<&Field>| {
        field.map_or_else(
            || "nothing".to_owned(),
            |field| {
                let declared = field
                    .metadata()
                    .get(PG_TYPE_KEY)
                    .map_or("undeclared", String::as_str);
                let null = if field.is_nullable() { "" } else { " NOT NULL" };
                format!("{} {declared}{null} as {}", field.name(), field.data_type())
            },
        )
    };
    let fields = expected.fields().len().max(found.fields().len());
    for index in 0..fields {
        let expected = describe(expected.fields().get(index).map(|field| &**field));
        let found = describe(found.fields().get(index).map(|field| &**field));
        if expected != found {
            return Err(CodecError::Part(format!(
                "column {} is {found} instead of {expected}",
                index + 1
            )));
        }
    }
    Ok(())
}
