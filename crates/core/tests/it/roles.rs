//! Least privilege: what `migrations/roles/roles.sql` grants is enough for a service, and no more.

use eidos_core::db::DatabaseSettings;
use eidos_core::migrations::check;
use eidos_testkit::{Postgres, PostgresOptions};
use sqlx::{Connection, PgConnection, PgPool};

const ROLES: &str = include_str!("../../../../migrations/roles/roles.sql");

async fn denied(pool: &PgPool, statement: &'static str) {
    let error = sqlx::raw_sql(statement)
        .execute(pool)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("permission denied") || error.contains("must be owner"),
        "{statement}: {error}"
    );
}

/// Roles belong to the whole server, so this test has one of its own.
#[tokio::test]
async fn a_service_can_do_its_work_but_not_change_the_schema_or_the_past() {
    let server = Postgres::start(PostgresOptions::default()).await.unwrap();
    server.create_database("jobs").await.unwrap();
    let owner = server.url("jobs");
    let now = crate::fixture::at("2026-11-20T00:00:00Z");
    eidos_core::migrations::migrate_url(&owner.clone().into(), now)
        .await
        .unwrap();
    let mut admin = PgConnection::connect(&owner).await.unwrap();
    for _again in 0..2 {
        sqlx::raw_sql(ROLES).execute(&mut admin).await.unwrap();
    }
    sqlx::raw_sql(
        "CREATE ROLE recon LOGIN PASSWORD 'p' IN ROLE eidos_jobs_writer; \
         CREATE ROLE viewer LOGIN PASSWORD 'p' IN ROLE eidos_jobs_reader",
    )
    .execute(&mut admin)
    .await
    .unwrap();
    let (_user, address) = owner.split_once('@').unwrap();
    let login = |role: &str| DatabaseSettings::new(format!("postgres://{role}:p@{address}").into());

    let writer = eidos_core::db::connect_jobs(login("recon"), "recon")
        .await
        .unwrap();
    check(writer.read()).await.unwrap();
    sqlx::raw_sql(
        "INSERT INTO eidos_jobs_state (job_name) VALUES ('a'); UPDATE eidos_jobs_state SET epoch = 1",
    )
    .execute(writer.control())
    .await
    .unwrap();
    sqlx::raw_sql(
        "INSERT INTO eidos_jobs_executions (job_name, status, started_at, created_at, execution_id, trigger) \
         VALUES ('a', 'running', 1, 1, gen_random_uuid(), 'manual')",
    )
    .execute(writer.control())
    .await
    .unwrap();
    an_event_is_chained_by_the_owner_s_rights(writer.control()).await;
    for statement in [
        "DELETE FROM eidos_jobs_break_history",
        "UPDATE eidos_jobs_break_history SET by = 'x'",
        "INSERT INTO eidos_jobs_break_chain SELECT * FROM eidos_jobs_break_chain",
        "DELETE FROM eidos_jobs_break_chain",
        "DELETE FROM eidos_jobs_executions",
        "DELETE FROM eidos_jobs_breaks",
        "DELETE FROM eidos_jobs_state",
        "DROP TABLE eidos_jobs_state",
        "CREATE TABLE mine (id INT)",
        "INSERT INTO _sqlx_migrations SELECT * FROM _sqlx_migrations",
    ] {
        denied(writer.control(), statement).await;
    }

    let reader = PgPool::connect(&format!("postgres://viewer:p@{address}"))
        .await
        .unwrap();
    check(&reader).await.unwrap();
    denied(&reader, "UPDATE eidos_jobs_state SET epoch = 1").await;
    denied(&reader, "INSERT INTO eidos_jobs_state (job_name) VALUES ('b')").await;
}

/// A service that may not write the chain gets its links, and not into a table of its own.
async fn an_event_is_chained_by_the_owner_s_rights(writer: &PgPool) {
    let mut session = writer.acquire().await.unwrap();
    sqlx::raw_sql(
        "CREATE TEMP TABLE eidos_jobs_break_chain (LIKE public.eidos_jobs_break_chain); \
         INSERT INTO eidos_jobs_breaks (break_id, dimension, token, kind, severity, direction, first_seen, last_seen, evidence) \
         VALUES (gen_random_uuid(), 'balance', 'USDC', 'amount', 'warning', 'shortfall', now(), now(), '{}'); \
         INSERT INTO eidos_jobs_break_history (break_id, event, at, by) \
         SELECT break_id, 'opened', now(), 'recon' FROM eidos_jobs_breaks",
    )
    .execute(&mut *session)
    .await
    .unwrap();
    let links = "SELECT count(*) FROM public.eidos_jobs_break_chain c JOIN eidos_jobs_break_history h ON h.id = c.event_id";
    let chained: i64 = sqlx::query_scalar(links).fetch_one(&mut *session).await.unwrap();
    assert_eq!(chained, 1);
    sqlx::raw_sql("DROP TABLE pg_temp.eidos_jobs_break_chain")
        .execute(&mut *session)
        .await
        .unwrap();
}
