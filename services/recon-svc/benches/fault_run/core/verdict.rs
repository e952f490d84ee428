//! The invariants, each a question to the database.

use std::collections::BTreeSet;

use eidos_testkit::Verdict;
use sqlx::PgPool;

use crate::calm::open_breaks;

/// Each query answers (checked, violations, an example).
const QUESTIONS: [(&str, &str); 6] = [
    (
        "no slot succeeded twice",
        "WITH done AS (
             SELECT slot_ms, count(*) AS times FROM eidos_jobs_executions
             WHERE status = 'success' AND trigger IN ('schedule', 'catch_up') GROUP BY slot_ms)
         SELECT count(*), count(*) FILTER (WHERE times > 1), min(slot_ms::text) FILTER (WHERE times > 1) FROM done",
    ),
    (
        "no slot was lost: each one claimed ended in a row",
        "WITH bounds AS (
             SELECT min(slot_ms) AS first, (SELECT last_slot_ms FROM eidos_jobs_state WHERE job_name = 'reconciliation') AS last
             FROM eidos_jobs_executions WHERE trigger IN ('schedule', 'catch_up')),
         due AS (SELECT generate_series(first, last, 2000) AS slot_ms FROM bounds),
         lost AS (
             SELECT slot_ms FROM due WHERE NOT EXISTS (
                 SELECT FROM eidos_jobs_executions e
                 WHERE e.slot_ms = due.slot_ms AND e.status IN ('success', 'failed', 'skipped')))
         SELECT (SELECT count(*) FROM due), count(*), min(slot_ms::text) FROM lost",
    ),
    (
        "no write was made under an epoch that was not in force",
        "SELECT count(*), count(*) FILTER (WHERE made_under IS DISTINCT FROM in_force),
                min(format('%s: made under %s, in force %s', table_name, made_under, in_force))
                    FILTER (WHERE made_under IS DISTINCT FROM in_force)
         FROM audit_writes",
    ),
    (
        "epochs of accepted writes never went down",
        "WITH ordered AS (SELECT made_under, lag(made_under) OVER (ORDER BY seq) AS before, seq FROM audit_writes)
         SELECT count(*), count(*) FILTER (WHERE made_under < before),
                min(format('write %s: %s after %s', seq, made_under, before)) FILTER (WHERE made_under < before)
         FROM ordered",
    ),
    (
        "no execution is left running",
        "SELECT count(*), count(*) FILTER (WHERE status IN ('running', 'pending')),
                min(execution_id::text) FILTER (WHERE status IN ('running', 'pending'))
         FROM eidos_jobs_executions",
    ),
    (
        "no execution ended without saying why it failed",
        "SELECT count(*), count(*) FILTER (WHERE status = 'failed' AND failure_kind IS NULL),
                min(execution_id::text) FILTER (WHERE status = 'failed' AND failure_kind IS NULL)
         FROM eidos_jobs_executions",
    ),
];

/// Asks every question.
pub(crate) async fn judge(
    pool: &PgPool,
    expected: &BTreeSet<String>,
    last_fault_ms: i64,
) -> anyhow::Result<Vec<Verdict>> {
    let mut verdicts = Vec::new();
    for (invariant, question) in QUESTIONS {
        let (checked, violations, example) = sqlx::query_as(question).fetch_one(pool).await?;
        verdicts.push(Verdict {
            invariant: invariant.to_owned(),
            checked,
            violations,
            example,
        });
    }
    verdicts.push(same_breaks(pool, expected).await?);
    let after: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM eidos_jobs_executions WHERE status = 'success' AND slot_ms > $1",
    )
    .bind(last_fault_ms)
    .fetch_one(pool)
    .await?;
    verdicts.push(Verdict {
        invariant: "work went on after the last fault".to_owned(),
        checked: after,
        violations: 0,
        example: None,
    });
    Ok(verdicts)
}

async fn same_breaks(pool: &PgPool, expected: &BTreeSet<String>) -> anyhow::Result<Verdict> {
    let found = open_breaks(pool).await?;
    let differing: Vec<&String> = found.symmetric_difference(expected).collect();
    Ok(Verdict {
        invariant: "the breaks are those of the undisturbed run".to_owned(),
        checked: i64::try_from(expected.len())?,
        violations: i64::try_from(differing.len())?,
        example: differing.first().map(|line| (*line).clone()),
    })
}
