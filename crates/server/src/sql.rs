//! The SQL of the API: what it shows. All of it is static text.

macro_rules! execution_columns {
    () => {
        "id, execution_id, job_name, status, trigger, started_at, finished_at, duration_ms, error_message, \
         failure_kind, result, slot_ms, attempt, node_id, idempotency_key, dry_run, params, progress, \
         cancel_requested_by"
    };
}

/// Whether a job has a run that is going on or waiting.
pub(crate) const ACTIVE: &str = "SELECT execution_id FROM eidos_jobs_executions \
    WHERE job_name = $1 AND status IN ('running', 'pending') ORDER BY started_at DESC LIMIT 1";

pub(crate) const EXECUTION: &str = concat!(
    "SELECT ",
    execution_columns!(),
    " FROM eidos_jobs_executions WHERE execution_id = $1"
);

pub(crate) const EXECUTIONS: &str = concat!(
    "SELECT ",
    execution_columns!(),
    " FROM eidos_jobs_executions \
     WHERE ($1::text IS NULL OR job_name = $1) AND ($2::text IS NULL OR status = $2) \
       AND ($3::bigint IS NULL OR started_at >= $3) AND ($4::bigint IS NULL OR started_at < $4) \
     ORDER BY started_at DESC, id DESC LIMIT $5 OFFSET $6"
);

pub(crate) const COUNT_EXECUTIONS: &str = "SELECT count(*) FROM eidos_jobs_executions \
    WHERE ($1::text IS NULL OR job_name = $1) AND ($2::text IS NULL OR status = $2) \
      AND ($3::bigint IS NULL OR started_at >= $3) AND ($4::bigint IS NULL OR started_at < $4)";

/// The newest row of each job that says something about it (a skipped slot does), with when it last succeeded.
pub(crate) const LATEST: &str = concat!(
    "SELECT latest.* FROM unnest($1::text[]) AS wanted (wanted_name) CROSS JOIN LATERAL (SELECT ",
    execution_columns!(),
    " FROM eidos_jobs_executions WHERE job_name = wanted.wanted_name ORDER BY started_at DESC, id DESC LIMIT 1) \
      AS latest"
);

/// The newest run with a report, also of one that failed and did something; dry runs report what they would have done and do not count.
pub(crate) const LAST_REPORT: &str = concat!(
    "SELECT ",
    execution_columns!(),
    " FROM eidos_jobs_executions \
     WHERE job_name = $1 AND status IN ('success', 'failed') AND result IS NOT NULL AND NOT dry_run \
     ORDER BY started_at DESC, id DESC LIMIT 1"
);

#[cfg(test)]
mod tests {
    use eidos_testkit::{TestDb, assert_prepares};

    /// ADR 3.
    #[tokio::test]
    async fn every_statement_is_valid_on_our_schema() {
        let db = TestDb::migrated().await;
        let statements = [
            ("ACTIVE", super::ACTIVE),
            ("EXECUTION", super::EXECUTION),
            ("EXECUTIONS", super::EXECUTIONS),
            ("COUNT_EXECUTIONS", super::COUNT_EXECUTIONS),
            ("LATEST", super::LATEST),
            ("LAST_REPORT", super::LAST_REPORT),
        ];
        assert_prepares(db.pool(), statements).await;
    }
}
