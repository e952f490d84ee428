//! Migrations 0013 and 0017: rows of before get their subjects, lives and links, and so do those that replicas of the release
//! before still write.

use eidos_recon::store::audit;
use eidos_testkit::TestDb;
use sqlx::PgPool;
use uuid::Uuid;

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
const BETWEEN: [&str; 3] = [
    include_str!("../../../../migrations/0014_aggregator.sql"),
    include_str!("../../../../migrations/0015_order_expirer.sql"),
    include_str!("../../../../migrations/0016_kline_repairs.sql"),
];
const LIVES: &str = include_str!("../../../../migrations/0017_break_lifecycle.sql");
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

/// What the release before does with a break: it opens it, sees it again, and closes what it did not see. `$1` is the run.
const OLD_OPEN: &str = "WITH opened AS (INSERT INTO eidos_jobs_breaks (break_id, dimension, subject, subject_detail, \
        wallet_address, token, kind, severity, direction, first_seen, last_seen, last_run_id, evidence) \
    VALUES (gen_random_uuid(), 'balance', '0xab/USDC', '{}', '0xab', 'USDC', 'shortfall', 'warning', 'shortfall', now(), now(), \
        $1, '{}') RETURNING break_id) \
    INSERT INTO eidos_jobs_break_history (break_id, event, at, by, details) \
    SELECT break_id, 'opened', now(), 'reconciliation', '{\"diff\": \"1.50\"}' FROM opened";
const OLD_SEE: &str = "WITH seen AS (UPDATE eidos_jobs_breaks SET severity = 'critical', last_run_id = $1 \
        WHERE status = 'open' AND subject = '0xab/USDC' RETURNING break_id) \
    INSERT INTO eidos_jobs_break_history (break_id, event, at, by) SELECT break_id, 'seen', now(), 'reconciliation' FROM seen";
const OLD_CLOSE: &str = "WITH closed AS ( \
        UPDATE eidos_jobs_breaks SET status = 'resolved', resolved_at = now(), resolved_by = 'reconciliation', \
               resolved_reason = 'a later reading of both sides agreed' \
        WHERE status = 'open' AND dimension = 'balance' AND last_run_id IS DISTINCT FROM $1 RETURNING break_id) \
    INSERT INTO eidos_jobs_break_history (break_id, event, at, by) \
    SELECT break_id, 'resolved', now(), 'reconciliation' FROM closed";

async fn run_as_before(pool: &PgPool, statements: &[&'static str]) {
    let run = Uuid::from_u128(u128::from(statements.len() as u64));
    for statement in statements {
        sqlx::query(*statement).bind(run).execute(pool).await.unwrap();
    }
}

#[tokio::test]
async fn breaks_of_before_and_of_replicas_of_before_have_lives_and_links() {
    let db = TestDb::empty().await;
    let pool = db.pool();
    for migration in BEFORE.into_iter().chain([SUBJECTS]).chain(BETWEEN) {
        sqlx::raw_sql(migration).execute(pool).await.unwrap();
    }
    let (once, closed) = ([OLD_OPEN, OLD_SEE], [OLD_CLOSE]);
    run_as_before(pool, &once).await;
    run_as_before(pool, &closed).await;
    run_as_before(pool, &once).await;
    sqlx::raw_sql(LIVES).execute(pool).await.unwrap();
    let lives =
        "SELECT concat_ws(' ', status, state, live, version) FROM eidos_jobs_breaks ORDER BY first_seen";
    assert_eq!(
        texts(pool, lives).await,
        ["resolved auto_closed f 1", "open open t 1"]
    );

    // Replicas of the release before go on.
    run_as_before(pool, &closed).await;
    let run = [OLD_OPEN, OLD_SEE, OLD_SEE];
    run_as_before(pool, &run).await;
    assert_eq!(
        texts(pool, lives).await,
        [
            "resolved auto_closed f 1",
            "resolved auto_closed f 2",
            "open open t 2"
        ]
    );
    // What a person has ended is not open to them: they open another one, which is linked.
    let resolved = "UPDATE eidos_jobs_breaks SET status = 'resolved', state = 'resolved', resolved_at = now() WHERE status = 'open'";
    sqlx::raw_sql(resolved).execute(pool).await.unwrap();
    let told = "INSERT INTO eidos_jobs_break_history (break_id, event, at, by) \
                SELECT break_id, 'resolved', now(), 'ann' FROM eidos_jobs_breaks WHERE state = 'resolved'";
    sqlx::raw_sql(told).execute(pool).await.unwrap();
    run_as_before(pool, &once).await;
    assert_eq!(
        texts(pool, lives).await[2..],
        ["resolved resolved f 3", "open open t 2"]
    );
    let links = "SELECT count(*)::text FROM eidos_jobs_breaks b JOIN eidos_jobs_breaks p ON p.break_id = b.previous_id \
                 WHERE b.subject = p.subject AND b.first_seen > p.first_seen";
    assert_eq!(
        texts(pool, links).await,
        ["2"],
        "those that began after the migration"
    );

    let mut conn = pool.acquire().await.unwrap();
    let verified = audit::verify(&mut conn, None).await.unwrap();
    assert_eq!(
        (verified.found, verified.links, verified.breaks),
        (0, 12, 4),
        "{verified:?}"
    );
}
