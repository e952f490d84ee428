//! Parts as CSV files that `COPY … FROM … WITH (FORMAT csv, HEADER)` loads: a header line, every value quoted, NULL
//! an empty field without quotes, lines end with a line feed. Own code in both directions: the csv crate does not
//! distinguish a quoted empty field from one without quotes, which here are the empty text and NULL.

mod reader;
mod writer;

pub(crate) use reader::CsvRows;
pub(crate) use writer::CsvPart;

use crate::column::Column;

/// Appends a quoted field.
fn put_quoted(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let mut pieces = text.split('"');
    out.extend_from_slice(pieces.next().unwrap_or_default().as_bytes());
    for piece in pieces {
        out.extend_from_slice(b"\"\"");
        out.extend_from_slice(piece.as_bytes());
    }
    out.push(b'"');
}

/// The first line.
fn header(columns: &[Column]) -> Vec<u8> {
    let mut line = Vec::new();
    for column in columns {
        if !line.is_empty() {
            line.push(b',');
        }
        put_quoted(&column.name, &mut line);
    }
    line.push(b'\n');
    line
}
