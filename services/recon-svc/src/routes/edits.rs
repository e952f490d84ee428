//! What persons do to breaks: each edit names the version it saw, in its body or as `If-Match`.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use eidos_recon::store::edits::{self, Act, Editor, Refused};
use eidos_server::{ApiError, Caller};
use eidos_types::BreakId;
use serde::{Deserialize, Deserializer};

use super::api::{Api, break_id, checked_reason};

/// Most characters of a comment.
const MAX_COMMENT_CHARS: usize = 4_000;
/// Most characters of a person's name.
const MAX_NAME_CHARS: usize = 200;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Acknowledgement {
    version: Option<i64>,
    note: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Assignment {
    version: Option<i64>,
    /// Must be said; null: nobody.
    #[serde(deserialize_with = "said")]
    assignee: Option<String>,
    note: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Comment {
    version: Option<i64>,
    text: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ending {
    version: Option<i64>,
    reason: String,
}

/// Null, and yet not left out.
fn said<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Option::deserialize(deserializer)
}

type Body<T> = Result<Json<T>, JsonRejection>;

pub(super) async fn acknowledge(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body<Acknowledgement>,
) -> Result<Response, ApiError> {
    let Json(body) = body.map_err(ApiError::unreadable)?;
    let note = body.note.as_deref().map(checked_reason).transpose()?;
    let edit = seen(&id, &headers, body.version)?;
    api.edit(edit, &caller, Act::Acknowledge { note }).await
}

pub(super) async fn assign(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body<Assignment>,
) -> Result<Response, ApiError> {
    let Json(body) = body.map_err(ApiError::unreadable)?;
    let note = body.note.as_deref().map(checked_reason).transpose()?;
    let to = body.assignee.as_deref().map(checked_name).transpose()?;
    let edit = seen(&id, &headers, body.version)?;
    api.edit(edit, &caller, Act::Assign { to, note }).await
}

pub(super) async fn comment(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body<Comment>,
) -> Result<Response, ApiError> {
    let Json(body) = body.map_err(ApiError::unreadable)?;
    let text = body.text.trim();
    if text.is_empty() || text.chars().count() > MAX_COMMENT_CHARS {
        return Err(ApiError::Invalid(format!(
            "text must have 1 to {MAX_COMMENT_CHARS} characters"
        )));
    }
    let edit = seen(&id, &headers, body.version)?;
    api.edit(edit, &caller, Act::Comment { text }).await
}

pub(super) async fn resolve(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body<Ending>,
) -> Result<Response, ApiError> {
    let Json(body) = body.map_err(ApiError::unreadable)?;
    let reason = checked_reason(&body.reason)?;
    let edit = seen(&id, &headers, body.version)?;
    api.edit(edit, &caller, Act::Resolve { reason }).await
}

pub(super) async fn write_off(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body<Ending>,
) -> Result<Response, ApiError> {
    let Json(body) = body.map_err(ApiError::unreadable)?;
    let reason = checked_reason(&body.reason)?;
    let edit = seen(&id, &headers, body.version)?;
    api.edit(edit, &caller, Act::WriteOff { reason }).await
}

/// The break and the version of it that the caller saw.
#[derive(Debug, Clone, Copy)]
pub(super) struct SeenBreak {
    id: BreakId,
    version: i64,
}

fn seen(id: &str, headers: &HeaderMap, in_body: Option<i64>) -> Result<SeenBreak, ApiError> {
    let id = break_id(id)?;
    let in_header = headers.get(header::IF_MATCH).map(of_etag).transpose()?;
    let version = match (in_body, in_header) {
        (Some(body), Some(header)) if body != header => {
            return Err(ApiError::Invalid(format!(
                "the body has the version {body} and If-Match has {header}: send one, or twice the same"
            )));
        }
        (Some(version), _) | (None, Some(version)) => version,
        (None, None) => {
            return Err(ApiError::Invalid(
                "which version of the break did you see? Send its version in the body, or its ETag as If-Match".to_owned(),
            ));
        }
    };
    if version < 1 {
        return Err(ApiError::Invalid(format!(
            "version {version} is none: versions begin with 1"
        )));
    }
    Ok(SeenBreak { id, version })
}

/// `"7"`, as `ETag` has it.
fn of_etag(value: &HeaderValue) -> Result<i64, ApiError> {
    let text = value.to_str().unwrap_or_default().trim();
    text.trim_matches('"').parse().map_err(|_not_a_number| {
        ApiError::Invalid(format!(
            "If-Match '{text}' is not the version of a break, such as \"7\""
        ))
    })
}

/// A version as an entity tag.
pub(super) fn etag(version: i64) -> [(header::HeaderName, String); 1] {
    [(header::ETAG, format!("\"{version}\""))]
}

fn checked_name(name: &str) -> Result<&str, ApiError> {
    let name = name.trim();
    if name.is_empty() || name.chars().count() > MAX_NAME_CHARS || name.chars().any(char::is_control) {
        return Err(ApiError::Invalid(format!(
            "assignee must have 1 to {MAX_NAME_CHARS} characters, none of them a control character; null: nobody"
        )));
    }
    Ok(name)
}

impl Api {
    /// Does it and answers with the break as it is then.
    async fn edit(&self, seen: SeenBreak, caller: &Caller, act: Act<'_>) -> Result<Response, ApiError> {
        const DOING: &str = "edit a break";
        let at = self.clock.now();
        let editor = Editor {
            id: seen.id,
            version: seen.version,
            by: &caller.name,
            at,
        };
        let mut tx = self.db.control().begin().await.map_err(ApiError::sql(DOING))?;
        let edited = edits::edit(&mut tx, editor, act)
            .await
            .map_err(ApiError::sql(DOING))?;
        let row = edited.map_err(|refused| match refused {
            Refused::NoBreak => ApiError::NotFound(format!("there is no break {}", seen.id)),
            Refused::Stale { now } => ApiError::Stale {
                what: format!("break {}", seen.id),
                seen: seen.version,
                now,
            },
            Refused::NotNow(not_now) => ApiError::Conflict(format!("break {}: {not_now}", seen.id)),
        })?;
        tx.commit().await.map_err(ApiError::sql(DOING))?;
        tracing::info!(break_id = %seen.id, by = caller.name, ?act, "a break was edited");
        Ok((etag(row.version), Json(super::shown(&row, at)?)).into_response())
    }
}
