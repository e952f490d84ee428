//! `/live`, `/ready`, `/health`, `/metrics`.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::middleware;
use super::problem::Problem;
use super::state::HttpState;
use crate::api::ApiError;

/// Fails only when a restart would help.
#[utoipa::path(get, path = "/live", tag = "probes",
    responses((status = 200, description = "The process works.", body = Object),
        (status = 503, body = Problem, description = "The process must be restarted.")))]
pub(super) async fn live(State(state): State<HttpState>) -> Response {
    match state.health.unlive_because() {
        None => Json(json!({ "live": true })).into_response(),
        Some(why) => unavailable("not-live", "Process must be restarted", why),
    }
}

/// Fails while the service should not be sent work.
#[utoipa::path(get, path = "/ready", tag = "probes",
    responses((status = 200, description = "The service may be sent work.", body = Object),
        (status = 503, body = Problem, description = "It starts, stops, or what it needs does not answer.")))]
pub(super) async fn ready(State(state): State<HttpState>) -> Response {
    let report = state.health.report().await;
    if report.ready {
        return Json(json!({ "ready": true })).into_response();
    }
    // Names only: what exactly is wrong is for callers of /health who may know.
    let failing: Vec<&str> = report
        .checks
        .iter()
        .chain(&report.loops)
        .filter(|result| !result.healthy)
        .map(|result| result.name.as_str())
        .collect();
    let why = match (report.serving, failing.is_empty()) {
        (false, _) => "starting or shutting down".to_owned(),
        (true, true) => "not live".to_owned(),
        (true, false) => format!("failing: {}", failing.join(", ")),
    };
    unavailable("not-ready", "Not ready", why)
}

/// Every dependency and loop, for callers with a token; the verdict alone for others.
#[utoipa::path(get, path = "/health", tag = "probes", security((), ("bearer" = [])),
    responses((status = 200, description = "The service may be sent work.", body = Object),
        (status = 503, body = Object, description = "It may not; the same answer says why.")))]
pub(super) async fn health(State(state): State<HttpState>, request: Request) -> Response {
    let report = state.health.report().await;
    let status = if report.ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    if middleware::caller(&state.auth, &request).is_some() {
        (status, Json(report)).into_response()
    } else {
        (
            status,
            Json(json!({ "live": report.live, "ready": report.ready })),
        )
            .into_response()
    }
}

/// Prometheus' text format; has a token of its own. Asks the dependencies first, so that `dependency_up` is as new as the
/// scrape.
#[utoipa::path(get, path = "/metrics", tag = "probes", security((), ("bearer" = [])),
    responses((status = 200, description = "Every metric.", content_type = "text/plain", body = String),
        (status = 401, body = Problem, description = "auth.metrics_token is set and was not sent.")))]
pub(super) async fn metrics(State(state): State<HttpState>, request: Request) -> Response {
    let authorization = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    if !state.auth.may_read_metrics(authorization) {
        return ApiError::Unauthenticated.into_response();
    }
    state.health.report().await;
    let text = state
        .metrics
        .as_ref()
        .map(eidos_telemetry::MetricsHandle::render)
        .unwrap_or_default();
    (
        [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        text,
    )
        .into_response()
}

fn unavailable(kind: &str, title: &str, why: String) -> Response {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, kind, title, why).into_response()
}
