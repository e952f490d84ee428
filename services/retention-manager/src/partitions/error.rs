//! What to do about a transaction that failed.

use eidos_core::CoreError;
use eidos_disposal::DisposalError;

/// What helps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Remedy {
    /// A lock was not granted in time, or a row came meanwhile: wait a little and try again.
    Again,
    /// The work under the lock took too long: try again with less of it.
    Less,
    /// Trying again gives the same.
    None,
}

impl Remedy {
    pub(super) fn of(error: &DisposalError) -> Self {
        let (DisposalError::Sql { source: cause, .. } | DisposalError::Core(CoreError::Sql { cause, .. })) =
            error
        else {
            return Self::None;
        };
        match cause
            .as_database_error()
            .and_then(sqlx::error::DatabaseError::code)
            .as_deref()
        {
            // Lock not available, deadlock; a row that came to the default partition after we looked.
            Some("55P03" | "40P01" | "23514") => Self::Again,
            // Statement timeout.
            Some("57014") => Self::Less,
            _ => Self::None,
        }
    }
}
