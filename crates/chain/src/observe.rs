//! Metrics and traces of the reader.

use std::time::{Duration, Instant};

use eidos_telemetry::{metric, trace_context};
use reqwest::header::HeaderMap;

use crate::Rung;
use crate::rpc::{Answer, NodeErrorKind, RpcError};

/// Times one HTTP exchange.
pub(crate) struct RequestTimer {
    method: &'static str,
    started: Instant,
}

impl RequestTimer {
    pub(crate) fn start(method: &'static str) -> Self {
        Self {
            method,
            started: Instant::now(),
        }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    pub(crate) fn finish(self, took: Duration, outcome: &'static str) {
        metric::chain_rpc_request(self.method, outcome);
        metric::chain_rpc_duration(self.method, took);
    }
}

/// The outcome of an exchange: a batch of which one call is refused by rate is `rate_limited`.
pub(crate) fn outcome<T>(outcome: &Result<Vec<Answer<T>>, RpcError>) -> &'static str {
    let is_limited =
        |answer: &Answer<T>| matches!(answer, Err(error) if error.kind == NodeErrorKind::RateLimited);
    match outcome {
        Ok(answers) if answers.iter().any(is_limited) => "rate_limited",
        Ok(_) => "ok",
        Err(error) if error.is_rate_limit() => "rate_limited",
        Err(error) if error.is_time_out() => "timeout",
        Err(RpcError::Http { .. }) => "http_error",
        Err(_) => "error",
    }
}

/// A rung read this many values.
pub(crate) fn values_read(rung: Rung, values: usize) {
    metric::chain_balances_read(rung.name(), u64::try_from(values).unwrap_or(u64::MAX));
}

/// A rung is left for another one.
pub(crate) fn rung_left(rung: Rung, reason: &'static str) {
    metric::chain_rung_rejected(rung.name(), reason);
}

/// Hands the current trace to the node (or to the gateway before it).
pub(crate) fn propagate_trace(headers: &mut HeaderMap) {
    trace_context::inject(&tracing::Span::current(), headers);
}
