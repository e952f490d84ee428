//! [`CopyScanner`]: cuts a stream of `COPY … (FORMAT binary)` into rows. Holds at most one row.

/// What every stream begins with: the signature, no flags, no extension.
pub const COPY_HEADER: [u8; 19] = *b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// What every stream ends with.
pub const COPY_TRAILER: [u8; 2] = [0xff, 0xff];

/// Signature, flags and the length of the header's extension.
const HEADER_BYTES: usize = COPY_HEADER.len();
const SIGNATURE_BYTES: usize = 11;
/// Flags that a reader must know; bit 16 would be OIDs, which PostgreSQL no longer writes.
const CRITICAL_FLAGS: u32 = 0xffff_0000;
/// PostgreSQL allocates no value of 1 GiB or more.
const MAX_FIELD_BYTES: usize = 1 << 30;
/// The extension is reserved and has always been empty.
const MAX_EXTENSION_BYTES: usize = 1 << 16;

/// The bytes are not a complete stream of such rows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the COPY BINARY stream is broken after {row} rows: {what}")]
pub struct CopyError {
    /// Whole rows read before.
    pub row: u64,
    /// What was found.
    pub what: String,
}

/// Where one field's bytes are in its tuple.
#[derive(Debug, Clone, Copy)]
struct Field {
    start: usize,
    /// `None` is NULL.
    len: Option<usize>,
}

/// One row, borrowed from the stream.
#[derive(Debug, Clone, Copy)]
pub struct Tuple<'a> {
    bytes: &'a [u8],
    fields: &'a [Field],
}

impl<'a> Tuple<'a> {
    /// Returns the whole row as it was sent: field count, then length and bytes of each field.
    #[inline]
    #[must_use]
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Returns the fields. `None`: NULL.
    #[inline]
    pub fn fields(&self) -> impl Iterator<Item = Option<&'a [u8]>> {
        let bytes = self.bytes;
        self.fields.iter().map(move |field| {
            field
                .len
                .and_then(|len| bytes.get(field.start..field.start + len))
        })
    }

    /// Returns the first `N` fields. `None`: NULL.
    #[inline]
    #[must_use]
    pub fn array<const N: usize>(&self) -> [Option<&'a [u8]>; N] {
        std::array::from_fn(|column| self.field(column))
    }

    /// Returns the field of one column. `None`: NULL, or there is no such column.
    #[inline]
    #[must_use]
    pub fn field(&self, column: usize) -> Option<&'a [u8]> {
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
pub struct CopyScanner {
    columns: usize,
    state: State,
    rows: u64,
    /// The beginning of a tuple (or of the header) whose end has not come yet.
    carry: Vec<u8>,
    fields: Vec<Field>,
}

impl CopyScanner {
    /// Makes a scanner for rows of this many columns.
    #[must_use]
    pub const fn new(columns: usize) -> Self {
        Self {
            columns,
            state: State::Header,
            rows: 0,
            carry: Vec::new(),
            fields: Vec::new(),
        }
    }

