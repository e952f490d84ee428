//! [`CopyScanner`]: cuts a COPY BINARY stream into tuples. Holds at most one tuple.

use crate::codec_error::CodecError;
use crate::pgcopy::COPY_HEADER;

/// Signature, flags and the length of the header's extension.
const HEADER_BYTES: usize = COPY_HEADER.len();
const SIGNATURE_BYTES: usize = 11;
/// Flags that a reader must know; bit 16 would be OIDs, which PostgreSQL no longer writes.
const CRITICAL_FLAGS: u32 = 0xffff_0000;
/// PostgreSQL allocates no value of 1 GiB or more.
const MAX_FIELD_BYTES: usize = 1 << 30;
/// The extension is reserved and has always been empty.
const MAX_EXTENSION_BYTES: usize = 1 << 16;

/// Where one field's bytes are in its tuple.
#[derive(Debug, Clone, Copy)]
struct Field {
    start: usize,
    /// `None` is NULL.
    len: Option<usize>,
}

/// One row, borrowed from the stream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tuple<'a> {
    bytes: &'a [u8],
    fields: &'a [Field],
}

impl<'a> Tuple<'a> {
    /// The whole tuple: field count, then length and bytes of each field.
    pub(crate) const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The fields; `None` is NULL.
    pub(crate) fn fields(&self) -> impl Iterator<Item = Option<&'a [u8]>> {
        let bytes = self.bytes;
        self.fields.iter().map(move |field| {
            field
                .len
                .and_then(|len| bytes.get(field.start..field.start + len))
        })
    }

    /// The field of one column; `None` also when there is no such column.
    pub(crate) fn field(&self, column: usize) -> Option<&'a [u8]> {
        let field = self.fields.get(column)?;
        self.bytes.get(field.start..field.start + field.len?)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Header,
    /// Bytes of the header's extension still to be skipped.
    Extension(usize),
    Rows,
    Ended,
}

/// What the first bytes of a tuple tell.
enum Scan {
    /// At least this many bytes are needed to know more.
    Needs(usize),
    /// A tuple of this many bytes.
    Tuple(usize),
    Trailer,
}

/// Cuts a stream into tuples.
#[derive(Debug)]
pub(crate) struct CopyScanner {
    columns: usize,
    state: State,
    rows: u64,
    /// The beginning of a tuple (or of the header) whose end has not come yet.
    carry: Vec<u8>,
    fields: Vec<Field>,
}

impl CopyScanner {
    /// For rows of this many columns.
    pub(crate) const fn new(columns: usize) -> Self {
        Self {
            columns,
            state: State::Header,
            rows: 0,
            carry: Vec::new(),
            fields: Vec::new(),
        }
    }

