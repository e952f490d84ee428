//! [`DisposalError`]: what went wrong, and whether trying again can help.

use eidos_archive_store::{CodecError, StoreError};
use eidos_core::CoreError;
use eidos_pg::{PgError, is_transient};
use eidos_plan::{PlanError, server_words};
use eidos_runtime::JobError;

/// The label of the refusal of a store that has none of the earlier exports.
pub(crate) const OTHER_STORE: &str = "store";
/// The label of the refusal of a store that nobody accepted.
pub(crate) const NOT_ACCEPTED: &str = "store_not_accepted";

/// Refusals that are about the table itself. All others end by themselves or by a person's decision about the unit: a hold, a
/// clock, a slot, a store.
const LASTING: [&str; 8] = [
    "copy",
    "kind",
    "mismatch",
    "partitioning",
    "referenced",
    "rights",
    "setup",
    "type",
];

/// Why a unit could not be moved on. Nothing was destroyed, unless the error says so.
#[derive(Debug, thiserror::Error)]
pub enum DisposalError {
    /// Our own tables, a fence, a connection.
    #[error(transparent)]
    Core(#[from] CoreError),
    /// The object store, or what lies in it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A statement failed.
    #[error("could not {what}: {}", server_words(source))]
    Sql {
        /// The intention, as a verb phrase.
        what: &'static str,
        /// What the driver or server said.
        #[source]
        source: sqlx::Error,
    },
    /// Something is not as it must be before rows may go. Says what, and what to do; trying again does not help.
    #[error("{what}")]
    Refused {
        /// A label for metrics: `hold`, `clock`, `changed`, `mismatch`, ...
        reason: &'static str,
        /// The sentence.
        what: String,
    },
    /// A table was in use through every attempt. The next run tries again.
    #[error("{what}")]
    Busy {
        /// The sentence.
        what: String,
    },
    /// The run may not go on: cancelled, replaced, or a dry run.
    #[error(transparent)]
    Job(#[from] JobError),
}

/// A refusal as its label and its sentence.
pub type Refusal = (&'static str, String);

/// Separates a refusal from the answer, so that a survey can show it; any other error stays one.
///
/// # Errors
/// All but [`DisposalError::Refused`].
pub fn split_refusal<T: Default>(
    outcome: Result<T, DisposalError>,
) -> Result<(T, Option<Refusal>), DisposalError> {
    match outcome {
        Ok(answer) => Ok((answer, None)),
        Err(DisposalError::Refused { reason, what }) => Ok((T::default(), Some((reason, what)))),
        Err(error) => Err(error),
    }
}

impl DisposalError {
    /// A refusal. `reason` is a metric's label, `what` says what is wrong and what to do.
    #[must_use]
    pub fn refused(reason: &'static str, what: impl Into<String>) -> Self {
        Self::Refused {
            reason,
            what: what.into(),
        }
    }

    /// For `map_err`: a statement failed while doing `what`.
    pub fn sql(what: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |source| Self::Sql { what, source }
    }

    /// The label of a refusal, corrupted objects included.
    #[must_use]
    pub fn refusal(&self) -> Option<&'static str> {
        match self {
            Self::Refused { reason, .. } => Some(reason),
            Self::Store(error) if !error.is_retryable() && !matches!(error, StoreError::Cancelled) => {
                Some("archive")
            }
            _ => None,
        }
    }

    /// True where the object store takes nothing from us at all: full, forbidden, not able to, or another one than ever.
    /// Whatever else is to be archived would meet the same.
    #[must_use]
    pub fn is_about_the_store(&self) -> bool {
        match self {
            Self::Store(error) => matches!(
                error,
                StoreError::DiskFull { .. }
                    | StoreError::Denied { .. }
                    | StoreError::Incapable { .. }
                    | StoreError::Settings { .. }
            ),
            Self::Refused { reason, .. } => [OTHER_STORE, NOT_ACCEPTED].contains(reason),
            _ => false,
        }
    }

    /// True where a row holds something that no archive can keep exactly: it has to be corrected by a person first.
    #[must_use]
    pub fn is_about_a_value(&self) -> bool {
        matches!(self, Self::Store(StoreError::Codec(error)) if error.is_refusal())
    }

    /// True where the same call fails again until somebody changes the table, its rows, our rights or the server: a unit
    /// that meets it is given up, and its partition let go.
    #[must_use]
    pub fn cannot_heal(&self) -> bool {
        match self {
            Self::Sql { .. } => !self.is_retryable(),
            Self::Store(StoreError::Codec(error)) => {
                !matches!(error, CodecError::Stream { .. } | CodecError::Thread(_))
            }
            Self::Refused { reason, .. } => LASTING.contains(reason),
            _ => false,
        }
    }

    /// True where the same call may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Core(error) => error.is_retryable(),
            Self::Store(error) => error.is_retryable(),
            Self::Sql { source, .. } => is_transient(source),
            Self::Refused { .. } => false,
            Self::Busy { .. } => true,
            Self::Job(error) => matches!(error.without_report(), JobError::Retry(_)),
        }
    }

    /// True where the run itself must end: it was replaced, cancelled, or lost its lease. Other tables of the run
    /// must not be tried either.
    #[must_use]
    pub fn ends_the_run(&self) -> bool {
        match self {
            Self::Core(error) => error.is_fenced(),
            Self::Job(error) => matches!(
                error.without_report(),
                JobError::LeaseLost | JobError::Fenced | JobError::Cancelled(_)
            ),
            _ => false,
        }
    }

    /// The SQLSTATE of a failed statement.
    #[must_use]
    pub fn sqlstate(&self) -> Option<String> {
        match self {
            Self::Sql { source, .. } => code_of(source),
            _ => None,
        }
    }
}

impl From<PgError> for DisposalError {
    fn from(error: PgError) -> Self {
        match error {
            PgError::Sql { doing, cause } => Self::sql(doing)(cause),
            PgError::Layout(what) => Self::refused("layout", what),
        }
    }
}

impl From<PlanError> for DisposalError {
    fn from(error: PlanError) -> Self {
        match error {
            PlanError::Sql { what, source } => Self::Sql { what, source },
            PlanError::Refused { reason, what } => Self::Refused { reason, what },
        }
    }
}

impl From<DisposalError> for JobError {
    fn from(error: DisposalError) -> Self {
        match error {
            DisposalError::Core(error) => error.into(),
            DisposalError::Job(error) => error,
            error if error.is_retryable() => Self::retry(error),
            error => Self::fail(error),
        }
    }
}

/// The SQLSTATE, if the server said one.
pub(crate) fn code_of(error: &sqlx::Error) -> Option<String> {
    error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code)
        .map(std::borrow::Cow::into_owned)
}

/// Somebody else was in the way: lock timeout, deadlock, serialization failure, statement timeout.
pub(crate) fn in_the_way(error: &sqlx::Error) -> bool {
    code_of(error).is_some_and(|code| matches!(code.as_str(), "55P03" | "40P01" | "40001" | "57014"))
}