    /// Gives every row that ends in `chunk` to `sink`. `broken` makes the caller's error of a stream that is none.
    ///
    /// # Errors
    /// What `sink` or `broken` return; the scanner must not be fed again.
    pub fn feed<E>(
        &mut self,
        mut chunk: &[u8],
        broken: impl Fn(CopyError) -> E,
        mut sink: impl FnMut(Tuple<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        while !chunk.is_empty() {
            chunk = match self.state {
                State::Header => self.header(chunk).map_err(&broken)?,
                State::Extension(left) => self.extension(chunk, left),
                State::Rows => self.row(chunk, &broken, &mut sink)?,
                State::Ended => return Err(broken(self.broken("bytes follow the trailer"))),
            };
        }
        Ok(())
    }

    /// Ends the stream. Returns how many rows there were.
    ///
    /// # Errors
    /// [`CopyError`]: the trailer is missing, so the stream was cut off.
    pub fn finish(self) -> Result<u64, CopyError> {
        if self.state == State::Ended {
            Ok(self.rows)
        } else {
            Err(self.broken("it ended without its trailer, so rows are missing"))
        }
    }

    fn broken(&self, what: impl Into<String>) -> CopyError {
        CopyError {
            row: self.rows,
            what: what.into(),
        }
    }

    fn header<'a>(&mut self, chunk: &'a [u8]) -> Result<&'a [u8], CopyError> {
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
    fn row<'a, E>(
        &mut self,
        chunk: &'a [u8],
        broken: &impl Fn(CopyError) -> E,
        sink: &mut impl FnMut(Tuple<'_>) -> Result<(), E>,
    ) -> Result<&'a [u8], E> {
        if self.carry.is_empty() {
            return match self.scan(chunk).map_err(broken)? {
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
        match scanned.map_err(broken)? {
            Scan::Needs(needed) => {
                let before = self.carry.len();
                rest = self.fill(rest, needed);
                debug_assert!(self.carry.len() > before, "a scan that needs more must take more");
                if self.carry.len() < needed {
                    return Ok(rest);
                }
                self.carried_row(rest, broken, sink)
            }
            Scan::Trailer | Scan::Tuple(_) => self.carried_row(rest, broken, sink),
        }
    }

    /// After the carry grew to what the last scan needed: gives its tuple away if it is whole now.
    fn carried_row<'a, E>(
        &mut self,
        rest: &'a [u8],
        broken: &impl Fn(CopyError) -> E,
        sink: &mut impl FnMut(Tuple<'_>) -> Result<(), E>,
    ) -> Result<&'a [u8], E> {
        let mut carry = std::mem::take(&mut self.carry);
        match self.scan(&carry).map_err(broken)? {
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
    fn scan(&mut self, bytes: &[u8]) -> Result<Scan, CopyError> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stream(rows: &[[Option<Vec<u8>>; 2]]) -> Vec<u8> {
        let mut bytes = COPY_HEADER.to_vec();
        for row in rows {
            bytes.extend_from_slice(&2_i16.to_be_bytes());
            for field in row {
                let length = field
                    .as_ref()
                    .map_or(-1, |field| i32::try_from(field.len()).unwrap());
                bytes.extend_from_slice(&length.to_be_bytes());
                bytes.extend_from_slice(field.as_deref().unwrap_or_default());
            }
        }
        bytes.extend_from_slice(&COPY_TRAILER);
        bytes
    }

    fn feed(
        scanner: &mut CopyScanner,
        bytes: &[u8],
        mut see: impl FnMut(Tuple<'_>),
    ) -> Result<(), CopyError> {
        scanner.feed(bytes, std::convert::identity, |tuple| {
            see(tuple);
            Ok(())
        })
    }

    fn any_field() -> impl Strategy<Value = Option<Vec<u8>>> {
        proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40))
    }

    proptest! {
        /// However the network cuts the stream, the rows are the same.
        #[test]
        fn rows_survive_any_chunking(
            rows in proptest::collection::vec([any_field(), any_field()], 0..20),
            chunk in 1_usize..50,
        ) {
            let mut scanner = CopyScanner::new(2);
            let mut got: Vec<[Option<Vec<u8>>; 2]> = Vec::new();
            for part in stream(&rows).chunks(chunk) {
                feed(&mut scanner, part, |tuple| {
                    got.push(tuple.array().map(|field| field.map(<[u8]>::to_vec)));
                }).unwrap();
            }
            prop_assert_eq!(scanner.finish(), Ok(rows.len() as u64));
            prop_assert_eq!(got, rows);
        }

        #[test]
        fn any_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let mut all = COPY_HEADER.to_vec();
            all.extend_from_slice(&bytes);
            let _ = feed(&mut CopyScanner::new(2), &all, |_| ());
        }
    }

    #[test]
    fn a_truncated_stream_is_no_end() {
        let bytes = stream(&[[Some(vec![1]), None]]);
        let mut scanner = CopyScanner::new(2);
        feed(&mut scanner, &bytes[..bytes.len() - 2], |_| ()).unwrap();
        assert!(scanner.finish().is_err());
        assert!(feed(&mut CopyScanner::new(2), &[0; 40], |_| ()).is_err());
    }
}