    /// Gives every tuple that ends in `chunk` to `sink`.
    pub(crate) fn feed(
        &mut self,
        mut chunk: &[u8],
        mut sink: impl FnMut(Tuple<'_>) -> Result<(), CodecError>,
    ) -> Result<(), CodecError> {
        while !chunk.is_empty() {
            chunk = match self.state {
                State::Header => self.header(chunk)?,
                State::Extension(left) => self.extension(chunk, left),
                State::Rows => self.row(chunk, &mut sink)?,
                State::Ended => return Err(self.broken("bytes follow the trailer")),
            };
        }
        Ok(())
    }

    /// How many rows there were.
    pub(crate) fn finish(self) -> Result<u64, CodecError> {
        if self.state == State::Ended {
            Ok(self.rows)
        } else {
            Err(self.broken("it ended without its trailer, so rows are missing"))
        }
    }

    fn broken(&self, what: impl Into<String>) -> CodecError {
        CodecError::Stream {
            row: self.rows,
            what: what.into(),
        }
    }

    fn header<'a>(&mut self, chunk: &'a [u8]) -> Result<&'a [u8], CodecError> {
        let rest = self.fill(chunk, HEADER_BYTES);
        if self.carry.len() < HEADER_BYTES {
            return Ok(rest);
        }
        if self.carry.get(..SIGNATURE_BYTES) != COPY_HEADER.get(..SIGNATURE_BYTES) {
            return Err(self.broken("it does not begin with the signature of COPY BINARY"));
        }
        let flags = be_u32(&self.carry, SIGNATURE_BYTES).unwrap_or(CRITICAL_FLAGS);
        if flags & CRITICAL_FLAGS != 0 {
            return Err(self.broken(format!("its header has the unknown flags {flags:#010x}")));
        }
        let extension = be_u32(&self.carry, SIGNATURE_BYTES + 4).map_or(usize::MAX, |len| len as usize);
        if extension > MAX_EXTENSION_BYTES {
            return Err(self.broken(format!("its header has an extension of {extension} bytes")));
        }
        self.carry.clear();
        self.state = if extension == 0 {
            State::Rows
        } else {
            State::Extension(extension)
        };
        Ok(rest)
    }

    fn extension<'a>(&mut self, chunk: &'a [u8], left: usize) -> &'a [u8] {
        let skipped = left.min(chunk.len());
        self.state = if skipped == left {
            State::Rows
        } else {
            State::Extension(left - skipped)
        };
        chunk.get(skipped..).unwrap_or_default()
    }

    /// Takes one tuple, from the chunk itself when it is whole there.
    fn row<'a>(
        &mut self,
        chunk: &'a [u8],
        sink: &mut impl FnMut(Tuple<'_>) -> Result<(), CodecError>,
    ) -> Result<&'a [u8], CodecError> {
        if self.carry.is_empty() {
            return match self.scan(chunk)? {
                Scan::Needs(_) => {
                    self.carry.extend_from_slice(chunk);
                    Ok(&[])
                }
                Scan::Trailer => {
                    self.end();
                    Ok(chunk.get(2..).unwrap_or_default())
                }
                Scan::Tuple(len) => {
                    let (tuple, rest) = chunk.split_at(len);
                    sink(Tuple {
                        bytes: tuple,
                        fields: &self.fields,
                    })?;
                    self.rows += 1;
                    Ok(rest)
                }
            };
        }
        let mut rest = chunk;
        let carry = std::mem::take(&mut self.carry);
        let scanned = self.scan(&carry);
        self.carry = carry;
        match scanned? {
            Scan::Needs(needed) => {
                let before = self.carry.len();
                rest = self.fill(rest, needed);
                debug_assert!(self.carry.len() > before, "a scan that needs more must take more");
                if self.carry.len() < needed {
                    return Ok(rest);
                }
                self.carried_row(rest, sink)
            }
            Scan::Trailer | Scan::Tuple(_) => self.carried_row(rest, sink),
        }
    }

    /// After the carry grew to what the last scan needed: gives its tuple away if it is whole now.
    fn carried_row<'a>(
        &mut self,
        rest: &'a [u8],
        sink: &mut impl FnMut(Tuple<'_>) -> Result<(), CodecError>,
    ) -> Result<&'a [u8], CodecError> {
        let mut carry = std::mem::take(&mut self.carry);
        match self.scan(&carry)? {
            Scan::Needs(_) => {
                self.carry = carry;
                Ok(rest)
            }
            Scan::Trailer => {
                self.end();
                Ok(rest)
            }
            Scan::Tuple(_) => {
                sink(Tuple {
                    bytes: &carry,
                    fields: &self.fields,
                })?;
                self.rows += 1;
                carry.clear();
                self.carry = carry;
                Ok(rest)
            }
        }
    }

    fn end(&mut self) {
        self.state = State::Ended;
        self.carry = Vec::new();
    }

    /// Moves bytes into the carry until it has `wanted`.
    fn fill<'a>(&mut self, chunk: &'a [u8], wanted: usize) -> &'a [u8] {
        let missing = wanted.saturating_sub(self.carry.len()).min(chunk.len());
        let (taken, rest) = chunk.split_at(missing);
        self.carry.extend_from_slice(taken);
        rest
    }

    /// Reads lengths, as far as there are bytes; leaves the fields of a whole tuple in `self.fields`.
    fn scan(&mut self, bytes: &[u8]) -> Result<Scan, CodecError> {
        self.fields.clear();
        let Some(count) = bytes.first_chunk::<2>() else {
            return Ok(Scan::Needs(2));
        };
        let count = i16::from_be_bytes(*count);
        if count == -1 {
            return Ok(Scan::Trailer);
        }
        if usize::try_from(count) != Ok(self.columns) {
            return Err(self.broken(format!(
                "the next row has {count} fields instead of {}",
                self.columns
            )));
        }
        let mut at = 2;
        for _ in 0..self.columns {
            let Some(len) = bytes.get(at..).and_then(<[u8]>::first_chunk::<4>) else {
                return Ok(Scan::Needs(at + 4));
            };
            let len = i32::from_be_bytes(*len);
            let start = at + 4;
            at = start;
            let field_len = match usize::try_from(len) {
                Ok(len) if len < MAX_FIELD_BYTES => Some(len),
                Err(_) if len == -1 => None,
                _ => return Err(self.broken(format!("the next row has a field of {len} bytes"))),
            };
            at += field_len.unwrap_or(0);
            self.fields.push(Field {
                start,
                len: field_len,
            });
        }
        Ok(if bytes.len() < at {
            Scan::Needs(at)
        } else {
            Scan::Tuple(at)
        })
    }
}

fn be_u32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes
        .get(at..)?
        .first_chunk::<4>()
        .map(|bytes| u32::from_be_bytes(*bytes))
}
