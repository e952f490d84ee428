//! [`CsvPart`]: record batches into one CSV file in memory.

use arrow_array::RecordBatch;

use crate::batch::TupleColumns;
use crate::codec_error::{CodecError, ValueError};
use crate::column::Column;
use crate::csv::{header, put_quoted};
use crate::part_writer::PartOptions;
use crate::text;

/// A part that is being written.
#[derive(Debug)]
pub(crate) struct CsvPart {
    columns: Vec<Column>,
    file: Vec<u8>,
}

impl CsvPart {
    pub(crate) fn new(columns: &[Column], options: &PartOptions) -> Self {
        let mut file = Vec::with_capacity(options.part_bytes + options.part_bytes / 8);
        file.extend_from_slice(&header(columns));
        Self {
            columns: columns.to_vec(),
            file,
        }
    }

    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<(), CodecError> {
        let tuples = TupleColumns::new(&self.columns, batch)?;
        let (mut raw, mut printed) = (Vec::new(), String::new());
        for row in 0..batch.num_rows() {
            for (index, column) in self.columns.iter().enumerate() {
                if index > 0 {
                    self.file.push(b',');
                }
                raw.clear();
                printed.clear();
                let broken = |error: ValueError| CodecError::Part(error.what);
                if tuples.put_value(index, row, &mut raw).map_err(broken)? {
                    text::format(column.pg_type, &raw, &mut printed).map_err(broken)?;
                    put_quoted(&printed, &mut self.file);
                }
            }
            self.file.push(b'\n');
        }
        Ok(())
    }

    pub(crate) const fn size(&self) -> usize {
        self.file.len()
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.file
    }
}
