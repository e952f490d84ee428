//! [`Failure`]: why a command did not do what was asked, and the exit code that says so.

use std::time::Duration;

use crate::client::Problem;

/// A failure with a meaning of its own. Anything else is exit code 1.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The environment or a setting is wrong.
    #[error("{0}")]
    Settings(String),
    /// No answer from the service.
    #[error("{url} cannot be reached: {reason}")]
    Unreachable {
        /// What was asked.
        url: String,
        /// Why there was no answer.
        reason: String,
    },
    /// A write whose answer was lost.
    #[error(
        "{url} did not answer ({reason}): it is not known whether the run was requested. Repeat with \
         --idempotency-key {key}; that cannot start it twice"
    )]
    OutcomeUnknown {
        /// What was asked.
        url: String,
        /// Why there was no answer.
        reason: String,
        /// The key that makes repeating safe.
        key: String,
    },
    /// The service refused.
    #[error("{0}")]
    Refused(Problem),
    /// The run that was waited for did not succeed.
    #[error("execution {id} of {job} ended as {status}{reason}")]
    ExecutionFailed {
        /// The execution.
        id: String,
        /// Its job.
        job: String,
        /// Its final status.
        status: String,
        /// What it said, with a leading separator, or nothing.
        reason: String,
    },
    /// The run did not end in time; it is still running.
    #[error("execution {id} is still {status} after {waited:?}; look again with: eidosctl execution {id}")]
    StillRunning {
        /// The execution.
        id: String,
        /// Its status when last seen.
        status: String,
        /// How long was waited.
        waited: Duration,
    },
    /// No run of the job began while it was waited for.
    #[error("{job} did not run within {waited:?}; start it with: eidosctl trigger {job}")]
    NothingRan {
        /// The job.
        job: String,
        /// How long was waited.
        waited: Duration,
    },
    /// A service or a job is not as it should be.
    #[error("{complaints}")]
    Unwell {
        /// What is wrong, one service after the other.
        complaints: String,
        /// The exit code of the worst of it.
        code: u8,
    },
    /// The audit trail is not what was written.
    #[error("the audit trail does not verify: {found} findings; see the runbook break-lifecycle.md")]
    Tampered {
        /// How many.
        found: u64,
    },
    /// The schema is not what this program expects.
    #[error("{0}")]
    Schema(String),
}

impl Failure {
    /// Returns the process's exit code; the table is in the crate's documentation.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Schema(_) | Self::ExecutionFailed { .. } => 1,
            Self::Tampered { .. } => 65,
            Self::Unreachable { .. } | Self::OutcomeUnknown { .. } => 69,
            Self::StillRunning { .. } | Self::NothingRan { .. } => 75,
            Self::Settings(_) => 78,
            Self::Unwell { code, .. } => *code,
            Self::Refused(problem) => match problem.status {
                401 | 403 => 77,
                409 | 429 | 503 => 75,
                _ => 1,
            },
        }
    }
}
