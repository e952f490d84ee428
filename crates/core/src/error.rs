//! [`CoreError`]: what went wrong, while doing what, and whether trying again can help.

use std::future::Future;
use std::time::Duration;

use eidos_pg::is_transient;
use eidos_types::{ExecutionId, JobName};
use sqlx::postgres::PgRow;
use sqlx::{Postgres, Row};
use tracing::{Instrument, Span};

use crate::epoch::Epoch;

/// An error of the jobs database.
#[derive(Debug, thiserror::Error)]
pub enum CoreError {
    /// No session could be opened. Names the source and host, never the password.
    #[error(
        "cannot connect to the {source_name} database at {target}: {cause}; \
         check databases.{source_name}.url and that the server accepts connections"
    )]
    Connect {
        /// The logical source (`jobs`, `trading`, ...).
        source_name: String,
        /// `user@host:port/database`.
        target: String,
        /// What the driver said.
        #[source]
        cause: sqlx::Error,
    },
    /// A connection string does not parse. The string itself is not shown: it may hold a password.
    #[error("databases.{source_name}.url is not a PostgreSQL URL: {cause}")]
    Url {
        /// The logical source.
        source_name: String,
        /// What the parser said.
        #[source]
        cause: sqlx::Error,
    },
    /// A pooler gives one server session to several clients, so that nothing set in it holds and named statements of
    /// several clients meet.
    #[error(
        "the {source_name} database at {target} is behind a pooler that does not give each client a server session of \
         its own: {evidence}. Statement, lock and idle-in-transaction limits, read-only sessions and named statements \
         do not hold there. Set databases.{source_name}.url to a pool in session mode whose sessions are reset \
         (PgBouncer: pool_mode = session, server_reset_query = DISCARD ALL; Odyssey: pool \"session\", \
         pool_discard yes) or to PostgreSQL itself; docs/poolers.md says more"
    )]
    SharedSession {
        /// The logical source.
        source_name: String,
        /// `user@host:port/database`.
        target: String,
        /// What was seen.
        evidence: String,
    },
    /// A session does not keep what was set in it.
    #[error(
        "the {source_name} database at {target} does not keep what was set in a session: {lost}. Whoever stands in \
         between (a pooler, a proxy) must pass SET on; docs/poolers.md names those that do"
    )]
    Guards {
        /// The logical source.
        source_name: String,
        /// `user@host:port/database`.
        target: String,
        /// Setting, found and asked value of each.
        lost: String,
    },
    /// A writable transaction was asked for in a session whose limits nobody has set.
    #[error(
        "could not {doing}: the session has none of the limits that were set when it was opened ({cause}); a pooler in \
         transaction mode, or a pool that `eidos_core::db` has not made. docs/poolers.md says more"
    )]
    LimitsMissing {
        /// The intention, as a verb phrase.
        doing: &'static str,
        /// What the server said.
        #[source]
        cause: sqlx::Error,
    },
    /// A statement failed.
    #[error("could not {doing}: {cause}")]
    Sql {
        /// The intention, as a verb phrase.
        doing: &'static str,
        /// What the driver or server said.
        #[source]
        cause: sqlx::Error,
    },
    /// The server did not answer in time; whether the statement ran is unknown.
    #[error("could not {doing}: no answer within {after:?}")]
    TimedOut {
        /// The intention, as a verb phrase.
        doing: &'static str,
        /// The limit that passed.
        after: Duration,
    },
    /// A newer run of the job has replaced this one: nothing may be written any more.
    #[error("{job} was replaced: epoch {epoch} is no longer current, so this run may not write")]
    Fenced {
        /// The job.
        job: JobName,
        /// The epoch of the run that was refused.
        epoch: Epoch,
    },
    /// No execution has this id.
    #[error("there is no execution {0}")]
    NoSuchExecution(ExecutionId),
    /// The database was never migrated, or by an older or newer program.
    #[error("{}", schema_message(*found, *expected))]
    SchemaVersion {
        /// The newest migration applied, if any.
        found: Option<i64>,
        /// The newest migration this program knows.
        expected: i64,
    },
    /// An applied migration is not the one this program was built with.
    #[error(
        "migration {version} in the database is not the one this program was built with; \
         migrations are add-only: restore the original file and add a new one, then run `eidosctl migrate`"
    )]
    SchemaChanged {
        /// The migration's number.
        version: i64,
    },
    /// Migrating failed.
    #[error("could not migrate the jobs database: {0}")]
    Migrate(#[source] sqlx::migrate::MigrateError),
    /// A value could not be turned into JSON or back.
    #[error("{what} does not convert to or from JSON: {cause}")]
    Json {
        /// Which value.
        what: String,
        /// What serde said.
        #[source]
        cause: serde_json::Error,
    },
    /// A stored value is not one this program knows.
    #[error("{column} holds '{value}', which this program does not know; was it written by a newer version?")]
    Stored {
        /// Table and column.
        column: &'static str,
        /// The stored text, cut to 80 characters.
        value: String,
    },
    /// A history partition overlaps or misses part of its month.
    #[error("the history has no clean partition for [{from_ms}, {to_ms}): {problem}")]
    Partition {
        /// First instant of the month, epoch ms.
        from_ms: i64,
        /// First instant after it.
        to_ms: i64,
        /// What was found in the catalogue.
        problem: String,
    },
}

