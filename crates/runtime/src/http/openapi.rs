//! The `OpenAPI` document, generated from the handlers.

use axum::http::header;
use axum::response::{IntoResponse, Response};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::{Problem, jobs};
use crate::api;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Eidos back office jobs",
        description = "What every service of the suite offers. Roles: viewer reads, operator acts, admin may do \
            everything. Refusals are RFC 9457 problems.",
        license(name = "Apache-2.0")
    ),
    paths(
        jobs::list, jobs::one, jobs::trigger, jobs::executions, jobs::report, jobs::pause, jobs::resume,
        jobs::execution, jobs::cancel
    ),
    components(schemas(
        api::JobView, api::ExecutionView, api::ProgressView, api::PageView, api::ExecutionPage, api::ReportView,
        api::Accepted, api::CancelView, Problem
    )),
    modifiers(&Bearer)
)]
struct Document;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_with(Default::default);
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
    }
}

pub(super) fn json() -> Result<String, serde_json::Error> {
    Document::openapi().to_pretty_json()
}

pub(super) async fn document() -> Response {
    match json() {
        Ok(text) => ([(header::CONTENT_TYPE, "application/json")], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "the OpenAPI document cannot be written");
            axum::http::StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_route_is_described() {
        let document: serde_json::Value = serde_json::from_str(&super::json().unwrap()).unwrap();
        let paths = document["paths"].as_object().unwrap();
        for path in [
            "/v1/jobs",
            "/v1/jobs/{job}",
            "/v1/jobs/{job}/trigger",
            "/v1/jobs/{job}/executions",
            "/v1/jobs/{job}/report",
            "/v1/jobs/{job}/pause",
            "/v1/jobs/{job}/resume",
            "/v1/executions/{execution}",
            "/v1/executions/{execution}/cancel",
        ] {
            assert!(paths.contains_key(path), "{path} is missing");
        }
    }
}
