//! RFC 9457 problems.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::ApiError;

/// A refusal, as `application/problem+json`.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Problem {
    /// A stable name of the kind of problem: `urn:eidos:problem:<kind>`.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// The kind in words; the same for every occurrence.
    pub(crate) title: String,
    /// The HTTP status again.
    pub(crate) status: u16,
    /// What was wrong this time, with which value, and what to do.
    pub(crate) detail: String,
    /// The present version of what the caller wanted to change, if another one was seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<i64>,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, kind: &str, title: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:eidos:problem:{kind}"),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            version: None,
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(self)).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, kind, title) = match &self {
            Self::Unauthenticated => (StatusCode::UNAUTHORIZED, "unauthenticated", "No valid token"),
            Self::Forbidden { .. } => (StatusCode::FORBIDDEN, "forbidden", "Role too low"),
            Self::NotFound(_) => (StatusCode::NOT_FOUND, "not-found", "Not found"),
            Self::Busy { .. } => (StatusCode::CONFLICT, "busy", "Job is busy"),
            Self::Conflict(_) => (
                StatusCode::CONFLICT,
                "conflict",
                "Conflicts with the current state",
            ),
            Self::Stale { .. } => (StatusCode::CONFLICT, "stale", "Changed meanwhile"),
            Self::Malformed(_) => (StatusCode::BAD_REQUEST, "malformed", "Request cannot be read"),
            Self::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "too-large", "Body too large"),
            Self::Invalid(_) => (StatusCode::UNPROCESSABLE_ENTITY, "invalid", "Invalid value"),
            Self::Unavailable(_) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "unavailable",
                "Dependency unavailable",
            ),
        };
        let version = match &self {
            Self::Stale { now, .. } => Some(*now),
            _ => None,
        };
        let problem = Problem::new(status, kind, title, self.detail());
        Problem { version, ..problem }.into_response()
    }
}
