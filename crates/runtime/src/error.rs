//! [`JobError`]: the error carries the decision, the runner carries it out.

use std::error::Error;
use std::fmt;

use eidos_core::CoreError;
use serde::Serialize;
use serde_json::Value;

/// What a [`JobError`] wraps: any error, with its chain of causes.
pub type BoxedError = Box<dyn Error + Send + Sync + 'static>;

/// Why a run ended without a report. Backoff and the number of attempts are the runner's business.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// Trying again may help: a connection, a timeout, a lock conflict.
    #[error("{}", chain(&**.0))]
    Retry(BoxedError),
    /// Trying again gives the same result: wrong data, a refused request, a bug.
    #[error("{}", chain(&**.0))]
    Fail(BoxedError),
    /// The lease was lost: another node may be working. Does not count as an attempt.
    #[error("the lease was lost")]
    LeaseLost,
    /// A newer run has replaced this one: it may not write any more.
    #[error("a newer run has replaced this one")]
    Fenced,
    /// The run noticed that it was told to stop.
    #[error("cancelled: {0}")]
    Cancelled(CancelReason),
    /// One of the others, with a report of what was done all the same: see [`JobError::with_report`].
    #[error("{error}")]
    Reported {
        /// Why it ended.
        error: Box<JobError>,
        /// What was done.
        report: Value,
        /// The same for a person.
        rendered: String,
    },
}

impl JobError {
    /// An error after which the runner tries again, as often as the job's settings allow.
    pub fn retry(source: impl Into<BoxedError>) -> Self {
        Self::Retry(source.into())
    }

    /// An error that ends the execution at once.
    pub fn fail(source: impl Into<BoxedError>) -> Self {
        Self::Fail(source.into())
    }

    /// This error, with a report of what the run did before or beside it: stored, shown and printed like that of a
    /// success, so that nobody has to guess from one line what became of twelve tables.
    #[must_use]
    pub fn with_report(self, report: &impl Serialize, rendered: String) -> Self {
        match serde_json::to_value(report) {
            Ok(report) => Self::Reported {
                error: Box::new(self),
                report,
                rendered,
            },
            Err(error) => {
                tracing::error!(%error, "a report cannot be written as JSON");
                self
            }
        }
    }

    /// The error itself.
    #[must_use]
    pub fn without_report(&self) -> &Self {
        match self {
            Self::Reported { error, .. } => error.without_report(),
            plain => plain,
        }
    }
}

impl From<CoreError> for JobError {
    fn from(error: CoreError) -> Self {
        if error.is_fenced() {
            Self::Fenced
        } else if error.is_retryable() {
            Self::retry(error)
        } else {
            Self::fail(error)
        }
    }
}

/// Who or what stopped a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CancelReason {
    /// The run's budget is used up.
    Timeout,
    /// The lease is lost, or its deadline passed without an answer.
    LeaseLost,
    /// The process is ending.
    Shutdown,
    /// A person asked for it.
    Operator {
        /// Name of the token that was used.
        by: String,
    },
    /// The next slot came due and the job's overlap policy prefers it.
    Superseded,
}

impl fmt::Display for CancelReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout => f.write_str("the time budget is used up"),
            Self::LeaseLost => f.write_str("the lease was lost"),
            Self::Shutdown => f.write_str("the process is shutting down"),
            Self::Operator { by } => write!(f, "requested by {by}"),
            Self::Superseded => f.write_str("the next slot has come due"),
        }
    }
}

/// An error with its causes in one line. A cause whose text the outer one already quotes is not repeated.
#[must_use]
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let line = error.to_string();
        if !text.contains(&line) {
            text.push_str(": ");
            text.push_str(&line);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("could not read the page")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn an_error_names_its_causes() {
        let error = JobError::retry(Outer(std::io::Error::other("connection reset")));
        assert_eq!(error.to_string(), "could not read the page: connection reset");
    }
}
