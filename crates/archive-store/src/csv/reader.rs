//! [`CsvRows`]: the rows of a CSV part. Reads exactly what [`super::CsvPart`] writes and refuses everything else.

use bytes::Bytes;

use crate::batch::{put_field, put_field_count};
use crate::codec_error::{CodecError, ValueError};
use crate::column::Column;
use crate::csv::header;
use crate::part_reader::BlockBuilder;
use crate::text;

/// The rows of a part, line by line.
#[derive(Debug)]
pub(crate) struct CsvRows {
    part: Bytes,
    at: usize,
    row: u64,
    /// A field without its quotes.
    field: Vec<u8>,
}

impl CsvRows {
    pub(crate) fn open(columns: &[Column], part: Bytes) -> Result<Self, CodecError> {
        let header = header(columns);
        if !part.starts_with(&header) {
            return Err(CodecError::Part(
                "its first line does not name the table's columns".to_owned(),
            ));
        }
        Ok(Self {
            part,
            at: header.len(),
            row: 0,
            field: Vec::new(),
        })
    }

    /// Adds rows to the block until it is full; returns false at the end of the part.
    pub(crate) fn fill(&mut self, columns: &[Column], block: &mut BlockBuilder) -> Result<bool, CodecError> {
        while !block.is_full() {
            if self.at == self.part.len() {
                return Ok(false);
            }
            self.row += 1;
            block.row(|out| self.put_line(columns, out)).map_err(|error| {
                CodecError::Part(format!("row {}, byte {}: {}", self.row, self.at, error.what))
            })?;
        }
        Ok(true)
    }

    /// Appends the next line as a tuple.
    fn put_line(&mut self, columns: &[Column], out: &mut Vec<u8>) -> Result<(), ValueError> {
        put_field_count(columns.len(), out);
        for (index, column) in columns.iter().enumerate() {
            put_field(out, |out| {
                if !self.read_field()? {
                    return Ok(false);
                }
                let text = std::str::from_utf8(&self.field)
                    .map_err(|_where| ValueError::malformed("text is not UTF-8"))?;
                let parsed = text::parse(column.pg_type, text, out);
                parsed.map_err(|error| {
                    ValueError::malformed(format!("column {}: {}", column.name, error.what))
                })?;
                Ok(true)
            })?;
            let separator = if index + 1 == columns.len() { b'\n' } else { b',' };
            if self.part.get(self.at) != Some(&separator) {
                return Err(ValueError::malformed(
                    "a field ends without a separator, or the line has other fields",
                ));
            }
            self.at += 1;
        }
        Ok(())
    }

    /// Reads one field into `self.field`; returns whether it is a value.
    fn read_field(&mut self) -> Result<bool, ValueError> {
        if self.part.get(self.at) != Some(&b'"') {
            return Ok(false);
        }
        self.field.clear();
        self.at += 1;
        loop {
            let rest = self.part.get(self.at..).unwrap_or_default();
            let quote = rest.iter().position(|byte| *byte == b'"');
            let quote = quote.ok_or_else(|| ValueError::malformed("the file ends within a value"))?;
            self.field
                .extend_from_slice(rest.get(..quote).unwrap_or_default());
            self.at += quote + 1;
            if self.part.get(self.at) != Some(&b'"') {
                return Ok(true);
            }
            self.field.push(b'"');
            self.at += 1;
        }
    }
}
