//! `GET /v1/breaks/{id}/explanation`: why a break exists, read from both sides when it is asked for.

use axum::Json;
use axum::extract::{Path, State};
use eidos_server::ApiError;
use serde_json::Value;

use super::api::{Api, break_id};
use crate::explain::ExplainError;

pub(super) async fn explain(State(api): State<Api>, Path(id): Path<String>) -> Result<Json<Value>, ApiError> {
    let id = break_id(&id)?;
    let explainer = api.explainer.as_ref().ok_or_else(|| {
        ApiError::Conflict("this process reads no chain: it cannot explain breaks".to_owned())
    })?;
    let answer = explainer.explain(id).await.map_err(|error| refused(&error))?;
    Ok(Json(answer.value()))
}

/// What the caller is told; the sides' own words go to the log.
fn refused(error: &ExplainError) -> ApiError {
    match error {
        ExplainError::NoBreak(_) => ApiError::NotFound(error.to_string()),
        ExplainError::Busy | ExplainError::UnknownToken | ExplainError::TooLong(_) => {
            ApiError::Conflict(error.to_string())
        }
        ExplainError::Jobs(_) | ExplainError::Source(_) => {
            tracing::error!(error = %eidos_runtime::chain(error), "a break could not be explained");
            ApiError::Conflict(
                "the chain or the books could not be read for this explanation; the log says why: try again"
                    .to_owned(),
            )
        }
    }
}
