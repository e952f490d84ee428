//! The JSON-RPC client: one HTTP exchange with a time limit, a size limit, a place in the queue and a patience;
//! answers matched by id.
//!
//! | subject | file |
//! |---|---|
//! | one HTTP exchange | `transport.rs`, `endpoint.rs` |
//! | what a reply says, whatever its status | `reply.rs`, `answers.rs` |
//! | what an error means | `classify.rs`, `hints.rs`, `error.rs` |
//! | how fast the node is asked, and what is asked again | `pace.rs` |
//! | batches the node takes | `batches.rs`, `limits.rs` |
//!
//! Only what may pass by itself is tried again: rate limits, broken connections, time-outs and 5xx. An answer that
//! makes no sense is not, because a second one would be no more trustworthy.

mod answers;
mod batches;
mod classify;
mod endpoint;
mod error;
pub(crate) mod hints;
mod limits;
mod pace;
mod reply;
mod transport;

use std::sync::atomic::{AtomicU64, Ordering};

use alloy_json_rpc::{Id, Request, RpcSend};
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tracing::Instrument;

use crate::ChainError;
use crate::observe;
use crate::settings::{ChainSettings, RpcSettings};
pub(crate) use answers::Answer;
pub(crate) use classify::{NodeError, NodeErrorKind};
pub(crate) use endpoint::endpoint_of;
pub(crate) use error::{Less, Patience, RpcError};
pub use limits::LearnedLimits;
pub(crate) use limits::Limit;
use pace::{Pace, Retry};
use transport::Transport;

/// One question.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    pub(crate) method: &'static str,
    pub(crate) params: serde_json::Value,
}

impl Question {
    pub(crate) const fn new(method: &'static str, params: serde_json::Value) -> Self {
        Self { method, params }
    }
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
    pace: Pace,
    batch_calls: Limit,
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
            pace: Pace::new(settings.rpc.parallel_requests),
            batch_calls: Limit::new(u64::try_from(settings.rpc.batch_calls).unwrap_or(u64::MAX)),
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
        let id = self.ids(1);
        let body: Bytes = serde_json::to_vec(&Request::new(method, Id::Number(id), params))
            .map_err(unserializable)?
            .into();
        let mut retry = self.retry(patience);
        loop {
            let error = match self.once(method, body.clone(), id, 1, &mut retry).await {
                Ok(mut answers) => match answers.pop() {
                    Some(Ok(value)) => return Ok(value),
                    Some(Err(error)) => RpcError::Node(error),
                    None => RpcError::Malformed("no answer".to_owned()),
                },
                Err(error) => error,
            };
            if !retry.again(&error).await {
                return Err(error);
            }
            self.count_retry();
        }
    }

    /// Calls that one batch may have; 1: the node takes no batches.
    pub(crate) fn batch_calls(&self) -> usize {
        usize::try_from(self.batch_calls.get()).unwrap_or(usize::MAX)
    }

    /// After a refusal, a batch of this size was accepted. Remembered while the process lives.
    pub(crate) fn batch_was_accepted(&self, calls: usize) {
        let before = self.batch_calls.get();
        self.batch_calls.lower(u64::try_from(calls).unwrap_or(u64::MAX));
        if self.batch_calls.get() < before {
            tracing::info!(calls, "the node takes batches of this many calls at most");
        }
    }

    pub(crate) const fn batch_limit(&self) -> &Limit {
        &self.batch_calls
    }

    /// Requests that are made at once now.
    pub(crate) fn parallel_requests(&self) -> usize {
        self.pace.allowed()
    }

    fn ids(&self, count: usize) -> u64 {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        self.next_id.fetch_add(count, Ordering::Relaxed)
    }

    fn retry(&self, patience: Patience) -> Retry<'_> {
        Retry::new(&self.pace, &self.limits, patience)
    }

    fn count_retry(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    /// One HTTP exchange for `calls` questions from `first_id` on.
    async fn once<T: DeserializeOwned>(
        &self,
        method: &'static str,
        body: Bytes,
        first_id: u64,
        calls: usize,
        retry: &mut Retry<'_>,
    ) -> Result<Vec<Answer<T>>, RpcError> {
        let span = tracing::debug_span!(
            "rpc",
            rpc.method = method,
            rpc.calls = calls,
            server = self.endpoint()
        );
        // Waiting for a place is not part of the request's time.
        let place = self.pace.place(retry.until).await?;
        retry.begin();
        self.http_requests.fetch_add(1, Ordering::Relaxed);
        self.calls
            .fetch_add(u64::try_from(calls).unwrap_or(u64::MAX), Ordering::Relaxed);
        let timer = observe::RequestTimer::start(method);
        let reply = self.transport.post(body).instrument(span).await;
        let took = timer.elapsed();
        drop(place);
        let outcome = reply.and_then(|reply| reply::read(&reply, first_id, calls));
        timer.finish(took, observe::outcome(&outcome));
        let secrets = self.transport.secrets();
        match outcome {
            Ok(answers) => Ok(answers
                .into_iter()
                .map(|answer| answer.map_err(|error| error.masked(secrets)))
                .collect()),
            Err(error) => Err(error.masked(secrets)),
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
            }) if !kind.passes_by_itself() => ChainError::Node {
                endpoint,
                method,
                code,
                message,
            },
            RpcError::Http {
                status,
                ref words,
                retry_after: _,
            } if status < 500 && !matches!(status, 408 | 429) => {
                let colon = if words.is_empty() { "" } else { ": " };
                ChainError::refused(
                    "rpc_url",
                    endpoint,
                    format!("{method} was answered with HTTP status {status}{colon}{words}"),
                    "check path, credentials, plan and allowed methods of the endpoint",
                )
            }
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
