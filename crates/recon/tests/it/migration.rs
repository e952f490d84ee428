//! Migration 0013: rows of before get their subjects, and so do those that replicas of the release before still write.

use eidos_testkit::TestDb;
use sqlx::PgPool;

const BEFORE: [&str; 11] = [
    include_str!("../../../../migrations/0001_scheduling.sql"),
    include_str!("../../../../migrations/0002_executions.sql"),
    include_str!("../../../../migrations/0003_statistics_and_archive_progress.sql"),
    include_str!("../../../../migrations/0004_reconciliation.sql"),
    include_str!("../../../../migrations/0005_breaks.sql"),
    include_str!("../../../../migrations/0006_disposal.sql"),
    include_str!("../../../../migrations/0007_chain_limits.sql"),
    include_str!("../../../../migrations/0009_long_names.sql"),
    include_str!("../../../../migrations/0010_disposal_failures.sql"),
    include_str!("../../../../migrations/0011_archive_stores.sql"),
    include_str!("../../../../migrations/0012_outbox.sql"),
];
const SUBJECTS: &str = include_str!("../../../../migrations/0013_subjects.sql");

/// What the release before writes; `$1` makes the rows of two times different ones.
const OLD_WRITES: [&str; 4] = [
    "INSERT INTO eidos_jobs_breaks (break_id, dimension, wallet_address, token, token_address, kind, severity, direction, \
         first_seen, last_seen, evidence) \
     VALUES (gen_random_uuid(), 'balance', '0xab', $1, '0xcd', 'shortfall', 'warning', 'shortfall', now(), now(), '{}'), \
            (gen_random_uuid(), 'solvency', '', $1, '0xcd', 'insolvent', 'critical', 'shortfall', now(), now(), '{}')",
    "INSERT INTO eidos_jobs_reconciliation_records (job_type, reconcile_type, status, wallet_address, token, created_at, \
         run_id, kind) \
     VALUES ('balance', 'full', 'ignored', '0xab', $1, 0, gen_random_uuid(), 'surplus'), \
            ('balance', 'full', 'matched', NULL, $1, 0, gen_random_uuid(), 'totals')",
    "INSERT INTO eidos_jobs_dust (run_id, dimension, token, entries, net, gross) \
     VALUES (gen_random_uuid(), 'balance', $1, 0, 0, 0)",
    "INSERT INTO eidos_jobs_reconciliation_checkpoints (job_type, mode, shard, last_time, settings_digest) \
     VALUES ('balance', 'full', length($1), now(), '') ON CONFLICT (job_type, mode, shard) DO UPDATE SET last_time = now()",
];

async fn write_as_before(pool: &PgPool, token: &str) {
    for statement in OLD_WRITES {
        sqlx::query(statement).bind(token).execute(pool).await.unwrap();
    }
}

async fn texts(pool: &PgPool, statement: &'static str) -> Vec<String> {
    sqlx::query_scalar(statement).fetch_all(pool).await.unwrap()
}

#[tokio::test]
async fn rows_of_before_and_of_replicas_of_before_have_subjects() {
    let db = TestDb::empty().await;
    let pool = db.pool();
    for migration in BEFORE {
        sqlx::raw_sql(migration).execute(pool).await.unwrap();
    }
    write_as_before(pool, "OLD").await;
    sqlx::raw_sql(SUBJECTS).execute(pool).await.unwrap();
    write_as_before(pool, "NEW2").await;
    write_as_before(pool, "NEW3").await;

    let detail = |token: &str| {
        format!(r#"0xab/{token} {{"token": "{token}", "wallet": "0xab", "token_address": "0xcd"}}"#)
    };
    let balances = "SELECT subject || ' ' || subject_detail FROM eidos_jobs_breaks WHERE dimension = 'balance' ORDER BY subject";
    assert_eq!(
        texts(pool, balances).await,
        [detail("NEW2"), detail("NEW3"), detail("OLD")]
    );
    let vault = "SELECT subject FROM eidos_jobs_breaks WHERE dimension = 'solvency' ORDER BY subject";
    assert_eq!(texts(pool, vault).await, ["NEW2", "NEW3", "OLD"]);
    let records = "SELECT dimension || ' ' || subject FROM eidos_jobs_reconciliation_records ORDER BY 1";
    let expected =
        ["0xab/NEW2", "0xab/NEW3", "0xab/OLD", "NEW2", "NEW3", "OLD"].map(|key| format!("balance {key}"));
    assert_eq!(texts(pool, records).await, expected);
    let dust = "SELECT subject FROM eidos_jobs_dust ORDER BY 1";
    assert_eq!(texts(pool, dust).await, ["NEW2", "NEW3", "OLD"]);
    let checkpoints = "SELECT dimension || shard FROM eidos_jobs_reconciliation_checkpoints ORDER BY 1";
    assert_eq!(texts(pool, checkpoints).await, ["balance3", "balance4"]);
}
