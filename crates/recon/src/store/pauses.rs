//! `eidos_jobs_operation_pauses`: a machine or a person may set one, only a person lifts it (ruling 26).

use chrono::{DateTime, Utc};
use eidos_types::BreakId;
use serde::Serialize;
use sqlx::{PgConnection, PgExecutor, PgPool};
use uuid::Uuid;

const SET: &str = "INSERT INTO eidos_jobs_operation_pauses (operation, token, break_id, reason, set_by, set_at) \
         VALUES ($1, $2, $3, $4, $6, $5) \
         ON CONFLICT (operation, token) WHERE lifted_at IS NULL DO NOTHING RETURNING *";

const LIFT: &str = "UPDATE eidos_jobs_operation_pauses SET lifted_by = $3, lifted_at = $4, lift_reason = $5 \
         WHERE operation = $1 AND token = $2 AND lifted_at IS NULL RETURNING *";

const LIST: &str =
    "SELECT * FROM eidos_jobs_operation_pauses ORDER BY lifted_at IS NOT NULL, set_at DESC LIMIT $1";

const PAGE: &str = "SELECT * FROM eidos_jobs_operation_pauses \
         WHERE (NOT $1 OR lifted_at IS NULL) AND ($2::bigint IS NULL OR id < $2) ORDER BY id DESC LIMIT $3";

const ACTIVE: &str = "SELECT * FROM eidos_jobs_operation_pauses WHERE lifted_at IS NULL ORDER BY id";

pub(super) const ALL: &[(&str, &str)] = &[
    ("pauses::SET", SET),
    ("pauses::LIFT", LIFT),
    ("pauses::LIST", LIST),
    ("pauses::PAGE", PAGE),
    ("pauses::ACTIVE", ACTIVE),
];

/// A pause.
#[derive(Debug, Clone, Serialize, sqlx::FromRow)]
#[expect(
    missing_docs,
    reason = "the fields are the table's columns, which the migration documents"
)]
pub struct PauseRow {
    pub id: i64,
    pub operation: String,
    pub token: String,
    pub break_id: Option<Uuid>,
    pub reason: String,
    pub set_by: String,
    pub set_at: DateTime<Utc>,
    pub lifted_by: Option<String>,
    pub lifted_at: Option<DateTime<Utc>>,
    pub lift_reason: Option<String>,
}

/// Sets a pause of an operation for a unit, such as a token, because of a break or of what a person knows. `None`: one is active
/// already.
pub async fn set(
    conn: &mut PgConnection,
    operation: &str,
    unit: &str,
    break_id: Option<BreakId>,
    reason: &str,
    by: &str,
    at: DateTime<Utc>,
) -> Result<Option<PauseRow>, sqlx::Error> {
    sqlx::query_as(SET)
        .bind(operation)
        .bind(unit)
        .bind(break_id.map(BreakId::as_uuid))
        .bind(reason)
        .bind(at)
        .bind(by)
        .fetch_optional(conn)
        .await
}

/// Lifts the active pause. `None` if there is none.
pub async fn lift(
    executor: impl PgExecutor<'_>,
    operation: &str,
    unit: &str,
    by: &str,
    reason: &str,
    at: DateTime<Utc>,
) -> Result<Option<PauseRow>, sqlx::Error> {
    sqlx::query_as(LIFT)
        .bind(operation)
        .bind(unit)
        .bind(by)
        .bind(at)
        .bind(reason)
        .fetch_optional(executor)
        .await
}

/// The pauses, active ones first, newest first, at most `limit`.
pub async fn list(pool: &PgPool, limit: i64) -> Result<Vec<PauseRow>, sqlx::Error> {
    sqlx::query_as(LIST).bind(limit).fetch_all(pool).await
}

/// A page of pauses, newest first: those set before the pause `after`, all if there is none.
pub async fn page(
    pool: &PgPool,
    only_active: bool,
    after: Option<i64>,
    limit: i64,
) -> Result<Vec<PauseRow>, sqlx::Error> {
    sqlx::query_as(PAGE)
        .bind(only_active)
        .bind(after)
        .bind(limit)
        .fetch_all(pool)
        .await
}

/// The active pauses.
pub async fn active(pool: &PgPool) -> Result<Vec<PauseRow>, sqlx::Error> {
    sqlx::query_as(ACTIVE).fetch_all(pool).await
}
