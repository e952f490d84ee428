//! `GET /v1/breaks`, `GET /v1/pauses`, `POST /v1/pauses/{operation}/{token}/lift`. The runtime authenticates them:
//! reading needs the role viewer, lifting the role operator (ruling 26: only a person lifts a pause).

use std::sync::Arc;

use axum::extract::{Extension, Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use eidos_bus::Publisher;
use eidos_core::db::JobsDb;
use eidos_runtime::{Caller, ServiceDeps};
use eidos_types::SharedClock;
use serde::Deserialize;
use serde_json::json;

use crate::jobs::reconciliation::announce::{Announcement, Channels};
use crate::settings::{Operation, ReconSettings};
use crate::store::breaks::{self, BreakFilter};
use crate::store::pauses;

/// Most rows of one answer.
const MAX_LIMIT: i64 = 1_000;

#[derive(Clone)]
struct Api {
    db: JobsDb,
    clock: SharedClock,
    channels: Option<Channels>,
}

/// The routes of this service.
pub(crate) fn routes(deps: &ServiceDeps<ReconSettings>) -> Router {
    let suite = &deps.settings.suite;
    let channels = Publisher::connect(&suite.kafka)
        .map_err(anyhow::Error::from)
        .and_then(|bus| Channels::new(&deps.settings.service.reconciliation, &suite.redis, bus));
    let channels = match channels {
        Ok(channels) => Some(channels),
        Err(error) => {
            tracing::error!(%error, "lifting a pause will not be announced; the next run removes its key");
            None
        }
    };
    let api = Api {
        db: deps.jobs_db.clone(),
        clock: Arc::clone(&deps.clock),
        channels,
    };
    Router::new()
        .route("/v1/breaks", get(list_breaks))
        .route("/v1/pauses", get(list_pauses))
        .route("/v1/pauses/{operation}/{token}/lift", post(lift_pause))
        .with_state(api)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BreakQuery {
    status: Option<String>,
    token: Option<String>,
    wallet: Option<String>,
    limit: Option<i64>,
}

async fn list_breaks(State(api): State<Api>, Query(query): Query<BreakQuery>) -> Response {
    if let Some(status) = query.status.as_deref()
        && !["open", "resolved", "ignored"].contains(&status)
    {
        let detail = format!("status '{status}' is unknown; use open, resolved or ignored");
        return problem(StatusCode::UNPROCESSABLE_ENTITY, &detail);
    }
    let limit = query.limit.unwrap_or(100);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return problem(
            StatusCode::UNPROCESSABLE_ENTITY,
            &format!("limit {limit} is not 1 to {MAX_LIMIT}"),
        );
    }
    let filter = BreakFilter {
        status: query.status,
        token: query.token,
        wallet: query.wallet.map(|wallet| wallet.to_ascii_lowercase()),
        limit,
    };
    match breaks::list(api.db.read(), &filter).await {
        Ok(rows) => Json(json!({ "breaks": rows })).into_response(),
        Err(error) => unavailable(&error),
    }
}

async fn list_pauses(State(api): State<Api>) -> Response {
    match pauses::list(api.db.read(), MAX_LIMIT).await {
        Ok(rows) => Json(json!({ "pauses": rows })).into_response(),
        Err(error) => unavailable(&error),
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Lift {
    reason: String,
}

async fn lift_pause(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path((operation, token)): Path<(String, String)>,
    Json(lift): Json<Lift>,
) -> Response {
    if Operation::named(&operation).is_none() {
        let detail = format!("operation '{operation}' is unknown; use withdrawal, deposit or settlement");
        return problem(StatusCode::NOT_FOUND, &detail);
    }
    let reason = lift.reason.trim();
    if reason.is_empty() || reason.len() > 500 {
        return problem(
            StatusCode::UNPROCESSABLE_ENTITY,
            "reason must have 1 to 500 characters",
        );
    }
    let now = api.clock.now();
    let lifted = pauses::lift(api.db.control(), &operation, &token, &caller.name, reason, now).await;
    let row = match lifted {
        Ok(Some(row)) => row,
        Ok(None) => {
            let detail = format!("{operation} of {token} is not paused");
            return problem(StatusCode::NOT_FOUND, &detail);
        }
        Err(error) => return unavailable(&error),
    };
    tracing::warn!(operation, token, by = caller.name, reason, "a pause was lifted");
    let mut announced = false;
    if let Some(channels) = &api.channels {
        let announcement = Announcement::pause(&row, true, &*api.clock);
        let key = channels
            .settle_keys(api.db.control(), std::slice::from_ref(&row))
            .await;
        let told = channels.tell(&announcement).await;
        announced = key.is_ok() && told.is_ok();
        for error in key.err().into_iter().chain(told.err()) {
            tracing::error!(%error, "the lift is stored but was not announced everywhere");
        }
    }
    Json(json!({ "pause": row, "announced": announced })).into_response()
}

fn unavailable(error: &sqlx::Error) -> Response {
    tracing::error!(%error, "the jobs database did not answer");
    problem(
        StatusCode::SERVICE_UNAVAILABLE,
        "the jobs database did not answer; try again",
    )
}

/// RFC 9457.
fn problem(status: StatusCode, detail: &str) -> Response {
    let body = json!({
        "type": "about:blank", "title": status.canonical_reason().unwrap_or_default(),
        "status": status.as_u16(), "detail": detail,
    });
    (
        status,
        [(header::CONTENT_TYPE, "application/problem+json")],
        body.to_string(),
    )
        .into_response()
}
