//! `eidos_jobs_breaks` as the API and the gauges show it. The engine writes it ([`eidos_recon::store::breaks`]).

use chrono::{DateTime, Utc};
use eidos_types::BreakId;
use serde::Serialize;
use serde_json::Value;
use sqlx::PgPool;
use uuid::Uuid;

macro_rules! break_columns {
    () => {
        "SELECT break_id, dimension, wallet_address, token, kind, status, severity, direction, first_seen, last_seen, \
         occurrences, confirmations, offchain_value::text, onchain_value::text, diff_value::text, usdc_value::text, \
         last_block, evidence FROM eidos_jobs_breaks "
    };
}

/// The place of a break in the list, smallest first: critical before the others, shortfalls before surpluses.
macro_rules! rank {
    () => {
        "((severity <> 'critical')::int * 2 + (direction <> 'shortfall')::int)"
    };
}

const OPEN_TOTALS: &str = "SELECT dimension::text, token::text, severity::text, count(*), \
        COALESCE(sum(abs(diff_value)), 0)::text FROM eidos_jobs_breaks \
    WHERE status = 'open' GROUP BY 1, 2, 3";

const LIST: &str = concat!(
    "WITH last AS (SELECT ",
    rank!(),
    " AS place, break_id AS id FROM eidos_jobs_breaks WHERE break_id = $5) ",
    break_columns!(),
    "WHERE ($1::text IS NULL OR status = $1) AND ($2::text IS NULL OR token = $2) \
           AND ($3::text IS NULL OR wallet_address = $3) AND ($4::text IS NULL OR severity = $4) \
           AND ($5::uuid IS NULL OR EXISTS (SELECT FROM last WHERE ",
    rank!(),
    " > place OR (",
    rank!(),
    " = place AND break_id < id))) ORDER BY ",
    rank!(),
    ", break_id DESC LIMIT $6"
);

const ONE: &str = concat!(break_columns!(), "WHERE break_id = $1");

const KNOWN_TOKENS: &str =
    "SELECT token FROM eidos_jobs_dust UNION SELECT token FROM eidos_jobs_breaks ORDER BY 1";

pub(super) const ALL: &[(&str, &str)] = &[
    ("breaks::OPEN_TOTALS", OPEN_TOTALS),
    ("breaks::LIST", LIST),
    ("breaks::ONE", ONE),
    ("breaks::KNOWN_TOKENS", KNOWN_TOKENS),
];

/// Open breaks per dimension, token and severity, with the sum of their magnitudes: what the gauges show.
pub async fn open_totals(pool: &PgPool) -> Result<Vec<(String, String, String, i64, String)>, sqlx::Error> {
    sqlx::query_as(OPEN_TOTALS).fetch_all(pool).await
}

/// A break as the API shows it.
#[derive(Debug, Clone, Serialize, sqlx::FromRow)]
#[expect(
    missing_docs,
    reason = "the fields are the table's columns, which the migration documents"
)]
pub struct BreakRow {
    pub break_id: Uuid,
    pub dimension: String,
    pub wallet_address: String,
    pub token: String,
    pub kind: String,
    pub status: String,
    pub severity: String,
    pub direction: String,
    pub first_seen: DateTime<Utc>,
    pub last_seen: DateTime<Utc>,
    pub occurrences: i64,
    pub confirmations: i32,
    pub offchain_value: Option<String>,
    pub onchain_value: Option<String>,
    pub diff_value: Option<String>,
    pub usdc_value: Option<String>,
    pub last_block: Option<i64>,
    pub evidence: Value,
}

/// Which breaks the API lists.
#[derive(Debug, Clone, Default)]
pub struct BreakFilter {
    /// `open`, `resolved` or `ignored`; `None` for all.
    pub status: Option<String>,
    /// One token.
    pub token: Option<String>,
    /// `info`, `warning` or `critical`; `None` for all.
    pub severity: Option<String>,
    /// One wallet, lower case.
    pub wallet: Option<String>,
    /// Those after this break in the order of the list; `None` for the first page.
    pub after: Option<Uuid>,
    /// At most this many.
    pub limit: i64,
}

/// Lists breaks: critical first, shortfalls before surpluses, newest first (a break's id begins with its time). The next
/// page begins after the last break of this one.
pub async fn list(pool: &PgPool, filter: &BreakFilter) -> Result<Vec<BreakRow>, sqlx::Error> {
    sqlx::query_as(LIST)
        .bind(&filter.status)
        .bind(&filter.token)
        .bind(&filter.wallet)
        .bind(&filter.severity)
        .bind(filter.after)
        .bind(filter.limit)
        .fetch_all(pool)
        .await
}

/// One break; `None`: there is none of this id.
pub async fn one(pool: &PgPool, id: BreakId) -> Result<Option<BreakRow>, sqlx::Error> {
    sqlx::query_as(ONE).bind(id.as_uuid()).fetch_optional(pool).await
}

/// The tokens that any run compared or any break is of.
pub async fn known_tokens(pool: &PgPool) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(KNOWN_TOKENS).fetch_all(pool).await
}
