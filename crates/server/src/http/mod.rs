//! The HTTP interface: probes, metrics and `/v1`. Every refusal is an RFC 9457 problem.

mod jobs;
mod middleware;
mod openapi;
mod probes;
mod problem;
mod server;
mod state;

use std::sync::Arc;

use axum::routing::{get, post};
use axum::{Extension, Router};

pub(crate) use problem::Problem;
pub(crate) use server::{Limits, serve};
pub(crate) use state::HttpState;
use state::MAX_BODY_BYTES;

/// What a service adds to the interface.
#[derive(Debug, Default)]
pub(crate) struct ServiceRoutes {
    /// Its routes, below `/v1`; they are authenticated like ours.
    pub(crate) router: Option<Router>,
    /// Their description, an `OpenAPI` document.
    pub(crate) document: Option<&'static str>,
}

/// All routes.
pub(crate) fn router(state: HttpState, service: ServiceRoutes, with_docs: bool) -> Router {
    let mut v1 = Router::new()
        .route("/v1/jobs", get(jobs::list))
        .route("/v1/jobs/{job}", get(jobs::one))
        .route("/v1/jobs/{job}/trigger", post(jobs::trigger))
        .route("/v1/jobs/{job}/executions", get(jobs::executions))
        .route("/v1/jobs/{job}/report", get(jobs::report))
        .route("/v1/jobs/{job}/pause", post(jobs::pause))
        .route("/v1/jobs/{job}/resume", post(jobs::resume))
        .route("/v1/executions/{execution}", get(jobs::execution))
        .route("/v1/executions/{execution}/cancel", post(jobs::cancel));
    if let Some(routes) = service.router {
        let routes = routes.route_layer(axum::middleware::from_fn(middleware::role_by_method));
        v1 = v1.merge(routes.with_state(()));
    }
    if with_docs {
        v1 = v1.route("/v1/openapi.json", get(openapi::document));
    }
    v1.route_layer(axum::middleware::from_fn_with_state(
        state.clone(),
        middleware::authenticate,
    ))
    .route("/live", get(probes::live))
    .route("/ready", get(probes::ready))
    .route("/health", get(probes::health))
    .route("/metrics", get(probes::metrics))
    .method_not_allowed_fallback(middleware::method_not_allowed)
    .fallback(middleware::not_found)
    .layer(axum::extract::DefaultBodyLimit::max(MAX_BODY_BYTES))
    .layer(axum::middleware::from_fn(middleware::observe))
    .layer(Extension(Arc::clone(&state.auth)))
    .layer(Extension(openapi::ServiceDocument(service.document)))
    .with_state(state)
}

/// The `OpenAPI` document as JSON text: what `/v1/openapi.json` answers, with what a service adds.
///
/// # Errors
/// If the service's part is not JSON.
pub fn openapi_json(service: Option<&'static str>) -> Result<String, serde_json::Error> {
    openapi::json(openapi::ServiceDocument(service))
}
