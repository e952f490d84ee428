//! `/v1/jobs` and `/v1/executions`.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::{Extension, Json};
use eidos_types::Instant;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::problem::Problem;
use super::state::{Answer, HttpState, MAX_BODY_BYTES};
use crate::Caller;
use crate::api::{
    Accepted, ApiError, CancelView, ExecutionPage, ExecutionQuery, ExecutionView, JobView, PageRequest,
    ReportView, TriggerInput,
};

/// Body of a trigger; an empty one asks for the defaults.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct TriggerBody {
    /// The job's parameters, an object.
    pub(super) params: Option<Value>,
    /// Change nothing and report what would be done.
    pub(super) dry_run: bool,
    /// The scheduled instant to work for (backfill), RFC 3339 or epoch milliseconds; now unless told.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(super) slot: Option<Instant>,
}

/// Body of pause and resume.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ReasonBody {
    /// Why, 1–500 characters; needed to pause.
    pub(super) reason: String,
}

/// Filters of a list of executions.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// `pending`, `running`, `success`, `failed` or `skipped`.
    status: Option<String>,
    /// Started at or after (RFC 3339 or epoch milliseconds).
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<Instant>,
    /// Started before (RFC 3339 or epoch milliseconds).
    #[param(value_type = Option<String>, format = DateTime)]
    until: Option<Instant>,
    /// From 1.
    page: u32,
    /// 1 to 100, 20 unless told.
    page_size: u32,
}

/// Every job of this service.
#[utoipa::path(get, path = "/v1/jobs", tag = "jobs", security(("bearer" = [])),
    responses((status = 200, body = [JobView]), (status = 401, body = Problem)))]
pub(super) async fn list(
    State(state): State<HttpState>,
    Extension(caller): Extension<Caller>,
) -> Answer<Json<Vec<JobView>>> {
    Ok(Json(state.api.jobs(&caller).await?))
}

/// One job as it stands.
#[utoipa::path(get, path = "/v1/jobs/{job}", tag = "jobs", security(("bearer" = [])), params(("job" = String, Path)),
    responses((status = 200, body = JobView), (status = 404, body = Problem)))]
pub(super) async fn one(
    State(state): State<HttpState>,
    Extension(caller): Extension<Caller>,
    Path(job): Path<String>,
) -> Answer<Json<JobView>> {
    Ok(Json(state.api.job(&caller, &job).await?))
}

/// Starts a job outside its schedule. The same Idempotency-Key always answers with the same execution.
#[utoipa::path(post, path = "/v1/jobs/{job}/trigger", tag = "jobs", security(("bearer" = [])), request_body = TriggerBody,
    params(("job" = String, Path), ("Idempotency-Key" = Option<String>, Header, description = "1 to 200 characters; generated if absent")),
    responses((status = 202, body = Accepted), (status = 400, body = Problem), (status = 403, body = Problem),
        (status = 404, body = Problem), (status = 409, body = Problem, description = "busy or paused"),
        (status = 422, body = Problem, description = "parameters not understood")))]
pub(super) async fn trigger(
    State(state): State<HttpState>,
    Extension(caller): Extension<Caller>,
    Path(job): Path<String>,
    request: Request,
) -> Answer<(StatusCode, Json<Accepted>)> {
    // The role first: a caller who may not trigger learns nothing about parameters.
    caller.needs(eidos_settings::Role::Operator)?;
    let headers = request.headers().clone();
    let body: TriggerBody = read(request).await?;
    let input = TriggerInput {
        idempotency_key: idempotency_key(&headers)?,
        params: body.params,
        dry_run: body.dry_run,
        slot: body.slot.map(Instant::slot),
    };
    let accepted = state.api.trigger(&caller, &job, input, current_trace()).await?;
    Ok((StatusCode::ACCEPTED, Json(accepted)))
}

