//! Why a run cannot go on, and what that means for it.

use eidos_chain::ChainError;
use eidos_core::CoreError;
use eidos_runtime::JobError;

use super::disagreement::Disagreement;
use crate::dimensions::balance::sources::SourceError;

/// Why a run cannot go on.
#[derive(Debug)]
pub enum Fault {
    /// A side could not be read.
    Source(SourceError),
    /// Two providers say different things: nothing is decided.
    Disagreement(Box<Disagreement>),
    /// Anything else, with the decision.
    Job(JobError),
}

impl Fault {
    /// One of our own tables.
    pub fn own(error: sqlx::Error) -> Self {
        Self::Job(JobError::retry(error))
    }

    /// True if the node does not have the state of a block that old.
    pub fn is_about_old_state(&self) -> bool {
        let is_old = |error: &ChainError| {
            matches!(
                error,
                ChainError::StateUnavailable { .. }
                    | ChainError::StaleState { .. }
                    | ChainError::NotDeployed { .. }
            )
        };
        matches!(self, Self::Source(SourceError::Chain(error)) if is_old(error))
    }

    /// True if events that were read may not be all there are: what was derived from them is not kept.
    pub fn is_about_events(&self) -> bool {
        match self {
            Self::Disagreement(_) => true,
            Self::Source(SourceError::Chain(error)) => matches!(**error, ChainError::LogsIncomplete { .. }),
            Self::Source(_) | Self::Job(_) => false,
        }
    }

    /// True if a new cut, and nothing else, is needed.
    pub fn needs_new_pin(&self) -> bool {
        matches!(self, Self::Source(error) if error.needs_new_pin())
    }
}

impl From<SourceError> for Fault {
    fn from(error: SourceError) -> Self {
        Self::Source(error)
    }
}

impl From<eidos_chain::ChainError> for Fault {
    fn from(error: eidos_chain::ChainError) -> Self {
        Self::Source(error.into())
    }
}

impl From<JobError> for Fault {
    fn from(error: JobError) -> Self {
        Self::Job(error)
    }
}

impl From<CoreError> for Fault {
    fn from(error: CoreError) -> Self {
        Self::Job(error.into())
    }
}

impl From<Fault> for JobError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Job(error) => error,
            Fault::Disagreement(disagreement) => Self::retry(*disagreement),
            Fault::Source(error) if error.is_retryable() => Self::retry(error),
            Fault::Source(error) => Self::fail(error),
        }
    }
}
