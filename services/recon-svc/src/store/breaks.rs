//! `eidos_jobs_breaks` as the gauges show it. The engine writes and lists it ([`eidos_recon::store`]).

use eidos_types::Amount;
use sqlx::PgPool;
use uuid::Uuid;

const OPEN_TOTALS: &str = "SELECT dimension::text, token::text, severity::text, count(*), \
        COALESCE(sum(abs(diff_value)), 0)::text FROM eidos_jobs_breaks \
    WHERE status = 'open' GROUP BY 1, 2, 3";

/// Two are enough to know that there is not only one.
const OPPOSITES: &str = "SELECT break_id, subject::text FROM eidos_jobs_breaks     WHERE status = 'open' AND dimension = $1 AND token = $2 AND diff_value = $3::numeric LIMIT 2";

pub(super) const ALL: &[(&str, &str)] = &[
    ("breaks::OPEN_TOTALS", OPEN_TOTALS),
    ("breaks::OPPOSITES", OPPOSITES),
];

/// Unresolved breaks of exactly this difference, at most two.
pub async fn opposites(
    pool: &PgPool,
    dimension: &str,
    token: &str,
    diff: Amount,
) -> Result<Vec<(Uuid, String)>, sqlx::Error> {
    sqlx::query_as(OPPOSITES)
        .bind(dimension)
        .bind(token)
        .bind(diff.to_string())
        .fetch_all(pool)
        .await
}

/// Unresolved breaks per dimension, token and severity, with the sum of their magnitudes: what the gauges show.
pub async fn open_totals(pool: &PgPool) -> Result<Vec<(String, String, String, i64, String)>, sqlx::Error> {
    sqlx::query_as(OPEN_TOTALS).fetch_all(pool).await
}
