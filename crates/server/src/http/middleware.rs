//! What happens to every request before its handler: trace, time limit, metrics, identity.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use eidos_settings::Role;
use eidos_telemetry::{metric, trace_context};
use tracing::Instrument;

use super::problem::Problem;
use super::state::HttpState;
use crate::Caller;
use crate::api::ApiError;
use crate::auth::Authenticator;

/// Longest a request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Trace, time limit and metrics. Labels are route patterns, never paths: their number is bounded.
pub(super) async fn observe(request: Request, next: Next) -> Response {
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "unmatched".to_owned(), |path| path.as_str().to_owned());
    let method = method_label(request.method());
    let span = tracing::info_span!("http", method, route, status = tracing::field::Empty);
    trace_context::continue_from(&span, request.headers());
    let answering = next.run(request).instrument(span.clone());
    let response = tokio::time::timeout(REQUEST_TIMEOUT, answering)
        .await
        .unwrap_or_else(|_elapsed| {
            let detail = format!("no answer within {REQUEST_TIMEOUT:?}");
            Problem::new(StatusCode::GATEWAY_TIMEOUT, "timeout", "Took too long", detail).into_response()
        });
    span.record("status", response.status().as_u16());
    metric::http_request(&route, method, response.status().as_u16());
    as_problem(response)
}

/// Refusals of the framework itself (a body beyond the limit, an unreadable path) become problems too.
fn as_problem(response: Response) -> Response {
    let status = response.status();
    let is_error = status.is_client_error() || status.is_server_error();
    let content_type = response
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    if !is_error || content_type.is_some_and(|kind| kind.contains("json")) {
        return response;
    }
    let title = status.canonical_reason().unwrap_or("Error");
    let kind = title.to_ascii_lowercase().replace(' ', "-");
    Problem::new(
        status,
        &kind,
        title,
        "the request was refused before it reached a handler",
    )
    .into_response()
}

/// Puts the [`Caller`] into the request or refuses it.
pub(super) async fn authenticate(
    State(state): State<HttpState>,
    mut request: Request,
    next: Next,
) -> Response {
    match caller(&state.auth, &request) {
        Some(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        None => ApiError::Unauthenticated.into_response(),
    }
}

/// The rule for routes of a service: reading needs viewer, everything else operator.
pub(super) async fn role_by_method(
    Extension(caller): Extension<Caller>,
    request: Request,
    next: Next,
) -> Response {
    let needed = if matches!(*request.method(), Method::GET | Method::HEAD) {
        Role::Viewer
    } else {
        Role::Operator
    };
    match caller.needs(needed) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}

/// Who sent `request`, if its token is known.
pub(super) fn caller(auth: &Arc<Authenticator>, request: &Request) -> Option<Caller> {
    auth.caller(
        request
            .headers()
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok()),
    )
}

pub(super) async fn not_found(uri: Uri) -> Response {
    let path: String = uri.path().chars().take(200).collect();
    ApiError::NotFound(format!("there is nothing at {path}")).into_response()
}

pub(super) async fn method_not_allowed(method: Method, uri: Uri) -> Response {
    let path: String = uri.path().chars().take(200).collect();
    let detail = format!("{path} does not answer {method}");
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method-not-allowed",
        "Method not allowed",
        detail,
    )
    .into_response()
}

fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        _ => "OTHER",
    }
}
