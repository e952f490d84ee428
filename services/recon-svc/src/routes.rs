//! `GET /v1/breaks`, `GET /v1/pauses`, `POST /v1/pauses/{operation}/{token}/lift`. The runtime authenticates them:
//! reading needs the role viewer, lifting the role operator (ruling 26: only a person lifts a pause).

use std::sync::Arc;

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Extension, Path, Query, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use eidos_bus::Publisher;
use eidos_core::db::JobsDb;
use eidos_runtime::{ApiError, Caller, ServiceDeps};
use eidos_types::SharedClock;
use serde::Deserialize;
use serde_json::{Value, json};

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

async fn list_breaks(
    State(api): State<Api>,
    query: Result<Query<BreakQuery>, QueryRejection>,
) -> Result<Json<Value>, ApiError> {
    let Query(query) = query.map_err(|rejection| ApiError::Malformed(rejection.body_text()))?;
    if let Some(status) = query.status.as_deref()
        && !["open", "resolved", "ignored"].contains(&status)
    {
        return Err(ApiError::Invalid(format!(
            "status '{status}' is unknown; use open, resolved or ignored"
        )));
    }
    let limit = query.limit.unwrap_or(100);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(ApiError::Invalid(format!(
            "limit {limit} is not 1 to {MAX_LIMIT}"
        )));
    }
    let filter = BreakFilter {
        status: query.status,
        token: query.token,
        wallet: query.wallet.map(|wallet| wallet.to_ascii_lowercase()),
        limit,
    };
    let rows = breaks::list(api.db.read(), &filter)
        .await
        .map_err(ApiError::sql("list breaks"))?;
    Ok(Json(json!({ "breaks": rows })))
}

async fn list_pauses(State(api): State<Api>) -> Result<Json<Value>, ApiError> {
    let rows = pauses::list(api.db.read(), MAX_LIMIT)
        .await
        .map_err(ApiError::sql("list pauses"))?;
    Ok(Json(json!({ "pauses": rows })))
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
    lift: Result<Json<Lift>, JsonRejection>,
) -> Result<Json<Value>, ApiError> {
    let Json(lift) = lift.map_err(|rejection| ApiError::Malformed(rejection.body_text()))?;
    if Operation::named(&operation).is_none() {
        return Err(ApiError::NotFound(format!(
            "operation '{operation}' is unknown; use withdrawal, deposit or settlement"
        )));
    }
    let reason = lift.reason.trim();
    if reason.is_empty() || reason.len() > 500 {
        return Err(ApiError::Invalid(
            "reason must have 1 to 500 characters".to_owned(),
        ));
    }
    let now = api.clock.now();
    let row = pauses::lift(api.db.control(), &operation, &token, &caller.name, reason, now)
        .await
        .map_err(ApiError::sql("lift a pause"))?
        .ok_or_else(|| ApiError::NotFound(format!("{operation} of {token} is not paused")))?;
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
    Ok(Json(json!({ "pause": row, "announced": announced })))
}
