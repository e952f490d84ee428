//! [`PgError`]: what a database did not do, and whether trying again can help.

/// Why something could not be done in a database.
#[derive(Debug, thiserror::Error)]
pub enum PgError {
    /// A statement failed.
    #[error("could not {doing}: {cause}")]
    Sql {
        /// The intention, as a verb phrase.
        doing: &'static str,
        /// What the driver or server said.
        #[source]
        cause: sqlx::Error,
    },
    /// The catalogue does not show what was just made.
    #[error("{0}")]
    Layout(String),
}

impl PgError {
    /// For `map_err`: a statement failed while `doing` something.
    pub fn sql(doing: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |cause| Self::Sql { doing, cause }
    }
}

/// Checks whether the same call may succeed later: connection loss, server shutdown, resource shortage, lock conflict,
/// timeout.
#[must_use]
pub fn is_transient(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        sqlx::Error::Database(database) => database.code().is_some_and(|code| {
            // 57014 statement timeout, 55P03 lock timeout, 25P03 idle in transaction, 40xxx serialization.
            ["08", "40", "53", "57"]
                .iter()
                .any(|class| code.starts_with(class))
                || code == "55P03"
                || code == "25P03"
        }),
        _ => false,
    }
}
