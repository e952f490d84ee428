//! `/v1/holds`, `/v1/disposals`, `/v1/units`. The runtime authenticates them: reading needs the role viewer, placing and
//! lifting a hold the role operator.

use std::sync::Arc;

use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{Extension, Path, Query, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use eidos_core::db::JobsDb;
use eidos_core::ident::SqlIdent;
use eidos_disposal::catalogue::Relation;
use eidos_disposal::unit::UnitState;
use eidos_plan::PlanError;
use eidos_plan::hold::{self, NewHold};
use eidos_runtime::ServiceDeps;
use eidos_server::{ApiError, Caller};
use eidos_settings::SourceName;
use eidos_types::{Instant, SharedClock};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::{NoContext, Timestamp, Uuid};

use crate::hold_target::HoldTarget;
use crate::settings::RetentionSettings;
use crate::store::history::{self, DisposalQuery, UnitQuery};

/// Most rows of one answer.
const MAX_LIMIT: i64 = 1_000;
/// Rows of an answer that asks for no number.
const DEFAULT_LIMIT: i64 = 100;
/// Longest reason, in characters.
const MAX_REASON_CHARS: usize = 500;

type Answer = Result<Json<Value>, ApiError>;

#[derive(Clone)]
struct Api {
    db: JobsDb,
    clock: SharedClock,
    target: HoldTarget,
}

/// The routes of this service.
pub(crate) fn routes(deps: &ServiceDeps<RetentionSettings>) -> Router {
    let api = Api {
        db: deps.jobs_db.clone(),
        clock: Arc::clone(&deps.clock),
        target: HoldTarget::new(deps),
    };
    Router::new()
        .route("/v1/holds", get(list_holds).post(place_hold))
        .route("/v1/holds/{hold}/lift", post(lift_hold))
        .route("/v1/disposals", get(list_disposals))
        .route("/v1/units", get(list_units))
        .with_state(api)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct HoldQuery {
    /// Also those that were lifted.
    #[serde(default)]
    all: bool,
    limit: Option<i64>,
    #[serde(default)]
    offset: u32,
}

async fn list_holds(State(api): State<Api>, query: Result<Query<HoldQuery>, QueryRejection>) -> Answer {
    let Query(query) = query.map_err(|rejection| ApiError::Malformed(rejection.body_text()))?;
    let limit = limited(query.limit)?;
    // From the primary: whoever placed a hold sees it.
    let holds = hold::list(api.db.control(), query.all, limit, i64::from(query.offset))
        .await
        .map_err(answered)?;
    Ok(Json(json!({ "holds": holds })))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct HoldBody {
    source: SourceName,
    /// `table`, which is in the schema public, or `schema.table`.
    table: String,
    /// The first instant it covers, epoch ms or RFC 3339; absent: since ever.
    #[serde(alias = "from")]
    from_ms: Option<Instant>,
    /// The first instant after, epoch ms or RFC 3339; absent: for ever.
    #[serde(alias = "to")]
    to_ms: Option<Instant>,
    reason: String,
}

async fn place_hold(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    body: Result<Json<HoldBody>, JsonRejection>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let body = body.map_err(ApiError::unreadable)?.0;
    let now = api.clock.now();
    let seconds = u64::try_from(now.timestamp()).unwrap_or_default();
    let timestamp = Timestamp::from_unix(NoContext, seconds, now.timestamp_subsec_nanos());
    let new = NewHold {
        hold_id: Uuid::new_v7(timestamp),
        source: body.source,
        table: relation(&body.table)?,
        from_ms: body.from_ms.map(Instant::ms),
        to_ms: body.to_ms.map(Instant::ms),
        reason: reason(&body.reason)?,
        placed_by: caller.name,
        placed_at: now,
    };
    let warning = api.target.check(new.source, &new.table).await?;
    let placed = hold::place(api.db.control(), &new).await.map_err(answered)?;
    tracing::warn!(hold = %placed.hold_id, table = %placed.table, by = placed.placed_by, "a legal hold was placed");
    Ok((
        StatusCode::CREATED,
        Json(json!({ "hold": placed, "warning": warning })),
    ))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Lift {
    reason: String,
}

async fn lift_hold(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    id: Result<Path<Uuid>, PathRejection>,
    body: Result<Json<Lift>, JsonRejection>,
) -> Answer {
    let Path(id) = id.map_err(|rejection| ApiError::Malformed(rejection.body_text()))?;
    let why = reason(&body.map_err(ApiError::unreadable)?.0.reason)?;
    let lifted = hold::lift(api.db.control(), id, &caller.name, &why, api.clock.now())
        .await
        .map_err(answered)?
        .ok_or_else(|| ApiError::NotFound(format!("no hold {id} is in force")))?;
    tracing::warn!(hold = %id, table = %lifted.table, by = caller.name, why, "a legal hold was lifted");
    Ok(Json(json!({ "hold": lifted })))
}

async fn list_disposals(
    State(api): State<Api>,
    query: Result<Query<DisposalQuery>, QueryRejection>,
) -> Answer {
    let Query(query) = query.map_err(|rejection| ApiError::Malformed(rejection.body_text()))?;
    let limit = limited(query.limit)?;
    let page = history::disposals(api.db.read(), &query, limit)
        .await
        .map_err(ApiError::sql("list disposals"))?;
    Ok(Json(json!({ "disposals": page.rows, "next": page.next })))
}

async fn list_units(State(api): State<Api>, query: Result<Query<UnitQuery>, QueryRejection>) -> Answer {
    let Query(query) = query.map_err(|rejection| ApiError::Malformed(rejection.body_text()))?;
    let limit = limited(query.limit)?;
    if let Some(state) = query.state.as_deref() {
        let known = UnitState::ALL.map(UnitState::as_str);
        if !known.contains(&state) {
            return Err(ApiError::Invalid(format!(
                "state '{state}' is unknown; use {}",
                known.join(", ")
            )));
        }
    }
    let page = history::units(api.db.read(), &query, limit)
        .await
        .map_err(ApiError::sql("list units"))?;
    Ok(Json(json!({ "units": page.rows, "next": page.next })))
}

fn limited(limit: Option<i64>) -> Result<i64, ApiError> {
    let limit = limit.unwrap_or(DEFAULT_LIMIT);
    if (1..=MAX_LIMIT).contains(&limit) {
        Ok(limit)
    } else {
        Err(ApiError::Invalid(format!(
            "limit {limit} is not 1 to {MAX_LIMIT}"
        )))
    }
}

fn reason(text: &str) -> Result<String, ApiError> {
    let text = text.trim();
    if text.is_empty() || text.chars().count() > MAX_REASON_CHARS {
        return Err(ApiError::Invalid(format!(
            "reason must have 1 to {MAX_REASON_CHARS} characters"
        )));
    }
    Ok(text.to_owned())
}

fn relation(table: &str) -> Result<Relation, ApiError> {
    let name: SqlIdent = table
        .parse()
        .map_err(|error| ApiError::Invalid(format!("table: {error}")))?;
    Ok(Relation::named(&name))
}

fn answered(error: PlanError) -> ApiError {
    match error {
        PlanError::Refused { what, .. } => ApiError::Invalid(what),
        PlanError::Sql { what, source } => ApiError::sql(what)(source),
    }
}
