//! The schema: every statement fits it, every wrong version is refused, every month has its partition.

use std::path::Path;

use eidos_core::db::{DatabaseSettings, connect_jobs, connect_read_only};
use eidos_core::execution::Trigger;
use eidos_core::migrations::{
    check, ensure_history_partitions, expected_version, install_external_fence, migrate, migrate_url,
};
use eidos_core::start::Attempt;
use eidos_core::{CoreError, sql, start};
use eidos_testkit::{TestDb, assert_prepares};
use eidos_types::{Clock, ManualClock, Month};
use sqlx::PgPool;

use crate::fixture::{Fixture, at};

async fn execute(pool: &PgPool, statement: &'static str) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(statement).execute(pool).await.map(drop)
}

/// ADR 3.
#[tokio::test]
async fn every_statement_prepares_on_a_migrated_server() {
    let db = TestDb::migrated().await;
    install_external_fence(db.pool()).await.unwrap();
    assert!(sql::ALL.len() > 30);
    let statements = sql::ALL.iter().chain(sql::EXTERNAL);
    assert_prepares(db.pool(), statements.copied()).await;
}

/// ADR 3: the list is complete only if nothing is written beside it.
#[test]
fn no_statement_is_written_outside_the_list() {
    let mut directories = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
                continue;
            }
            let text: String = std::fs::read_to_string(&path)
                .unwrap()
                .split_whitespace()
                .collect();
            for call in ["query(\"", "query_as(\"", "query_scalar(\"", "raw_sql(\""] {
                assert!(
                    !text.contains(call),
                    "{} writes SQL beside sql::ALL",
                    path.display()
                );
            }
        }
    }
}

#[tokio::test]
async fn a_database_of_another_version_is_refused_and_the_command_named() {
    let empty = TestDb::empty().await;
    let error = check(empty.pool()).await.unwrap_err();
    assert!(matches!(error, CoreError::SchemaVersion { found: None, .. }));
    assert!(error.to_string().contains("eidosctl migrate"), "{error}");

    let db = TestDb::migrated().await;
    check(db.pool()).await.unwrap();
    execute(
        db.pool(),
        "UPDATE _sqlx_migrations SET checksum = '\\x00' WHERE version = 2",
    )
    .await
    .unwrap();
    let error = check(db.pool()).await.unwrap_err();
    assert!(
        matches!(error, CoreError::SchemaChanged { version: 2 }),
        "{error}"
    );

    let newest = expected_version();
    execute(db.pool(), "UPDATE _sqlx_migrations SET version = version + 1000")
        .await
        .unwrap();
    let error = check(db.pool()).await.unwrap_err();
    assert!(matches!(error, CoreError::SchemaVersion { found: Some(_), expected } if expected == newest));
    assert!(error.to_string().contains("newer"), "{error}");

    execute(db.pool(), "DELETE FROM _sqlx_migrations WHERE version > 1001")
        .await
        .unwrap();
    execute(db.pool(), "UPDATE _sqlx_migrations SET version = 1")
        .await
        .unwrap();
    let error = check(db.pool()).await.unwrap_err().to_string();
    assert!(
        error.contains("version 1") && error.contains("eidosctl migrate"),
        "{error}"
    );
}

#[tokio::test]
async fn migrating_twice_and_from_two_places_at_once_is_harmless() {
    let db = TestDb::empty().await;
    let now = at("2026-11-20T00:00:00Z");
    let url = db.url().into();
    let (one, two) = tokio::join!(migrate_url(&url, now), migrate_url(&url, now));
    one.unwrap();
    two.unwrap();
    migrate(db.pool(), now).await.unwrap();
    check(db.pool()).await.unwrap();
}

