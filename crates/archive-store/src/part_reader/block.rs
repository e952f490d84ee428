//! [`BlockBuilder`]: whole rows until a block is full, without those outside a window of time.

use std::fmt;

use bytes::Bytes;

use crate::codec_error::{CodecError, ValueError};
use crate::column::Column;
use crate::digest::ContentDigest;
use crate::pg_type::PgType;
use crate::pgcopy::time;
use crate::text::fixed;

/// A block is given away when it has this many bytes.
const BLOCK_BYTES: usize = 256 << 10;
const DAY_MS: i64 = 86_400_000;

/// Some whole rows, in the order in which they were exported.
#[derive(Clone)]
pub struct RowBlock {
    /// COPY BINARY tuples, without the stream's header and trailer; about 256 KiB, or one row.
    pub bytes: Bytes,
    /// How many, never 0.
    pub rows: u64,
    /// Of these rows.
    pub digest: ContentDigest,
}

impl fmt::Debug for RowBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowBlock")
            .field("bytes", &self.bytes.len())
            .field("rows", &self.rows)
            .field("digest", &self.digest)
            .finish()
    }
}

/// Only rows whose time is in `from_ms..to_ms`; a row without time is in no window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeWindow {
    /// An integer column of epoch milliseconds, a timestamp(tz) or a date.
    pub column: String,
    /// The first millisecond.
    pub from_ms: i64,
    /// The first millisecond after.
    pub to_ms: i64,
}

/// Collects the rows of one block.
#[derive(Debug)]
pub(crate) struct BlockBuilder {
    bytes: Vec<u8>,
    rows: u64,
    digest: ContentDigest,
    window: Option<Window>,
}

impl BlockBuilder {
    pub(super) fn new(window: Option<Window>) -> Self {
        let bytes = Vec::with_capacity(BLOCK_BYTES + BLOCK_BYTES / 8);
        Self {
            bytes,
            rows: 0,
            digest: ContentDigest::ZERO,
            window,
        }
    }

    pub(crate) const fn is_full(&self) -> bool {
        self.bytes.len() >= BLOCK_BYTES
    }

    /// Lets `put` append one tuple, and takes it back when it is outside the window.
    pub(crate) fn row(
        &mut self,
        put: impl FnOnce(&mut Vec<u8>) -> Result<(), ValueError>,
    ) -> Result<(), ValueError> {
        let start = self.bytes.len();
        put(&mut self.bytes)?;
        let tuple = self.bytes.get(start..).unwrap_or_default();
        if self
            .window
            .as_ref()
            .map_or(Ok(true), |window| window.has(tuple))?
        {
            self.digest.add(tuple);
            self.rows += 1;
        } else {
            self.bytes.truncate(start);
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Option<RowBlock> {
        let Self {
            bytes, rows, digest, ..
        } = self;
        (rows > 0).then(|| RowBlock {
            bytes: bytes.into(),
            rows,
            digest,
        })
    }
}

/// A [`TimeWindow`] whose column has been found.
#[derive(Debug, Clone)]
pub(super) struct Window {
    column: usize,
    pg_type: PgType,
    from_ms: i64,
    to_ms: i64,
}

impl Window {
    pub(super) fn new(columns: &[Column], window: &TimeWindow) -> Result<Self, CodecError> {
        let TimeWindow {
            column: name,
            from_ms,
            to_ms,
        } = window;
        let missing = || CodecError::Setup(format!("the time column {name} is not in the archive"));
        let column = columns
            .iter()
            .position(|column| column.name == *name)
            .ok_or_else(missing)?;
        let pg_type = columns.get(column).ok_or_else(missing)?.pg_type;
        match pg_type {
            PgType::Int2
            | PgType::Int4
            | PgType::Int8
            | PgType::Date
            | PgType::Timestamp
            | PgType::Timestamptz => Ok(Self {
                column,
                pg_type,
                from_ms: *from_ms,
                to_ms: *to_ms,
            }),
            other => Err(CodecError::Setup(format!(
                "the time column {name} is a {other}, which holds no time"
            ))),
        }
    }

    fn has(&self, tuple: &[u8]) -> Result<bool, ValueError> {
        let Some(raw) = field_of(tuple, self.column) else {
            return Ok(false);
        };
        let ms = match self.pg_type {
            PgType::Int2 => i64::from(i16::from_be_bytes(fixed(raw)?)),
            PgType::Int4 => i64::from(i32::from_be_bytes(fixed(raw)?)),
            PgType::Date => i64::from(time::date_from_pg(i32::from_be_bytes(fixed(raw)?))?) * DAY_MS,
            PgType::Timestamp | PgType::Timestamptz => {
                time::timestamp_from_pg(i64::from_be_bytes(fixed(raw)?))?.div_euclid(1000)
            }
            _ => i64::from_be_bytes(fixed(raw)?),
        };
        Ok((self.from_ms..self.to_ms).contains(&ms))
    }
}

/// The bytes of one field of a tuple that we wrote.
fn field_of(tuple: &[u8], column: usize) -> Option<&[u8]> {
    let mut rest = tuple.get(2..)?;
    for index in 0..=column {
        let (len, tail) = rest.split_first_chunk::<4>()?;
        let len = usize::try_from(i32::from_be_bytes(*len)).ok();
        if index == column {
            return tail.get(..len?);
        }
        rest = tail.get(len.unwrap_or(0)..)?;
    }
    None
}
