//! `GET /v1/reports/…`: runs, the report of one run or of a period, and the records behind them; as JSON, as CSV, and as a page
//! to print. Lists are read page by page with the last row of the page before.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, TimeDelta, Utc};
use eidos_recon::report::{self, Report, csv, page};
use eidos_recon::store::reports::{self, RecordFilter, Scope};
use eidos_server::ApiError;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::api::{Api, address, checked_limit, one_of};

/// The longest period of a report.
const MAX_PERIOD: TimeDelta = TimeDelta::days(92);
/// The period of a report that names none.
const DEFAULT_PERIOD: TimeDelta = TimeDelta::days(1);
/// The row to go on after, for a list that has no room for it.
const NEXT: &str = "x-next";
/// A page may neither load nor run anything, whatever a text in it says.
const PAGE_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A query of a route.
type Asked<T> = Result<Query<T>, QueryRejection>;

fn asked<T>(query: Asked<T>) -> Result<T, ApiError> {
    let Query(query) = query.map_err(|rejection| ApiError::Malformed(rejection.body_text()))?;
    Ok(query)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RunsQuery {
    dimension: Option<String>,
    mode: Option<String>,
    from: Option<DateTime<Utc>>,
    until: Option<DateTime<Utc>>,
    after: Option<i64>,
    limit: Option<i64>,
}

pub(super) async fn list_runs(
    State(api): State<Api>,
    query: Asked<RunsQuery>,
) -> Result<Json<Value>, ApiError> {
    let query = asked(query)?;
    let limit = checked_limit(query.limit)?;
    let mode = one_of("mode", query.mode, &["full", "incremental"])?;
    let scope = api
        .scope(None, query.dimension, (query.from, query.until))
        .await?;
    let after = match query.after {
        Some(id) => Some(api.place_of_record(id).await?),
        None => None,
    };
    let mut runs = reports::runs(api.db.read(), &scope, mode.as_deref(), after, limit + 1)
        .await
        .map_err(ApiError::sql("list runs"))?;
    let next = cut(&mut runs, limit)
        .then(|| runs.last().map(|run| run.id))
        .flatten();
    Ok(Json(json!({ "runs": runs, "next": next })))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FormQuery {
    format: Option<String>,
}

pub(super) async fn run(
    State(api): State<Api>,
    Path(id): Path<String>,
    query: Asked<FormQuery>,
) -> Result<Response, ApiError> {
    let format = Format::of(asked(query)?.format)?;
    let id: Uuid = id
        .parse()
        .map_err(|_not_a_uuid| ApiError::Invalid(format!("'{id}' is not the id of a run (a UUID)")))?;
    let report = report::of_run(api.db.read(), id, api.clock.now())
        .await
        .map_err(ApiError::sql("make the report of a run"))?
        .ok_or_else(|| no_run(id))?;
    format.answer(&report, &format!("reconciliation-{id}"))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PeriodQuery {
    from: Option<DateTime<Utc>>,
    until: Option<DateTime<Utc>>,
    dimension: Option<String>,
    format: Option<String>,
}

pub(super) async fn period(State(api): State<Api>, query: Asked<PeriodQuery>) -> Result<Response, ApiError> {
    let query = asked(query)?;
    let format = Format::of(query.format)?;
    let now = api.clock.now();
    let until = query.until.unwrap_or(now);
    let from = query.from.or_else(|| until.checked_sub_signed(DEFAULT_PERIOD));
    let from = from.ok_or_else(|| ApiError::Invalid(format!("until {until} has no day before it")))?;
    in_order(Some(from), Some(until))?;
    if until.signed_duration_since(from) > MAX_PERIOD {
        return Err(ApiError::Invalid(format!(
            "from {from} to {until} is longer than {} days: ask for shorter periods",
            MAX_PERIOD.num_days()
        )));
    }
    if let Some(dimension) = &query.dimension {
        api.dimension_exists(dimension).await?;
    }
    let report = report::of_period(api.db.read(), (from, until), query.dimension, now)
        .await
        .map_err(ApiError::sql("make the report of a period"))?;
    format.answer(
        &report,
        &format!(
            "reconciliation-{}-{}",
            from.format("%Y%m%dT%H%M%SZ"),
            until.format("%Y%m%dT%H%M%SZ")
        ),
    )
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RecordsQuery {
    run: Option<Uuid>,
    status: Option<String>,
    dimension: Option<String>,
    token: Option<String>,
    wallet: Option<String>,
    from: Option<DateTime<Utc>>,
    until: Option<DateTime<Utc>>,
    after: Option<i64>,
    limit: Option<i64>,
    format: Option<String>,
}

pub(super) async fn records(
    State(api): State<Api>,
    query: Asked<RecordsQuery>,
) -> Result<Response, ApiError> {
    let query = asked(query)?;
    let limit = checked_limit(query.limit)?;
    let format = one_of("format", query.format, &["json", "csv"])?;
    let status = one_of("status", query.status, &["mismatched", "ignored"])?;
    if let Some(token) = &query.token {
        api.token_exists(token).await?;
    }
    let filter = RecordFilter {
        scope: api
            .scope(query.run, query.dimension, (query.from, query.until))
            .await?,
        status,
        token: query.token,
        wallet: query.wallet.map(|wallet| address(&wallet)).transpose()?,
    };
    let after = match query.after {
        Some(id) => Some(api.place_of_record(id).await?),
        None => None,
    };
    let mut rows = reports::records(api.db.read(), &filter, after, limit + 1)
        .await
        .map_err(ApiError::sql("list reconciliation records"))?;
    let next = cut(&mut rows, limit)
        .then(|| rows.last().map(|row| row.id))
        .flatten();
    if format.as_deref() != Some("csv") {
        return Ok(Json(json!({ "records": rows, "next": next })).into_response());
    }
    let text = csv::records(&rows).map_err(|error| unwritable(&error))?;
    let mut response = download(text, "reconciliation-records");
    if let Some(next) = next {
        response.headers_mut().insert(NEXT, HeaderValue::from(next));
    }
    Ok(response)
}

/// Leaves a page of `limit` rows. True: there are more.
fn cut<T>(rows: &mut Vec<T>, limit: i64) -> bool {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let has_more = rows.len() > limit;
    rows.truncate(limit);
    has_more
}

fn no_run(id: Uuid) -> ApiError {
    ApiError::NotFound(format!("there is no finished run {id}"))
}

fn in_order(from: Option<DateTime<Utc>>, until: Option<DateTime<Utc>>) -> Result<(), ApiError> {
    match (from, until) {
        (Some(from), Some(until)) if until <= from => Err(ApiError::Invalid(format!(
            "until {until} is not after from {from}"
        ))),
        _ => Ok(()),
    }
}

fn unwritable(error: &csv::Error) -> ApiError {
    ApiError::Invalid(format!("the report cannot be written as CSV: {error}"))
}

impl Api {
    async fn scope(
        &self,
        run: Option<Uuid>,
        dimension: Option<String>,
        (from, until): (Option<DateTime<Utc>>, Option<DateTime<Utc>>),
    ) -> Result<Scope, ApiError> {
        in_order(from, until)?;
        if let Some(dimension) = &dimension {
            self.dimension_exists(dimension).await?;
        }
        if let Some(run) = run {
            let is_run = reports::is_run(self.db.read(), run)
                .await
                .map_err(ApiError::sql("read a run"))?;
            if !is_run {
                return Err(no_run(run));
            }
        }
        Ok(Scope {
            run,
            dimension,
            from_ms: from.map(|from| from.timestamp_millis()),
            until_ms: until.map(|until| until.timestamp_millis()),
        })
    }

    async fn place_of_record(&self, id: i64) -> Result<reports::Place, ApiError> {
        reports::place_of_record(self.db.read(), id)
            .await
            .map_err(ApiError::sql("read a record"))?
            .ok_or_else(|| ApiError::NotFound(format!("there is no record {id}")))
    }
}

/// How a report is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Json,
    Csv,
    Html,
}

impl Format {
    fn of(name: Option<String>) -> Result<Self, ApiError> {
        Ok(
            match one_of("format", name, &["json", "csv", "html"])?.as_deref() {
                Some("csv") => Self::Csv,
                Some("html") => Self::Html,
                _ => Self::Json,
            },
        )
    }

    fn answer(self, report: &Report, name: &str) -> Result<Response, ApiError> {
        Ok(match self {
            Self::Json => Json(report).into_response(),
            Self::Csv => download(csv::report(report).map_err(|error| unwritable(&error))?, name),
            Self::Html => {
                let headers = [
                    (header::CONTENT_TYPE, "text/html; charset=utf-8"),
                    (header::CONTENT_SECURITY_POLICY, PAGE_POLICY),
                    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
                    (header::CACHE_CONTROL, "no-store"),
                ];
                (headers, page::render(report)).into_response()
            }
        })
    }
}

/// A file to save; `name` has no characters that a header cannot have.
fn download(text: String, name: &str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8".to_owned()),
        (
            header::CONTENT_DISPOSITION,
            format!("attachment; filename=\"{name}.csv\""),
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    (headers, text).into_response()
}