async fn partitions(pool: &PgPool) -> Vec<(String, String)> {
    sqlx::query_as(
        "SELECT child.relname::text, pg_get_expr(child.relpartbound, child.oid) FROM pg_inherits \
         JOIN pg_class AS child ON child.oid = inhrelid \
         WHERE inhparent = 'eidos_jobs_executions'::regclass ORDER BY 1",
    )
    .fetch_all(pool)
    .await
    .unwrap()
}

#[tokio::test]
async fn ruling_33_history_partitions_follow_the_utc_months_whatever_the_session_zone() {
    let db = TestDb::migrated().await;
    let auckland = PgPool::connect_with(
        db.url()
            .parse::<sqlx::postgres::PgConnectOptions>()
            .unwrap()
            .options([("timezone", "Pacific/Auckland")]),
    )
    .await
    .unwrap();
    let now = at("2031-11-30T23:59:59.999Z");
    let created = ensure_history_partitions(&auckland, now, 3).await.unwrap();
    assert_eq!(created, Month::of(now).and_next(3).collect::<Vec<_>>());
    let in_catalogue = partitions(&auckland).await;
    for month in &created {
        let bounds = format!(
            "FOR VALUES FROM ('{}') TO ('{}')",
            month.start_ms(),
            month.end_ms()
        );
        assert!(
            in_catalogue.contains(&(month.partition("eidos_jobs_executions"), bounds)),
            "{in_catalogue:?}"
        );
    }
    assert!(
        ensure_history_partitions(&auckland, now, 3)
            .await
            .unwrap()
            .is_empty()
    );
    let next = ensure_history_partitions(&auckland, at("2031-12-01T00:00:00Z"), 3)
        .await
        .unwrap();
    assert_eq!(
        next.iter()
            .map(|month| month.partition("eidos_jobs_executions"))
            .collect::<Vec<_>>(),
        ["eidos_jobs_executions_2032_03"]
    );
}

async fn rows_in_default(pool: &PgPool) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM ONLY eidos_jobs_executions_default")
        .fetch_one(pool)
        .await
        .unwrap()
}

#[tokio::test]
async fn rows_in_the_default_partition_move_into_their_month() {
    let fixture = Fixture::new().await;
    // A node whose clock is years ahead, or a partition job that did not run for years.
    let late = ManualClock::at(at("2031-05-17T12:00:00Z"));
    let attempt = Attempt {
        slot: None,
        trigger: Trigger::Manual,
        number: 1,
        idempotency_key: None,
        params: None,
        dry_run: false,
    };
    let run = start::attempt(fixture.control(), &fixture.starter(0), &attempt, &late)
        .await
        .unwrap();
    assert_eq!(rows_in_default(fixture.db.pool()).await, 1);
    let created = ensure_history_partitions(fixture.db.pool(), late.now(), 1)
        .await
        .unwrap();
    assert_eq!(created.len(), 2);
    assert_eq!(rows_in_default(fixture.db.pool()).await, 0);
    assert_eq!(fixture.row(&run.fence).await.execution_id, run.fence.execution());
    start::attempt(fixture.control(), &fixture.starter(0), &attempt, &late)
        .await
        .unwrap();
    assert_eq!(rows_in_default(fixture.db.pool()).await, 0);
}

#[tokio::test]
async fn a_partition_that_covers_half_a_month_is_named_not_papered_over() {
    let db = TestDb::migrated().await;
    execute(
        db.pool(),
        "CREATE TABLE by_hand PARTITION OF eidos_jobs_executions FOR VALUES FROM (1936137600000) TO (1936224000000)",
    )
    .await
    .unwrap();
    let error = ensure_history_partitions(db.pool(), at("2031-05-10T00:00:00Z"), 0)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("by_hand"), "{error}");
}

