//! `GET /v1/breaks`, `GET /v1/breaks/{id}` and what is done to one of them ([`edits`]), why one exists ([`explanations`]),
//! reports ([`reports`]), `GET /v1/pauses`,
//! `POST /v1/pauses/{operation}/{token}` and `…/lift`. The runtime authenticates them: reading needs the role viewer, everything
//! else the role operator (ruling 26: only a person lifts a pause).

mod api;
mod edits;
mod explanations;
mod reports;

use std::sync::Arc;

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Extension, Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use chrono::{DateTime, Utc};
use eidos_recon::life::{Age, State as BreakState};
use eidos_recon::store::listing::{self, BreakRow, Filter};
use eidos_runtime::ServiceDeps;
use eidos_server::{ApiError, Caller};
use eidos_types::BreakId;
use serde::Deserialize;
use serde_json::{Value, json};

use self::api::{Api, MAX_LIMIT, address, break_id, checked_limit, checked_reason, one_of};
use crate::jobs::reconciliation::pause_keys::PauseKeys;
use crate::settings::{Operation, ReconSettings};
use crate::store::pauses;

/// The routes of this service.
pub(crate) fn routes(deps: &ServiceDeps<ReconSettings>) -> Router {
    let suite = &deps.settings.suite;
    let pause_keys = match PauseKeys::new(&deps.settings.service.reconciliation, &suite.redis) {
        Ok(keys) => Some(keys),
        Err(error) => {
            tracing::error!(%error, "lifting a pause will leave its key in Redis; the next run removes it");
            None
        }
    };
    let api = Api {
        db: deps.jobs_db.clone(),
        clock: Arc::clone(&deps.clock),
        pause_keys,
        configured_tokens: deps
            .settings
            .service
            .chain
            .tokens
            .iter()
            .map(|token| token.symbol.clone())
            .collect(),
        explainer: deps.built.get(),
    };
    Router::new()
        .route("/v1/breaks", get(list_breaks))
        .route("/v1/breaks/{id}", get(get_break))
        .route("/v1/breaks/{id}/explanation", get(explanations::explain))
        .route("/v1/breaks/{id}/acknowledge", post(edits::acknowledge))
        .route("/v1/breaks/{id}/assign", post(edits::assign))
        .route("/v1/breaks/{id}/comment", post(edits::comment))
        .route("/v1/breaks/{id}/resolve", post(edits::resolve))
        .route("/v1/breaks/{id}/write-off", post(edits::write_off))
        .route("/v1/reports/runs", get(reports::list_runs))
        .route("/v1/reports/runs/{run}", get(reports::run))
        .route("/v1/reports/period", get(reports::period))
        .route("/v1/reports/records", get(reports::records))
        .route("/v1/pauses", get(list_pauses))
        .route("/v1/pauses/{operation}/{token}", post(set_pause))
        .route("/v1/pauses/{operation}/{token}/lift", post(lift_pause))
        .with_state(api)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BreakQuery {
    status: Option<String>,
    severity: Option<String>,
    dimension: Option<String>,
    token: Option<String>,
    wallet: Option<String>,
    subject: Option<String>,
    assignee: Option<String>,
    age: Option<String>,
    after: Option<String>,
    limit: Option<i64>,
}

async fn list_breaks(
    State(api): State<Api>,
    query: Result<Query<BreakQuery>, QueryRejection>,
) -> Result<Json<Value>, ApiError> {
    let Query(query) = query.map_err(|rejection| ApiError::Malformed(rejection.body_text()))?;
    let (limit, now) = (checked_limit(query.limit)?, api.clock.now());
    let states = asked_states(query.status.as_deref())?;
    let age = query
        .age
        .as_deref()
        .map(|age| checked_age(age, &states))
        .transpose()?;
    let severity = one_of("severity", query.severity, &["info", "warning", "critical"])?;
    let after = match query.after.as_deref().map(break_id).transpose()? {
        Some(after) => Some(api.position_of(after).await?),
        None => None,
    };
    let filter = Filter {
        states,
        severity,
        dimension: query.dimension,
        unit: query.token,
        wallet: query.wallet.map(|wallet| address(&wallet)).transpose()?,
        subject: query.subject,
        assignee: query.assignee,
        age: age.map(|age| (age, now)),
        after,
        limit: limit + 1,
    };
    let mut rows = listing::page(api.db.read(), &filter)
        .await
        .map_err(ApiError::sql("list breaks"))?;
    if rows.is_empty() {
        api.filter_exists(&filter).await?;
    }
    let has_more = rows.len() as u64 > limit.unsigned_abs();
    if has_more {
        rows.pop();
    }
    let next = rows.last().filter(|_| has_more).map(|row| row.break_id);
    let rows = rows
        .iter()
        .map(|row| shown(row, now))
        .collect::<Result<Vec<Value>, ApiError>>()?;
    Ok(Json(json!({ "breaks": rows, "next": next })))
}

async fn get_break(State(api): State<Api>, Path(id): Path<String>) -> Result<Response, ApiError> {
    let id = break_id(&id)?;
    let row = api.break_of(id).await?;
    let mut events = listing::history(api.db.read(), id, MAX_LIMIT + 1)
        .await
        .map_err(ApiError::sql("read the history of a break"))?;
    let has_more = events.len() as u64 > MAX_LIMIT.unsigned_abs();
    if has_more {
        events.pop();
    }
    let mut answer = shown(&row, api.clock.now())?;
    answer["history"] = json!(events);
    answer["older_events"] = has_more.into();
    Ok((edits::etag(row.version), Json(answer)).into_response())
}

/// A break with its age, and the bucket of it while the break counts.
fn shown(row: &BreakRow, now: DateTime<Utc>) -> Result<Value, ApiError> {
    let mut shown = serde_json::to_value(row)
        .map_err(|error| ApiError::Invalid(format!("break {} cannot be shown: {error}", row.break_id)))?;
    let age = row.age_s(now);
    shown["age_seconds"] = age.into();
    let is_unresolved = row.resolved_at.is_none();
    shown["age"] = is_unresolved.then(|| Age::of_s(age).as_str()).into();
    Ok(shown)
}

/// Names of states, separated by commas; `unresolved` and `ended` are several at once.
fn asked_states(names: Option<&str>) -> Result<Vec<BreakState>, ApiError> {
    let mut states = Vec::new();
    for name in names.into_iter().flat_map(|names| names.split(',')) {
        match name {
            "unresolved" => states.extend(BreakState::UNRESOLVED),
            "ended" => states.extend(BreakState::ALL.into_iter().filter(|state| !state.is_unresolved())),
            name => states.push(name.parse().map_err(|_unknown| {
                ApiError::Invalid(format!(
                    "status '{name}' is unknown; use open, acknowledged, resolved, written_off, auto_closed, unresolved (the first \
                     two) or ended (the others), several with commas between them"
                ))
            })?),
        }
    }
    states.sort_unstable();
    states.dedup();
    Ok(states)
}

/// What has ended does not grow older.
fn checked_age(age: &str, states: &[BreakState]) -> Result<Age, ApiError> {
    let Some(age) = Age::named(age) else {
        let names = Age::ALL.map(Age::as_str).join(", ");
        return Err(ApiError::Invalid(format!("age '{age}' is unknown; use {names}")));
    };
    if !states.is_empty() && !states.iter().any(|state| state.is_unresolved()) {
        return Err(ApiError::Invalid(
            "age is that of unresolved breaks, and status asks for others: leave one of the two out"
                .to_owned(),
        ));
    }
    Ok(age)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PauseQuery {
    active: Option<bool>,
    after: Option<i64>,
    limit: Option<i64>,
}

async fn list_pauses(
    State(api): State<Api>,
    query: Result<Query<PauseQuery>, QueryRejection>,
) -> Result<Json<Value>, ApiError> {
    let Query(query) = query.map_err(|rejection| ApiError::Malformed(rejection.body_text()))?;
    let limit = checked_limit(query.limit)?;
    let mut rows = pauses::page(
        api.db.read(),
        query.active.unwrap_or(false),
        query.after,
        limit + 1,
    )
    .await
    .map_err(ApiError::sql("list pauses"))?;
    let has_more = rows.len() as u64 > limit.unsigned_abs();
    if has_more {
        rows.pop();
    }
    let next = rows.last().filter(|_| has_more).map(|row| row.id);
    Ok(Json(json!({ "pauses": rows, "next": next })))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewPause {
    reason: String,
    /// The break that it is for, if there is one.
    break_id: Option<BreakId>,
}

async fn set_pause(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path((operation, token)): Path<(String, String)>,
    pause: Result<Json<NewPause>, JsonRejection>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let Json(pause) = pause.map_err(ApiError::unreadable)?;
    known_operation(&operation)?;
    let reason = checked_reason(&pause.reason)?;
    api.token_exists(&token).await?;
    if let Some(id) = pause.break_id {
        let named = api.break_of(id).await?;
        if named.token != token {
            return Err(ApiError::Invalid(format!("break {id} is not one of {token}")));
        }
    }
    let row = api
        .pause(&operation, &token, pause.break_id, &caller.name, reason)
        .await?
        .ok_or_else(|| {
            ApiError::Conflict(format!(
                "{operation} of {token} is paused already; see GET /v1/pauses?active=true"
            ))
        })?;
    tracing::warn!(
        operation,
        token,
        by = caller.name,
        reason,
        "a pause was set by a person"
    );
    let announced = api.announce(&row).await;
    Ok((
        StatusCode::CREATED,
        Json(json!({ "pause": row, "announced": announced })),
    ))
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
    known_operation(&operation)?;
    let reason = checked_reason(&lift.reason)?;
    let row = api
        .lift(&operation, &token, &caller.name, reason)
        .await?
        .ok_or_else(|| ApiError::NotFound(format!("{operation} of {token} is not paused")))?;
    tracing::warn!(operation, token, by = caller.name, reason, "a pause was lifted");
    let announced = api.announce(&row).await;
    Ok(Json(json!({ "pause": row, "announced": announced })))
}

fn known_operation(operation: &str) -> Result<(), ApiError> {
    if Operation::named(operation).is_some() {
        return Ok(());
    }
    Err(ApiError::NotFound(format!(
        "operation '{operation}' is unknown; use withdrawal, deposit or settlement"
    )))
}
