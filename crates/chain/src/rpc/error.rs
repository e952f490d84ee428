//! Why an exchange gave no answer, and what follows from it.

use std::time::Duration;

use super::{NodeError, NodeErrorKind};

/// Why an exchange gave no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RpcError {
    /// The connection failed or broke.
    #[error("{0}")]
    Broken(String),
    /// No complete answer in time.
    #[error("no complete answer within {} ms", .0.as_millis())]
    TimedOut(Duration),
    /// An HTTP status other than success, with a body that says nothing more.
    #[error("HTTP status {status}{}{words}", if .words.is_empty() { "" } else { ": " })]
    Http {
        /// The status.
        status: u16,
        /// The pause the node asked for.
        retry_after: Option<Duration>,
        /// What the body says, cut short.
        words: String,
    },
    /// The answer is longer than allowed.
    #[error("an answer of more than {0} bytes")]
    AnswerTooLong(usize),
    /// The answer cannot be one.
    #[error("{0}")]
    Malformed(String),
    /// The node's own error.
    #[error(transparent)]
    Node(#[from] NodeError),
}

impl RpcError {
    /// Whether asking for less may help, and for how long. Not after a rate limit, which was waited for, nor after
    /// the refusal of a batch, which was made smaller already.
    pub(crate) const fn wants_less(&self) -> Option<Less> {
        match self {
            Self::TimedOut(_) => Some(Less::ForNow),
            Self::Http { .. } if self.is_time_out() => Some(Less::ForNow),
            Self::AnswerTooLong(_) | Self::Http { status: 413, .. } => Some(Less::ForGood),
            Self::Node(error) => match error.kind {
                NodeErrorKind::OutOfGas | NodeErrorKind::TooLarge => Some(Less::ForGood),
                NodeErrorKind::LimitExceeded => Some(Less::ForNow),
                _ => None,
            },
            Self::Broken(_) | Self::Malformed(_) | Self::Http { .. } => None,
        }
    }

    /// True if the node could not be asked at all, which says nothing about the question.
    pub(crate) const fn is_outage(&self) -> bool {
        match self {
            Self::Broken(_) | Self::TimedOut(_) => true,
            Self::Http { status, .. } => matches!(*status, 408 | 429) || *status >= 500,
            Self::Node(error) => error.kind.passes_by_itself(),
            Self::AnswerTooLong(_) | Self::Malformed(_) => false,
        }
    }

    /// True if the node, or a gateway before it, took too long.
    pub(crate) const fn is_time_out(&self) -> bool {
        matches!(
            self,
            Self::TimedOut(_)
                | Self::Http {
                    status: 408 | 504 | 524,
                    ..
                }
        )
    }

    /// True if the node refuses to be asked so often; false for "limit exceeded" without a word on which limit.
    pub(crate) const fn is_rate_limit(&self) -> bool {
        match self {
            Self::Http { status: 429, .. } => true,
            Self::Node(error) => matches!(error.kind, NodeErrorKind::RateLimited),
            _ => false,
        }
    }

    /// The pause the node asks for.
    pub(crate) const fn pause(&self) -> Option<Duration> {
        match self {
            Self::Http { retry_after, .. } => *retry_after,
            Self::Node(error) => error.pause,
            _ => None,
        }
    }

    /// True if the node understood and does not want to: a smaller request, or another form of it, may be accepted.
    pub(crate) const fn is_refusal(&self) -> bool {
        match self {
            Self::Node(error) => !matches!(
                error.kind,
                NodeErrorKind::RateLimited | NodeErrorKind::StateUnavailable | NodeErrorKind::NotReady
            ),
            Self::Http { status, .. } => matches!(*status, 400 | 402 | 405 | 411 | 413..=415 | 422),
            _ => false,
        }
    }

    /// True if a refusal of a batch is about batches as such, so that it is worth remembering.
    pub(crate) const fn is_about_batches(&self) -> bool {
        match self {
            Self::Node(error) => {
                matches!(error.kind, NodeErrorKind::BatchTooLarge) || matches!(error.code, -32_600 | -32_601)
            }
            Self::Http { status, .. } => matches!(*status, 400 | 405 | 413 | 415 | 422),
            _ => false,
        }
    }

    pub(super) fn passes_by_itself(&self, patience: Patience) -> bool {
        if self.is_time_out() {
            patience == Patience::Full
        } else {
            self.is_outage()
        }
    }

    /// Takes out what `mask` knows to be secret: nodes repeat keys and addresses in their words.
    pub(super) fn masked(self, mask: &super::endpoint::Secrets) -> Self {
        match self {
            Self::Broken(words) => Self::Broken(mask.hide(words)),
            Self::Malformed(words) => Self::Malformed(mask.hide(words)),
            Self::Http {
                status,
                retry_after,
                words,
            } => Self::Http {
                status,
                retry_after,
                words: mask.hide(words),
            },
            Self::Node(error) => Self::Node(error.masked(mask)),
            other @ (Self::TimedOut(_) | Self::AnswerTooLong(_)) => other,
        }
    }
}

impl NodeError {
    pub(super) fn masked(mut self, mask: &super::endpoint::Secrets) -> Self {
        self.message = mask.hide(self.message);
        self
    }
}

/// For how long less should be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Less {
    /// The node is busy; later it may take as much again.
    ForNow,
    /// It is a limit of the node.
    ForGood,
}

/// What a time-out means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// The node was busy: ask again.
    Full,
    /// The question was too large: the caller will ask for less.
    NoRepeatOnTimeout,
}