/// The history of a job, newest first.
#[utoipa::path(get, path = "/v1/jobs/{job}/executions", tag = "jobs", security(("bearer" = [])),
    params(("job" = String, Path), ListQuery),
    responses((status = 200, body = ExecutionPage), (status = 404, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn executions(
    State(state): State<HttpState>,
    Extension(caller): Extension<Caller>,
    Path(job): Path<String>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Answer<Json<ExecutionPage>> {
    let Query(query) = query.map_err(|rejection| ApiError::Malformed(rejection.body_text()))?;
    let page = PageRequest::new(query.page, query.page_size)?;
    let filter = ExecutionQuery {
        job: Some(job),
        status: query.status,
        from_ms: query.from.map(Instant::ms),
        until_ms: query.until.map(Instant::ms),
    };
    Ok(Json(state.api.executions(&caller, &filter, page).await?))
}

/// The report of the job's newest successful run.
#[utoipa::path(get, path = "/v1/jobs/{job}/report", tag = "jobs", security(("bearer" = [])), params(("job" = String, Path)),
    responses((status = 200, body = ReportView), (status = 404, body = Problem)))]
pub(super) async fn report(
    State(state): State<HttpState>,
    Extension(caller): Extension<Caller>,
    Path(job): Path<String>,
) -> Answer<Json<ReportView>> {
    Ok(Json(state.api.report(&caller, &job).await?))
}

/// Stops scheduling a job; what runs keeps running.
#[utoipa::path(post, path = "/v1/jobs/{job}/pause", tag = "jobs", security(("bearer" = [])), request_body = ReasonBody,
    params(("job" = String, Path)),
    responses((status = 200, body = JobView), (status = 403, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn pause(
    State(state): State<HttpState>,
    Extension(caller): Extension<Caller>,
    Path(job): Path<String>,
    request: Request,
) -> Answer<Json<JobView>> {
    let body: ReasonBody = read(request).await?;
    Ok(Json(state.api.pause(&caller, &job, &body.reason).await?))
}

/// Schedules a paused job again.
#[utoipa::path(post, path = "/v1/jobs/{job}/resume", tag = "jobs", security(("bearer" = [])), request_body = ReasonBody,
    params(("job" = String, Path)), responses((status = 200, body = JobView), (status = 403, body = Problem)))]
pub(super) async fn resume(
    State(state): State<HttpState>,
    Extension(caller): Extension<Caller>,
    Path(job): Path<String>,
    request: Request,
) -> Answer<Json<JobView>> {
    let body: ReasonBody = read(request).await?;
    Ok(Json(state.api.resume(&caller, &job, &body.reason).await?))
}

/// One execution with its progress and result.
#[utoipa::path(get, path = "/v1/executions/{execution}", tag = "executions", security(("bearer" = [])),
    params(("execution" = String, Path)),
    responses((status = 200, body = ExecutionView), (status = 404, body = Problem)))]
pub(super) async fn execution(
    State(state): State<HttpState>,
    Extension(caller): Extension<Caller>,
    Path(execution): Path<String>,
) -> Answer<Json<ExecutionView>> {
    Ok(Json(state.api.execution(&caller, &execution).await?))
}

/// Asks an execution to stop; a pending one will not start.
#[utoipa::path(post, path = "/v1/executions/{execution}/cancel", tag = "executions", security(("bearer" = [])),
    params(("execution" = String, Path)),
    responses((status = 202, body = CancelView), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(super) async fn cancel(
    State(state): State<HttpState>,
    Extension(caller): Extension<Caller>,
    Path(execution): Path<String>,
) -> Answer<(StatusCode, Json<CancelView>)> {
    Ok((
        StatusCode::ACCEPTED,
        Json(state.api.cancel(&caller, &execution).await?),
    ))
}

/// The body as `T`; an empty one is its default. What is not JSON is malformed (400), what is JSON of the wrong shape is
/// invalid (422).
async fn read<T: DeserializeOwned + Default>(request: Request) -> Result<T, ApiError> {
    let body = axum::body::to_bytes(request.into_body(), MAX_BODY_BYTES).await;
    let body = body.map_err(|_too_large| ApiError::TooLarge {
        limit_bytes: MAX_BODY_BYTES,
    })?;
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(T::default());
    }
    serde_json::from_slice(&body).map_err(|error| {
        if error.is_data() {
            ApiError::Invalid(format!("the body is not what is expected here: {error}"))
        } else {
            ApiError::Malformed(format!("the body is not JSON: {error}"))
        }
    })
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let Some(value) = headers.get("idempotency-key") else {
        return Ok(None);
    };
    let text = value.to_str().map_err(|_not_ascii| {
        ApiError::Malformed("the Idempotency-Key header must be printable ASCII".to_owned())
    })?;
    Ok(Some(text.to_owned()))
}

/// The trace of this request, for the run it asks for.
fn current_trace() -> HeaderMap {
    let mut headers = HeaderMap::new();
    eidos_telemetry::trace_context::inject(&tracing::Span::current(), &mut headers);
    headers
}
