//! [`StoreError`]: what went wrong with the object store, and what the caller should do about it.

use std::path::PathBuf;

use crate::codec_error::CodecError;

/// The error of a row source, whatever its type.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// Why an export, a verification or a restore did not succeed. None of them ever means "probably fine": what could
/// not be proved is an error. `object` is a whole location, as `s3://bucket/prefix/…` or `file:///…`; it never holds
/// credentials.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A setting cannot work; nothing was asked of the store.
    #[error("archive_store.{key} = '{value}' {reason}; {fix}")]
    Settings {
        /// The key below the section.
        key: String,
        /// Its value, never a credential.
        value: String,
        /// What is wrong with it.
        reason: String,
        /// What to do.
        fix: String,
    },
    /// A name that cannot be part of an object's key.
    #[error("{what} '{name}' cannot name a folder of the archive: {reason}")]
    Name {
        /// Which name, as `table`.
        what: &'static str,
        /// The name.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// An object that must be there is not.
    #[error(
        "{object} is missing; restore it from the bucket's versions or a copy. Nothing that depends on it may be \
         dropped"
    )]
    Missing {
        /// Where it should be.
        object: String,
    },
    /// An object is there with other content than the manifest says.
    #[error(
        "{object} is corrupt: {what}; restore it from the bucket's versions or a copy. Nothing that depends on it \
         may be dropped"
    )]
    Corrupt {
        /// Which one.
        object: String,
        /// What differs.
        what: String,
    },
    /// The manifest is not the one that was recorded when the export was verified.
    #[error(
        "{object} was changed: its SHA-256 is {found}, recorded was {expected}; restore the recorded version, a \
         manifest is never edited"
    )]
    ManifestChanged {
        /// Which one.
        object: String,
        /// As recorded.
        expected: String,
        /// As read.
        found: String,
    },
    /// An object of this name exists with other content. It was not touched.
    #[error(
        "{object} exists with other content ({what}) and was left alone: another process used this folder; export \
         again under a new unit id"
    )]
    Conflict {
        /// Which one.
        object: String,
        /// What differs.
        what: String,
    },
    /// The folder of a new export is not empty. It was not touched.
    #[error("{folder} already holds {object} and was left alone; discard it, or export under a new unit id")]
    FolderInUse {
        /// Which one.
        folder: String,
        /// Something in it.
        object: String,
    },
    /// Rows cannot be encoded, or a part cannot be decoded.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The rows could not be read from where they come from.
    #[error("the rows to export could not be read: {0}")]
    Rows(#[source] BoxError),
    /// The file system of a local store is full (or a quota or a limit on the size of files is reached).
    #[error(
        "no space left for {}: free some on its file system, or point archive_store.url elsewhere; nothing was \
         dropped",
        .path.display()
    )]
    DiskFull {
        /// The file that could not be written.
        path: PathBuf,
    },
    /// The store refuses us.
    #[error("{operation} of {object} was refused ({cause}); {fix}")]
    Denied {
        /// `put`, `get`, `list`, `delete` or `open`.
        operation: &'static str,
        /// Which object.
        object: String,
        /// The store's words, shortened.
        cause: String,
        /// Which permission to give, and where.
        fix: String,
    },
    /// The store cannot do, or does not do, what an archive needs.
    #[error("{object}: the store {what}; {fix}")]
    Incapable {
        /// Where it was tried.
        object: String,
        /// What it does.
        what: String,
        /// What to do.
        fix: String,
    },
    /// The store did not answer, or with a server error, in all attempts.
    #[error("{operation} of {object} failed {attempts} times, at last: {cause}")]
    Transport {
        /// `put`, `get`, `list` or `delete`.
        operation: &'static str,
        /// Which object.
        object: String,
        /// How often it was tried.
        attempts: usize,
        /// What happened at last.
        cause: String,
    },
    /// The caller's token was cancelled. What had been written was discarded as far as possible.
    #[error("cancelled")]
    Cancelled,
    /// A task or thread of ours ended by itself.
    #[error("an internal task ended: {0}")]
    Task(String),
}

impl StoreError {
    /// True if the same call may succeed later without a change of anything.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(
            self,
            Self::Transport { .. } | Self::Rows(_) | Self::Codec(CodecError::Stream { .. })
        )
    }

    /// True if it says that archived data is not what it was: missing, corrupt or its manifest changed.
    #[must_use]
    pub const fn is_rot(&self) -> bool {
        matches!(
            self,
            Self::Missing { .. } | Self::Corrupt { .. } | Self::ManifestChanged { .. }
        )
    }
}

impl From<tokio::task::JoinError> for StoreError {
    fn from(error: tokio::task::JoinError) -> Self {
        Self::Task(error.to_string())
    }
}
