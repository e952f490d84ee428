//! [`ApiError`]: why a request was refused, in words that fit HTTP and gRPC.

use axum::extract::rejection::JsonRejection;
use eidos_core::CoreError;
use eidos_settings::Role;
use eidos_types::JobName;

/// A refused request. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// No token, or one that is not known.
    #[error("send a bearer token that this service knows in the Authorization header")]
    Unauthenticated,
    /// A known caller who may not do this.
    #[error("this needs the role {needed}; the token has the role {role}")]
    Forbidden {
        /// What the token has.
        role: Role,
        /// What it would need.
        needed: Role,
    },
    /// There is no such thing.
    #[error("{0}")]
    NotFound(String),
    /// The job is running or about to.
    #[error("{job} is busy with execution {execution}; wait for it or cancel it")]
    Busy {
        /// The job.
        job: JobName,
        /// The execution in the way.
        execution: String,
    },
    /// The thing is in a state that does not allow this.
    #[error("{0}")]
    Conflict(String),
    /// The thing is not as the caller saw it.
    #[error("{what} is at version {now} and no longer at {seen}: look at it again, then decide")]
    Stale {
        /// The thing.
        what: String,
        /// The version that the caller saw.
        seen: i64,
        /// Its version now.
        now: i64,
    },
    /// The request cannot be read.
    #[error("{0}")]
    Malformed(String),
    /// The request is too large to be read.
    #[error("the body is larger than {limit_bytes} bytes")]
    TooLarge {
        /// The most that is read.
        limit_bytes: usize,
    },
    /// The request is well-formed and wrong.
    #[error("{0}")]
    Invalid(String),
    /// Something this service needs did not answer. Details are in the log, not in the answer.
    #[error("{0}")]
    Unavailable(#[source] CoreError),
}

impl From<CoreError> for ApiError {
    fn from(error: CoreError) -> Self {
        match &error {
            CoreError::Sql { cause, .. } if is_unstorable_text(cause) => {
                Self::Malformed(UNSTORABLE.to_owned())
            }
            _ => Self::Unavailable(error),
        }
    }
}

/// What a caller is told who sends U+0000.
const UNSTORABLE: &str = "a text of the request holds the character NUL (U+0000), which the database cannot store or compare; leave it out";

/// Whether the database refused a text for its characters: the request is wrong, the database is well. NUL is the only
/// character of UTF-8 that PostgreSQL does not take, in text (22021) and in JSON (22P05).
fn is_unstorable_text(error: &sqlx::Error) -> bool {
    let code = error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| code == "22021" || code == "22P05")
}

impl ApiError {
    /// For `map_err` of a body: JSON of the wrong shape is invalid, anything else malformed.
    #[must_use]
    pub fn unreadable(rejection: JsonRejection) -> Self {
        match rejection {
            JsonRejection::JsonDataError(error) => Self::Invalid(error.body_text()),
            other => Self::Malformed(other.body_text()),
        }
    }

    /// For `map_err` of a statement.
    pub fn sql(doing: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |cause| CoreError::Sql { doing, cause }.into()
    }

    /// What the caller is told. Inner errors may name hosts and tables: they go to the log.
    pub(crate) fn detail(&self) -> String {
        match self {
            Self::Unavailable(error) => {
                tracing::error!(error = %eidos_runtime::chain(error), "a request could not be answered");
                "the service could not reach its database; try again".to_owned()
            }
            other => other.to_string(),
        }
    }
}
