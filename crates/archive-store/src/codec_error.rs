//! [`CodecError`]: why rows cannot be exported, or a part cannot be read.

use arrow_schema::ArrowError;
use eidos_types::copy_binary::CopyError;
use parquet::errors::ParquetError;

use crate::pg_type::UnsupportedType;

/// Why rows cannot be encoded or decoded. Trying again with the same bytes helps none of them; only
/// [`Self::Stream`] may succeed then, when a connection broke in the middle.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// The bytes are not a complete `COPY … (FORMAT binary)` stream of these columns.
    #[error("the COPY BINARY stream is broken after {row} rows: {what}")]
    Stream {
        /// Whole rows read before.
        row: u64,
        /// What was found.
        what: String,
    },
    /// A value that would not come back byte for byte.
    #[error("column {column} of the row {key}: {what}; {remedy}")]
    Value {
        /// Its column.
        column: String,
        /// The row's key, as `(column=value, …)`.
        key: String,
        /// What is wrong with it; never the value of anything but numbers and times.
        what: String,
        /// What a person can do about it.
        remedy: &'static str,
    },
    /// A column whose type cannot be archived exactly.
    #[error("column {column}: {source}")]
    Column {
        /// Its name.
        column: String,
        /// Its type and what to do.
        source: UnsupportedType,
    },
    /// The columns or options do not fit each other: the caller's mistake.
    #[error("the export cannot be set up: {0}")]
    Setup(String),
    /// The bytes are not a part with these columns.
    #[error("the part is corrupt: {0}")]
    Part(String),
    /// Parquet could not be written or read.
    #[error("the Parquet file cannot be written or read: {0}")]
    Parquet(#[from] ParquetError),
    /// A record batch could not be built.
    #[error("a record batch cannot be built: {0}")]
    Arrow(#[from] ArrowError),
    /// The encoder's thread cannot be started or ended by itself.
    #[error("the encoding thread ended: {0}")]
    Thread(String),
}

impl CodecError {
    /// Returns whether the values themselves are refused, so that an export of this table can only succeed after the data
    /// or the table was changed.
    #[must_use]
    pub const fn is_refusal(&self) -> bool {
        matches!(self, Self::Value { .. } | Self::Column { .. })
    }
}

impl From<CopyError> for CodecError {
    fn from(CopyError { row, what }: CopyError) -> Self {
        Self::Stream { row, what }
    }
}

/// A value that is refused, before it is known whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ValueError {
    pub(crate) what: String,
    pub(crate) remedy: &'static str,
}

impl ValueError {
    /// For bytes or text that PostgreSQL does not write for this type.
    const NOT_OURS: &'static str =
        "the columns given to the codec are not those of the stream, or the bytes were damaged on their way";

    pub(crate) fn new(what: impl Into<String>, remedy: &'static str) -> Self {
        Self {
            what: what.into(),
            remedy,
        }
    }

    /// Returns the error of a value that PostgreSQL cannot have written for a column of this type.
    pub(crate) fn malformed(what: impl Into<String>) -> Self {
        Self::new(what, Self::NOT_OURS)
    }
}
