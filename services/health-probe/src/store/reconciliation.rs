//! `eidos_jobs_breaks` and `eidos_jobs_reconciliation_checkpoints`: what is different, and until when both sides were compared.

use sqlx::PgPool;

use crate::domain::reconciliation::{Breaks, Coverage};

const BREAKS: &str = "\
    SELECT dimension, count(*) FILTER (WHERE usdc_value > $1 OR severity = 'critical'), \
        count(*) FILTER (WHERE NOT (coalesce(usdc_value > $1, FALSE) OR severity = 'critical')), \
        trim_scale(max(usdc_value))::text \
    FROM eidos_jobs_breaks WHERE status = 'open' GROUP BY dimension ORDER BY dimension";

/// The slowest shard of the mode that is ahead.
const COVERAGE: &str = "\
    SELECT dimension, max(compared_until) FROM ( \
        SELECT dimension, mode, (extract(epoch FROM min(last_time)) * 1000)::bigint AS compared_until \
        FROM eidos_jobs_reconciliation_checkpoints GROUP BY dimension, mode) AS modes \
    GROUP BY dimension ORDER BY dimension";

pub(super) const ALL: &[(&str, &str)] = &[
    ("reconciliation::BREAKS", BREAKS),
    ("reconciliation::COVERAGE", COVERAGE),
];

/// Returns the open breaks of each dimension that has some.
///
/// # Errors
/// Those of the database.
pub async fn breaks(pool: &PgPool, above_usdc: u32) -> Result<Vec<Breaks>, sqlx::Error> {
    let rows: Vec<(String, i64, i64, Option<String>)> = sqlx::query_as(BREAKS)
        .bind(rust_decimal::Decimal::from(above_usdc))
        .fetch_all(pool)
        .await?;
    let breaks = rows
        .into_iter()
        .map(|(dimension, critical, others, largest_usdc)| Breaks {
            dimension,
            critical,
            others,
            largest_usdc,
        });
    Ok(breaks.collect())
}

/// Returns until when each dimension was compared.
///
/// # Errors
/// Those of the database.
pub async fn coverage(pool: &PgPool) -> Result<Vec<Coverage>, sqlx::Error> {
    let rows: Vec<(String, i64)> = sqlx::query_as(COVERAGE).fetch_all(pool).await?;
    let coverage = rows.into_iter().map(|(dimension, compared_until_ms)| Coverage {
        dimension,
        compared_until_ms,
    });
    Ok(coverage.collect())
}
