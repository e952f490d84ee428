//! The runtime's own SQL: reading what the API shows and what waits to be continued. All of it is static text.

macro_rules! execution_columns {
    () => {
        "id, execution_id, job_name, status, trigger, started_at, finished_at, duration_ms, error_message, \
         failure_kind, result, slot_ms, attempt, node_id, idempotency_key, dry_run, params, progress, \
         cancel_requested_by"
    };
}

/// The newest run of each job's newest claimed slot, and how many there were. Newest by epoch, which no clock can turn
/// around. `claimed_at` bounds the partitions that are read; an hour is more than any tolerated clock skew.
pub(crate) const NEWEST_SLOT_RUN: &str = "SELECT state.job_name, state.paused, state.last_slot_ms, \
        state.previous_slot_ms, latest.execution_id, latest.status, latest.failure_kind, latest.attempt, \
        latest.params, latest.runs \
    FROM eidos_jobs_state AS state CROSS JOIN LATERAL ( \
        SELECT execution_id, status, failure_kind, attempt, params, count(*) OVER () AS runs \
        FROM eidos_jobs_executions AS execution \
        WHERE execution.job_name = state.job_name AND execution.started_at >= state.claimed_at - 3600000 \
          AND execution.slot_ms = state.last_slot_ms AND execution.trigger IN ('schedule', 'catch_up') \
        ORDER BY execution.epoch DESC, execution.id DESC LIMIT 1) AS latest \
    WHERE state.job_name = ANY($1)";

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

/// One row for each token: records are exact NUMERIC sums; tokens are never added together (ruling 25).
/// A run writes one `totals` record per token with how many accounts it compared; those that agree have no row of
/// their own. Records without totals (of other writers) count one each.
pub(crate) const RECONCILIATION_TOTALS: &str = "SELECT coalesce(token, '') AS token, \
        coalesce(sum((details ->> 'checked')::bigint) FILTER (WHERE kind = 'totals')::bigint, count(*)) AS checked, \
        count(*) FILTER (WHERE status = 'mismatched') AS mismatched, \
        CASE WHEN bool_or(diff_value IS NULL AND diff_exact IS NULL) FILTER (WHERE status = 'mismatched') THEN '' \
             ELSE trim_scale(coalesce(sum(abs(coalesce(diff_value, diff_exact::numeric))) \
                 FILTER (WHERE status = 'mismatched'), 0))::text END AS total_diff \
    FROM eidos_jobs_reconciliation_records \
    WHERE ($1::text IS NULL OR job_type = $1) AND ($2::bigint IS NULL OR created_at >= $2) \
      AND ($3::bigint IS NULL OR created_at < $3) GROUP BY 1 ORDER BY 1";

pub(crate) const RECONCILIATION_RECORDS: &str = "SELECT id, job_type, reconcile_type, status, \
        coalesce(wallet_address, '') AS wallet_address, coalesce(token, '') AS token, \
        coalesce(offchain_exact, trim_scale(offchain_value)::text, '') AS offchain_value, \
        coalesce(onchain_exact, trim_scale(onchain_value)::text, '') AS onchain_value, \
        coalesce(diff_exact, trim_scale(diff_value)::text, '') AS diff_value, created_at \
    FROM eidos_jobs_reconciliation_records \
    WHERE ($1::text IS NULL OR job_type = $1) AND ($2::text IS NULL OR status = $2) \
      AND ($3::text IS NULL OR lower(wallet_address) = lower($3)) \
      AND kind IS DISTINCT FROM 'totals' \
      AND ($4::bigint IS NULL OR created_at >= $4) AND ($5::bigint IS NULL OR created_at < $5) \
    ORDER BY created_at DESC, id DESC LIMIT $6 OFFSET $7";

pub(crate) const COUNT_RECONCILIATION_RECORDS: &str = "SELECT count(*) FROM eidos_jobs_reconciliation_records \
    WHERE ($1::text IS NULL OR job_type = $1) AND ($2::text IS NULL OR status = $2) \
      AND ($3::text IS NULL OR lower(wallet_address) = lower($3)) AND kind IS DISTINCT FROM 'totals' \
      AND ($4::bigint IS NULL OR created_at >= $4) AND ($5::bigint IS NULL OR created_at < $5)";

pub(crate) const STATISTICS: &str = "SELECT stat_type, stat_date, coalesce(stat_hour, 0) AS stat_hour, \
        coalesce(market, '') AS market, metric_name, trim_scale(metric_value)::text AS metric_value \
    FROM eidos_jobs_statistics \
    WHERE ($1::text IS NULL OR stat_type = $1) AND ($2::date IS NULL OR stat_date >= $2) \
      AND ($3::date IS NULL OR stat_date <= $3) AND ($4::text IS NULL OR market = $4) \
      AND (cardinality($5::text[]) = 0 OR metric_name = ANY($5)) \
    ORDER BY stat_date, stat_hour, market, metric_name LIMIT $6";

#[cfg(test)]
mod tests {
    use eidos_testkit::TestDb;
    use sqlx::{Executor, SqlSafeStr};

    /// A statement that does not fit the schema fails here and not in front of a caller (ADR 3).
    #[tokio::test]
    async fn every_statement_is_valid_on_our_schema() {
        let db = TestDb::migrated().await;
        let statements = [
            super::NEWEST_SLOT_RUN,
            super::ACTIVE,
            super::EXECUTION,
            super::EXECUTIONS,
            super::COUNT_EXECUTIONS,
            super::LATEST,
            super::LAST_REPORT,
            super::RECONCILIATION_TOTALS,
            super::RECONCILIATION_RECORDS,
            super::COUNT_RECONCILIATION_RECORDS,
            super::STATISTICS,
        ];
        for statement in statements {
            let prepared = db.pool().prepare(statement.into_sql_str()).await;
            assert!(prepared.is_ok(), "{statement}: {}", prepared.err().unwrap());
        }
    }
}