#[tokio::test]
async fn ruling_14_a_global_statistic_is_one_row() {
    let db = TestDb::migrated().await;
    let upsert = "INSERT INTO eidos_jobs_statistics (stat_type, stat_date, stat_hour, market, metric_name, \
                  metric_value) VALUES ('daily', '2026-01-01', NULL, NULL, 'trade_count', 1) \
                  ON CONFLICT ON CONSTRAINT uq_statistics DO UPDATE SET metric_value = 2";
    execute(db.pool(), upsert).await.unwrap();
    execute(db.pool(), upsert).await.unwrap();
    let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM eidos_jobs_statistics WHERE metric_value = 2")
        .fetch_one(db.pool())
        .await
        .unwrap();
    assert_eq!(rows, 1);
}

#[tokio::test]
async fn a_break_is_open_once_and_its_history_is_not_rewritten() {
    let db = TestDb::migrated().await;
    let open = "INSERT INTO eidos_jobs_breaks (break_id, dimension, wallet_address, token, kind, severity, direction, \
                first_seen, last_seen, evidence) VALUES (gen_random_uuid(), 'balance', '0xab', 'USDC', 'amount', \
                'warning', 'shortfall', now(), now(), '{}')";
    execute(db.pool(), open).await.unwrap();
    assert!(execute(db.pool(), open).await.is_err());
    let resolve =
        "UPDATE eidos_jobs_breaks SET status = 'resolved', resolved_at = now(), resolved_by = 'ann'";
    execute(db.pool(), resolve).await.unwrap();
    execute(db.pool(), open).await.unwrap();
    let event = "INSERT INTO eidos_jobs_break_history (break_id, event, at, by) \
                 SELECT break_id, 'opened', now(), 'recon' FROM eidos_jobs_breaks";
    execute(db.pool(), event).await.unwrap();
    let error = execute(db.pool(), "UPDATE eidos_jobs_break_history SET by = 'nobody'")
        .await
        .unwrap_err();
    assert!(error.to_string().contains("append-only"), "{error}");
    let pause = "INSERT INTO eidos_jobs_operation_pauses (operation, token, reason, set_by, set_at) \
                 VALUES ('withdrawal', 'USDC', 'a break', 'recon', now())";
    execute(db.pool(), pause).await.unwrap();
    assert!(execute(db.pool(), pause).await.is_err());
}

#[tokio::test]
async fn a_refused_connection_names_source_and_host_and_hides_the_password() {
    let db = TestDb::empty().await;
    let url = db
        .url()
        .replace("://", "://nobody:battery-staple@")
        .replacen("postgres@", "", 1);
    let unreachable = "postgres://ann:battery-staple@127.0.0.1:1/jobs";
    for url in [
        url.as_str(),
        unreachable,
        "postgres://ann:battery-staple@127.0.0.1:port/jobs",
    ] {
        let settings = DatabaseSettings::new(url.to_owned().into());
        let jobs = connect_jobs(&settings, "core-test").await.unwrap_err();
        let market = connect_read_only(&settings, "core-test", "market")
            .await
            .unwrap_err();
        for (error, source) in [(jobs, "jobs"), (market, "market")] {
            let text = format!("{error} {error:?}");
            assert!(!text.contains("battery-staple"), "{text}");
            assert!(text.contains(source), "{text}");
        }
    }
    let error = connect_jobs(DatabaseSettings::new(unreachable.to_owned().into()), "x")
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("ann@127.0.0.1:1/jobs") && error.is_retryable(),
        "{error}"
    );
}

#[tokio::test]
async fn sessions_carry_their_limits_and_utc() {
    let fixture = Fixture::new().await;
    for pool in [fixture.jobs.control(), fixture.jobs.read()] {
        for (name, expected) in [
            ("statement_timeout", "30s"),
            ("lock_timeout", "5s"),
            ("idle_in_transaction_session_timeout", "10s"),
            ("TimeZone", "UTC"),
            ("application_name", "core-test"),
        ] {
            let value: String = sqlx::query_scalar("SELECT current_setting($1)")
                .bind(name)
                .fetch_one(pool)
                .await
                .unwrap();
            assert_eq!(value, expected, "{name}");
        }
    }
}
