//! The JSON-RPC client: one HTTP exchange with a time limit, a size limit, bounded retries and a place in the
//! queue; answers matched by id.
//!
//! Only what may pass by itself is tried again: broken connections, time-outs, 429 and 5xx. An answer that makes
//! no sense is not, because a second one would be no more trustworthy.

mod answers;
mod classify;
mod hints;
mod transport;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use alloy_json_rpc::{Id, Request, RpcSend};
use backon::{ExponentialBuilder, Retryable};
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;
use tracing::Instrument;

use crate::ChainError;
use crate::observe;
use crate::settings::{ChainSettings, RpcSettings};
pub(crate) use answers::Answer;
pub(crate) use classify::{NodeError, NodeErrorKind};
use transport::Transport;
pub(crate) use transport::endpoint_of;

/// Why an exchange gave no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RpcError {
    /// The connection failed or broke.
    #[error("{0}")]
    Broken(String),
    /// No complete answer in time.
    #[error("no complete answer within {} ms", .0.as_millis())]
    TimedOut(Duration),
    /// An HTTP status other than success.
    #[error("HTTP status {status}")]
    Http {
        /// The status.
        status: u16,
        /// The pause the node asked for.
        retry_after: Option<Duration>,
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
    /// Whether asking for less may help, and for how long.
    pub(crate) const fn wants_less(&self) -> Option<Less> {
        match self {
            Self::TimedOut(_) | Self::Http { status: 429, .. } => Some(Less::ForNow),
            Self::AnswerTooLong(_) | Self::Http { status: 413, .. } => Some(Less::ForGood),
            Self::Node(error) => match error.kind {
                NodeErrorKind::OutOfGas | NodeErrorKind::TooLarge | NodeErrorKind::BatchTooLarge => {
                    Some(Less::ForGood)
                }
                NodeErrorKind::RateLimited | NodeErrorKind::LimitExceeded => Some(Less::ForNow),
                _ => None,
            },
            Self::Broken(_) | Self::Malformed(_) | Self::Http { .. } => None,
        }
    }

    /// True if the node could not be asked at all, which says nothing about the question.
    pub(crate) const fn is_outage(&self) -> bool {
        match self {
            Self::Broken(_) | Self::TimedOut(_) => true,
            Self::Http { status, .. } => *status == 429 || *status >= 500,
            Self::Node(error) => error.kind.passes_by_itself(),
            Self::AnswerTooLong(_) | Self::Malformed(_) => false,
        }
    }

    fn passes_by_itself(&self, patience: Patience) -> bool {
        match self {
            Self::TimedOut(_) => patience == Patience::Full,
            _ => self.is_outage(),
        }
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

/// One question.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    pub(crate) method: &'static str,
    pub(crate) params: serde_json::Value,
}

/// How much the node was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct RequestCounts {
    /// HTTP requests, repeated ones included.
    pub http_requests: u64,
    /// JSON-RPC calls inside them.
    pub calls: u64,
    /// HTTP requests that were repetitions.
    pub retries: u64,
}

/// The client of one node.
#[derive(Debug)]
pub(crate) struct RpcClient {
    transport: Transport,
    limits: RpcSettings,
    permits: Semaphore,
    next_id: AtomicU64,
    http_requests: AtomicU64,
    calls: AtomicU64,
    retries: AtomicU64,
}

impl RpcClient {
    pub(crate) fn new(settings: &ChainSettings) -> Result<Self, ChainError> {
        Ok(Self {
            transport: Transport::new(settings)?,
            limits: settings.rpc.clone(),
            permits: Semaphore::new(settings.rpc.parallel_requests),
            next_id: AtomicU64::new(1),
            http_requests: AtomicU64::new(0),
            calls: AtomicU64::new(0),
            retries: AtomicU64::new(0),
        })
    }

    /// Scheme, host and port: what may be shown.
    pub(crate) fn endpoint(&self) -> &str {
        self.transport.endpoint()
    }

    pub(crate) fn counts(&self) -> RequestCounts {
        RequestCounts {
            http_requests: self.http_requests.load(Ordering::Relaxed),
            calls: self.calls.load(Ordering::Relaxed),
            retries: self.retries.load(Ordering::Relaxed),
        }
    }

    /// One call.
    pub(crate) async fn call<T: DeserializeOwned>(
        &self,
        method: &'static str,
        params: impl RpcSend,
    ) -> Result<T, RpcError> {
        self.call_with(Patience::Full, method, params).await
    }

