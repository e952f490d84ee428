//! [`PlanError`]: why a plan, a hold or an audit row was not to be had.

use std::fmt::Write;

use eidos_pg::is_transient;
use eidos_runtime::JobError;

/// Why a plan, a hold or an audit row could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// A statement on our own tables failed.
    #[error("could not {what}: {}", server_words(source))]
    Sql {
        /// The intention, as a verb phrase.
        what: &'static str,
        /// What the driver or server said.
        #[source]
        source: sqlx::Error,
    },
    /// Something is not as it must be. Trying again does not help.
    #[error("{what}")]
    Refused {
        /// A label for metrics: `plan`, `changed`, `hold`.
        reason: &'static str,
        /// What is wrong, and what to do.
        what: String,
    },
}

impl PlanError {
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
}

impl From<PlanError> for JobError {
    fn from(error: PlanError) -> Self {
        match &error {
            PlanError::Sql { source, .. } if is_transient(source) => Self::retry(error),
            _ => Self::fail(error),
        }
    }
}

/// Returns what the server said, with the details that name objects and keys. Those that show a row's values are for
/// nobody's log: class 22, and the rows that a NOT NULL or CHECK constraint refused.
#[must_use]
pub fn server_words(error: &sqlx::Error) -> String {
    let server = error
        .as_database_error()
        .and_then(|error| error.try_downcast_ref::<sqlx::postgres::PgDatabaseError>());
    let Some(server) = server else {
        return error.to_string();
    };
    let is_quiet = server.code().starts_with("22") || matches!(server.code(), "23502" | "23514");
    let further = [server.detail(), server.hint()].into_iter().flatten();
    // Not the driver's own words: they end with the line of the server's source.
    let mut words = format!("error returned from database: {}", server.message());
    for text in further.filter(|_text| !is_quiet) {
        let _infallible = write!(words, " ({})", text.replace('\n', "; "));
    }
    words
}