fn schema_message(found: Option<i64>, expected: i64) -> String {
    match found {
        None => format!(
            "the jobs database has no schema yet (this program needs version {expected}): run `eidosctl migrate`"
        ),
        Some(found) if found < expected => format!(
            "the jobs database has schema version {found}, this program needs {expected}: run `eidosctl migrate`"
        ),
        Some(found) => format!(
            "the jobs database has schema version {found}, newer than the {expected} this program knows: \
             deploy the program version whose `eidosctl migrate` made it"
        ),
    }
}

impl CoreError {
    /// True where the same call may succeed later: connection trouble, timeouts, lock conflicts.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            // The session without limits is closed, the next one may have them.
            Self::Connect { .. } | Self::TimedOut { .. } | Self::LimitsMissing { .. } => true,
            Self::Sql { cause, .. } => is_transient(cause),
            _ => false,
        }
    }

    /// True where only other settings help: no restart makes a pooler keep what it does not keep.
    #[must_use]
    pub const fn is_setting(&self) -> bool {
        matches!(
            self,
            Self::Url { .. } | Self::SharedSession { .. } | Self::Guards { .. }
        )
    }

    /// True where a newer run has taken over.
    #[must_use]
    pub const fn is_fenced(&self) -> bool {
        matches!(self, Self::Fenced { .. })
    }

    pub(crate) fn stored(column: &'static str, value: &str) -> Self {
        Self::Stored {
            column,
            value: value.chars().take(80).collect(),
        }
    }

    pub(crate) fn json(what: impl Into<String>) -> impl FnOnce(serde_json::Error) -> Self {
        let what = what.into();
        move |cause| Self::Json { what, cause }
    }
}

/// How long one statement of this crate may take, on top of the server's own `statement_timeout`: a server
/// that went away without a word must not hang a loop for ever.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(20);

/// Awaits a database call under [`CALL_TIMEOUT`] and says what was being done when it fails.
pub(crate) async fn call<T>(
    doing: &'static str,
    future: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, CoreError> {
    // Under a run or a request its statements show in the trace; a loop's polling starts none of its own.
    let span = if Span::current().is_none() {
        Span::none()
    } else {
        tracing::info_span!("sql", otel.name = doing, db.system.name = "postgresql")
    };
    match tokio::time::timeout(CALL_TIMEOUT, future).instrument(span).await {
        Ok(done) => done.map_err(|cause| CoreError::Sql { doing, cause }),
        Err(_elapsed) => Err(CoreError::TimedOut {
            doing,
            after: CALL_TIMEOUT,
        }),
    }
}

/// Says of a failed [`crate::sql::BEGIN_READ_WRITE`] whether it was the session that it cannot begin in.
pub(crate) fn begun<T>(outcome: Result<T, CoreError>) -> Result<T, CoreError> {
    match outcome {
        Err(CoreError::Sql {
            doing,
            cause: sqlx::Error::Database(said),
            // Unknown parameter; or, after RESET, an empty value.
        }) if matches!(said.code().as_deref(), Some("42704" | "22023")) => Err(CoreError::LimitsMissing {
            doing,
            cause: sqlx::Error::Database(said),
        }),
        other => other,
    }
}

/// A column of a row; an unexpected type or NULL is an error that names the statement's purpose.
pub(crate) fn column<'r, T>(row: &'r PgRow, name: &'static str) -> Result<T, CoreError>
where
    T: sqlx::Decode<'r, Postgres> + sqlx::Type<Postgres>,
{
    row.try_get(name).map_err(|cause| CoreError::Sql {
        doing: "decode a stored row",
        cause,
    })
}
