//! A million breaks of every state, over four years.

use sqlx::PgPool;

pub(crate) const ROWS: i32 = 1_000_000;
pub(crate) const TOKENS: usize = 13;

/// As the test of the plans has it (crates/recon/tests/it/plans.rs), five times as many.
const SEED: &str = "INSERT INTO eidos_jobs_breaks (break_id, dimension, subject, subject_detail, wallet_address, token, reference, \
        kind, severity, direction, first_seen, last_seen, evidence, state, status, live, resolved_at, assignee) \
    SELECT gen_random_uuid(), (ARRAY['balance', 'deposits', 'withdrawals', 'settlement'])[1 + n % 4], 's' || n, '{}', \
        '0x' || lpad(to_hex(n % 5000), 40, '0'), 'T' || n % 13, n::text, 'shortfall', \
        CASE WHEN n % 7 = 0 THEN 'critical' ELSE 'warning' END, CASE WHEN n % 3 = 0 THEN 'surplus' ELSE 'shortfall' END, \
        at, at, '{\"block\": 7, \"hint\": {\"cause\": \"unknown\"}}', state, status, status = 'open', \
        CASE WHEN status = 'open' THEN NULL ELSE at END, CASE WHEN (n / 4) % 2 = 0 THEN 'person ' || (n / 8) % 20 END \
    FROM generate_series(1, $1::int) AS n, \
        LATERAL (SELECT now() - n * interval '2 minutes' AS at, \
            (ARRAY['open', 'acknowledged', 'resolved', 'written_off', 'auto_closed'])[1 + (n / 11) % 5] AS state) AS s, \
        LATERAL (SELECT CASE WHEN state IN ('open', 'acknowledged') THEN 'open' ELSE 'resolved' END AS status) AS t";

const EVENTS: &str = "INSERT INTO eidos_jobs_break_history (break_id, event, at, by) \
    SELECT break_id, 'opened', first_seen, 'bench' FROM eidos_jobs_breaks LIMIT 100000";

/// Stores the breaks without their events: a list does not read them, and each would be a link.
pub(crate) async fn breaks(pool: &PgPool) -> anyhow::Result<()> {
    let mut tx = pool.begin().await?;
    sqlx::raw_sql("SET LOCAL session_replication_role = replica; SET LOCAL statement_timeout = 0")
        .execute(&mut *tx)
        .await?;
    sqlx::query(SEED).bind(ROWS).execute(&mut *tx).await?;
    tx.commit().await?;
    sqlx::raw_sql("VACUUM ANALYZE eidos_jobs_breaks")
        .execute(pool)
        .await?;
    Ok(())
}

/// Stores an event of some of them, as runs do. Returns how many there are.
pub(crate) async fn events(pool: &PgPool) -> anyhow::Result<u64> {
    Ok(sqlx::query(EVENTS).execute(pool).await?.rows_affected())
}
