//! The runtime's own SQL: what waits to be continued. All of it is static text.

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

#[cfg(test)]
mod tests {
    use eidos_testkit::{TestDb, assert_prepares};

    /// ADR 3.
    #[tokio::test]
    async fn every_statement_is_valid_on_our_schema() {
        let db = TestDb::migrated().await;
        let statements = [("NEWEST_SLOT_RUN", super::NEWEST_SLOT_RUN)];
        assert_prepares(db.pool(), statements).await;
    }
}
