//! Metrics and traces of the reader.

use std::time::{Duration, Instant};

use eidos_telemetry::{metric, trace_context};
use reqwest::header::HeaderMap;

use crate::Rung;
use crate::rpc::{Answer, NodeErrorKind, RpcError};

/// The methods that are asked, as the label of the metrics names them. A batch has the name of its first call.
const METHODS: &[&str] = &[
    "eth_blockNumber",
    "eth_call",
    "eth_chainId",
    "eth_getBalance",
    "eth_getBlockByHash",
    "eth_getBlockByNumber",
    "eth_getBlockReceipts",
    "eth_getCode",
    "eth_getLogs",
    "eth_getProof",
    "eth_getStorageValues",
    "eth_getTransactionCount",
    "eth_getTransactionReceipt",
    "eth_syncing",
];

const RATE_LIMITED: &str = "rate_limited";
const OK: &str = "ok";
const TIMEOUT: &str = "timeout";
const HTTP_ERROR: &str = "http_error";
const ERROR: &str = "error";

const FAILED: &str = "failed";
const WRONG_VALUE: &str = "wrong_value";

/// The series of a reader at zero: one that first appears with its first request shows no increase.
pub(crate) fn series_from_zero() {
    for method in METHODS {
        metric::chain_rpc_from_zero(method, &[OK, RATE_LIMITED, TIMEOUT, HTTP_ERROR, ERROR]);
    }
    for rung in Rung::ALL {
        metric::chain_balances_read(rung.name(), 0);
        for reason in [FAILED, WRONG_VALUE] {
            metric::chain_rung_rejected_from_zero(rung.name(), reason);
        }
    }
}

/// Times one HTTP exchange.
pub(crate) struct RequestTimer {
    method: &'static str,
    started: Instant,
}

impl RequestTimer {
    pub(crate) fn start(method: &'static str) -> Self {
        debug_assert!(METHODS.contains(&method), "{method} is missing in METHODS");
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
        Ok(answers) if answers.iter().any(is_limited) => RATE_LIMITED,
        Ok(_) => OK,
        Err(error) if error.is_rate_limit() => RATE_LIMITED,
        Err(error) if error.is_time_out() => TIMEOUT,
        Err(RpcError::Http { .. }) => HTTP_ERROR,
        Err(_) => ERROR,
    }
}

/// A rung read this many values.
pub(crate) fn values_read(rung: Rung, values: usize) {
    metric::chain_balances_read(rung.name(), u64::try_from(values).unwrap_or(u64::MAX));
}

/// A rung failed and is left for another one.
pub(crate) fn rung_failed(rung: Rung) {
    metric::chain_rung_rejected(rung.name(), FAILED);
}

/// A rung gave a wrong value and is left for good.
pub(crate) fn rung_distrusted(rung: Rung) {
    metric::chain_rung_rejected(rung.name(), WRONG_VALUE);
}

/// Hands the current trace to the node (or to the gateway before it).
pub(crate) fn propagate_trace(headers: &mut HeaderMap) {
    trace_context::inject(&tracing::Span::current(), headers);
}
