//! The `OpenAPI` document: generated from the handlers of the runtime, with the routes that a service describes, and with
//! the statuses that any request may get.

use axum::Extension;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::problem::Problem;
use super::{jobs, probes};
use crate::api;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Eidos back office jobs",
        description = "What every service of the suite offers, and what this one adds. Roles: viewer reads, operator \
            acts, admin may do everything. Refusals are RFC 9457 problems.",
        license(name = "Apache-2.0")
    ),
    paths(
        jobs::list, jobs::one, jobs::trigger, jobs::executions, jobs::report, jobs::pause, jobs::resume,
        jobs::execution, jobs::cancel, probes::live, probes::ready, probes::health, probes::metrics, document
    ),
    components(schemas(
        api::JobView, api::RetryView, api::ExecutionView, api::ProgressView, api::PageView, api::ExecutionPage,
        api::ReportView, api::Accepted, api::CancelView, Problem
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

/// What a service adds, as the text of an `OpenAPI` document with `paths` and `components.schemas`.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ServiceDocument(pub(super) Option<&'static str>);

pub(super) fn json(service: ServiceDocument) -> Result<String, serde_json::Error> {
    let mut document = serde_json::to_value(Document::openapi())?;
    if let Some(text) = service.0 {
        let added: Value = serde_json::from_str(text)?;
        for part in ["/paths", "/components/schemas"] {
            if let (Some(Value::Object(into)), Some(Value::Object(from))) =
                (document.pointer_mut(part), added.pointer(part))
            {
                into.extend(from.clone());
            }
        }
    }
    let paths = document.pointer_mut("/paths").and_then(Value::as_object_mut);
    for (path, operations) in paths.into_iter().flatten() {
        for (method, operation) in operations.as_object_mut().into_iter().flatten() {
            add_common_statuses(path, method, operation);
        }
    }
    serde_json::to_string_pretty(&document)
}

/// Statuses that come from what is around a handler: identity, role, size, time, the database.
fn add_common_statuses(path: &str, method: &str, operation: &mut Value) {
    let takes_values = operation["parameters"]
        .as_array()
        .is_some_and(|parameters| parameters.iter().any(|parameter| parameter["in"] == "query"));
    let Some(responses) = operation
        .as_object_mut()
        .map(|operation| operation.entry("responses").or_insert_with(|| json!({})))
        .and_then(Value::as_object_mut)
    else {
        return;
    };
    let mut add = |status: StatusCode, description: &str| add_problem(responses, status, description);
    add(
        StatusCode::SERVICE_UNAVAILABLE,
        "Something this service needs did not answer, or every connection is taken; try again.",
    );
    add(StatusCode::GATEWAY_TIMEOUT, "No answer within the time limit.");
    if !path.starts_with("/v1/") {
        return;
    }
    add(
        StatusCode::BAD_REQUEST,
        "The request cannot be read: a parameter, the body, or the character NUL in a text.",
    );
    add(StatusCode::UNAUTHORIZED, "No valid token.");
    if method != "get" || takes_values {
        add(
            StatusCode::UNPROCESSABLE_ENTITY,
            "The request can be read and a value in it is wrong.",
        );
    }
    if path.contains('{') {
        add(StatusCode::NOT_FOUND, "There is no such thing.");
    }
    if method != "get" {
        add(StatusCode::FORBIDDEN, "The role of the token is too low.");
        add(StatusCode::PAYLOAD_TOO_LARGE, "The body is too large.");
        add(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "The body is not declared as JSON.",
        );
    }
}

fn add_problem(responses: &mut Map<String, Value>, status: StatusCode, description: &str) {
    responses.entry(status.as_str()).or_insert_with(|| {
        json!({
            "description": description,
            "content": { "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } },
        })
    });
}

/// This document. Only where API pages are exposed (`service.expose_api_docs`).
#[utoipa::path(get, path = "/v1/openapi.json", tag = "documentation", security(("bearer" = [])),
    responses((status = 200, description = "An OpenAPI document.", content_type = "application/json", body = Object)))]
pub(super) async fn document(Extension(service): Extension<ServiceDocument>) -> Response {
    match json(service) {
        Ok(text) => ([(header::CONTENT_TYPE, "application/json")], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "the OpenAPI document cannot be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    /// `METHOD path` of every `.route("…", get(…).post(…))` in a source text.
    fn routes(source: &str) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for call in source.split(".route(").skip(1) {
            let path = call.split('"').nth(1).unwrap();
            let rest = call.split_once(',').unwrap().1;
            let handlers = rest
                .split(".route(")
                .next()
                .unwrap()
                .split(['\n', ';'])
                .next()
                .unwrap();
            for method in ["get", "post", "put", "patch", "delete"] {
                if handlers.contains(&format!("{method}(")) {
                    found.insert(format!("{} {path}", method.to_uppercase()));
                }
            }
        }
        found
    }

    /// `METHOD path` of every operation of a document.
    fn documented(document: &Value) -> BTreeSet<String> {
        let paths = document["paths"].as_object().unwrap();
        paths
            .iter()
            .flat_map(|(path, operations)| {
                let methods = operations.as_object().unwrap().keys();
                methods.map(move |method| format!("{} {path}", method.to_uppercase()))
            })
            .collect()
    }

    /// The fields of every `struct …Query` of a source text: what may stand behind the `?` of a URL.
    fn query_fields(source: &str) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for body in source.split("Query {\n").skip(1) {
            let lines = body.lines().take_while(|line| !line.starts_with('}'));
            for line in lines.map(|line| line.trim().trim_start_matches("pub(crate) ")) {
                if let Some((name, _type)) = line.split_once(": ")
                    && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
                {
                    found.insert(name.to_owned());
                }
            }
        }
        found
    }

    /// The names of every query parameter of a document.
    fn query_parameters(document: &Value) -> BTreeSet<String> {
        let operations = document["paths"].as_object().unwrap().values();
        operations
            .flat_map(|operations| operations.as_object().unwrap().values())
            .flat_map(|operation| operation["parameters"].as_array().unwrap())
            .filter(|parameter| parameter["in"] == "query")
            .map(|parameter| parameter["name"].as_str().unwrap().to_owned())
            .collect()
    }

    fn document(service: Option<&'static str>) -> Value {
        serde_json::from_str(&json(ServiceDocument(service)).unwrap()).unwrap()
    }

    #[test]
    fn every_route_of_the_runtime_is_described_and_nothing_else() {
        assert_eq!(documented(&document(None)), routes(include_str!("mod.rs")));
    }

    #[test]
    fn every_route_and_parameter_of_every_service_is_described_and_nothing_else() {
        let services = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../services");
        let mut seen = 0;
        for service in std::fs::read_dir(services).unwrap() {
            let folder = service.unwrap().path();
            let Ok(source) = std::fs::read_to_string(folder.join("src/routes.rs")) else {
                continue;
            };
            let text = std::fs::read_to_string(folder.join("openapi.json")).unwrap();
            let document: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(documented(&document), routes(&source), "{}", folder.display());
            let below = ["src/store", "src/routes"].map(|below| std::fs::read_dir(folder.join(below)));
            let files = below.into_iter().flatten().flatten();
            let texts = files.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap());
            let fields: BTreeSet<String> = texts
                .chain([source])
                .flat_map(|text| query_fields(&text))
                .collect();
            assert_eq!(query_parameters(&document), fields, "{}", folder.display());
            seen += 1;
        }
        assert!(seen >= 2, "{seen} services with routes");
    }

    #[test]
    fn every_operation_says_how_it_can_be_refused() {
        let added = r#"{"paths": {"/v1/things/{thing}": {"post": {"responses": {"201": {"description": "Made."}}}}}}"#;
        let document = document(Some(added));
        let statuses = |path: &str, method: &str| -> Vec<String> {
            let responses = document["paths"][path][method]["responses"].as_object().unwrap();
            responses.keys().cloned().collect()
        };
        assert_eq!(
            statuses("/v1/things/{thing}", "post"),
            [
                "201", "400", "401", "403", "404", "413", "415", "422", "503", "504"
            ]
        );
        assert_eq!(statuses("/v1/jobs", "get"), ["200", "400", "401", "503", "504"]);
        assert_eq!(statuses("/live", "get"), ["200", "503", "504"]);
        // Every schema that is named exists.
        let text = document.to_string();
        for named in text.split("#/components/schemas/").skip(1) {
            let name = named.split('"').next().unwrap();
            assert!(document["components"]["schemas"].get(name).is_some(), "{name}");
        }
    }
}