    /// One call whose time-outs mean what `patience` says.
    pub(crate) async fn call_with<T: DeserializeOwned>(
        &self,
        patience: Patience,
        method: &'static str,
        params: impl RpcSend,
    ) -> Result<T, RpcError> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let body =
            serde_json::to_vec(&Request::new(method, Id::Number(id), params)).map_err(unserializable)?;
        let answer = self.exchange(method, body.into(), 1, patience).await?;
        let mut answers = answers::match_answers::<T>(&answer, id, 1)?;
        match answers.pop() {
            Some(answer) => Ok(answer?),
            None => Err(RpcError::Malformed("no answer".to_owned())),
        }
    }

    /// Several questions in one HTTP request; answers in the order of the questions.
    pub(crate) async fn batch<T: DeserializeOwned>(
        &self,
        patience: Patience,
        questions: &[Question],
    ) -> Result<Vec<Answer<T>>, RpcError> {
        let Some(first) = questions.first() else {
            return Ok(Vec::new());
        };
        let count = questions.len();
        let first_id = self
            .next_id
            .fetch_add(u64::try_from(count).unwrap_or(u64::MAX), Ordering::Relaxed);
        let requests: Vec<_> = questions
            .iter()
            .zip(first_id..)
            .map(|(question, id)| Request::new(question.method, Id::Number(id), &question.params))
            .collect();
        let body = serde_json::to_vec(&requests).map_err(unserializable)?;
        let answer = self.exchange(first.method, body.into(), count, patience).await?;
        answers::match_answers(&answer, first_id, count)
    }

    async fn exchange(
        &self,
        method: &'static str,
        body: Bytes,
        calls: usize,
        patience: Patience,
    ) -> Result<Bytes, RpcError> {
        let span = tracing::debug_span!(
            "rpc",
            rpc.method = method,
            rpc.calls = calls,
            server = self.endpoint()
        );
        let backoff = ExponentialBuilder::default()
            .with_jitter()
            .with_min_delay(self.limits.retry_base)
            .with_max_delay(self.limits.retry_max)
            .with_max_times(self.limits.max_attempts.saturating_sub(1));
        let attempt = || async {
            // Waiting for a place is not part of the request's time.
            let _permit = self
                .permits
                .acquire()
                .await
                .map_err(|error| RpcError::Broken(error.to_string()))?;
            self.http_requests.fetch_add(1, Ordering::Relaxed);
            self.calls
                .fetch_add(u64::try_from(calls).unwrap_or(u64::MAX), Ordering::Relaxed);
            let timer = observe::RequestTimer::start(method);
            let outcome = self.transport.post(body.clone()).await;
            timer.finish(outcome.as_ref().err());
            outcome
        };
        attempt
            .retry(backoff)
            .when(|error: &RpcError| error.passes_by_itself(patience))
            .adjust(|error, planned| planned.map(|planned| self.pause(error, planned)))
            .notify(|error, pause| {
                self.retries.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(%error, pause_ms = pause.as_millis(), "the node is asked again");
            })
            .instrument(span)
            .await
    }

    /// The node's own wish counts, as long as it is modest.
    fn pause(&self, error: &RpcError, planned: Duration) -> Duration {
        match error {
            RpcError::Http {
                retry_after: Some(wish),
                ..
            } => planned.max(*wish).min(self.limits.retry_max),
            _ => planned,
        }
    }

    /// The error as the crate's callers see it.
    pub(crate) fn error(&self, method: &str, error: RpcError) -> ChainError {
        let (endpoint, method) = (self.endpoint().to_owned(), method.to_owned());
        match error {
            RpcError::Malformed(detail) => ChainError::Malformed {
                endpoint,
                method,
                detail,
            },
            RpcError::Node(NodeError {
                code, message, kind, ..
            }) if !matches!(kind, NodeErrorKind::RateLimited | NodeErrorKind::NotReady) => ChainError::Node {
                endpoint,
                method,
                code,
                message,
            },
            RpcError::Http { status, .. } if status < 500 && status != 429 => ChainError::Refused {
                setting: "rpc_url".to_owned(),
                value: endpoint,
                reason: format!("{method} was answered with HTTP status {status}"),
                fix: "check path, credentials and allowed methods of the endpoint".to_owned(),
            },
            other => ChainError::Transport {
                endpoint,
                method,
                cause: other.to_string(),
            },
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the shape map_err wants")]
fn unserializable(error: serde_json::Error) -> RpcError {
    RpcError::Malformed(format!("the question cannot be written as JSON: {error}"))
}
