//! `eidos_jobs_executions` and `eidos_jobs_state`: when jobs last succeeded.

use std::collections::BTreeMap;

use sqlx::PgPool;

use crate::domain::jobs::JobHistory;

const NEWEST: &str = "\
    SELECT wanted.job, coalesce(s.paused, FALSE), \
        (SELECT e.started_at FROM eidos_jobs_executions e \
         WHERE e.job_name = wanted.job AND e.status = 'success' AND NOT e.dry_run \
         ORDER BY e.started_at DESC LIMIT 1) \
    FROM unnest($1::text[]) AS wanted (job) LEFT JOIN eidos_jobs_state s ON s.job_name = wanted.job";

pub(super) const ALL: &[(&str, &str)] = &[("history::NEWEST", NEWEST)];

/// Returns the history of each of `jobs`.
///
/// # Errors
/// Those of the database.
pub async fn newest(pool: &PgPool, jobs: &[String]) -> Result<BTreeMap<String, JobHistory>, sqlx::Error> {
    let rows: Vec<(String, bool, Option<i64>)> = sqlx::query_as(NEWEST).bind(jobs).fetch_all(pool).await?;
    let history = rows.into_iter().map(|(job, is_paused, succeeded_at_ms)| {
        let history = JobHistory {
            succeeded_at_ms,
            is_paused,
        };
        (job, history)
    });
    Ok(history.collect())
}
