//! Metrics and traces of the reader.

use std::time::Instant;

use eidos_telemetry::{metric, trace_context};
use reqwest::header::HeaderMap;

use crate::Rung;
use crate::rpc::RpcError;

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

    pub(crate) fn finish(self, error: Option<&RpcError>) {
        let outcome = match error {
            None => "ok",
            Some(RpcError::TimedOut(_)) => "timeout",
            Some(RpcError::Http { status: 429, .. }) => "rate_limited",
            Some(RpcError::Http { .. }) => "http_error",
            Some(_) => "error",
        };
        metric::chain_rpc_request(self.method, outcome);
        metric::chain_rpc_duration(self.method, self.started.elapsed());
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
