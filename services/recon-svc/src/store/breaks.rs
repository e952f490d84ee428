//! `eidos_jobs_breaks` as the gauges show it. The engine writes and lists it ([`eidos_recon::store`]).

use sqlx::PgPool;

const OPEN_TOTALS: &str = "SELECT dimension::text, token::text, severity::text, count(*), \
        COALESCE(sum(abs(diff_value)), 0)::text FROM eidos_jobs_breaks \
    WHERE status = 'open' GROUP BY 1, 2, 3";

pub(super) const ALL: &[(&str, &str)] = &[("breaks::OPEN_TOTALS", OPEN_TOTALS)];

/// Unresolved breaks per dimension, token and severity, with the sum of their magnitudes: what the gauges show.
pub async fn open_totals(pool: &PgPool) -> Result<Vec<(String, String, String, i64, String)>, sqlx::Error> {
    sqlx::query_as(OPEN_TOTALS).fetch_all(pool).await
}
