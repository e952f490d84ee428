//! `eidosctl migrate` against a real database.

use eidos_testkit::{Postgres, PostgresOptions, TestDb};
use serde_json::Value;
use sqlx::{Connection as _, PgConnection};

use crate::program::eidosctl;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pending_migrations_are_listed_applied_and_then_gone() {
    let db = TestDb::empty().await;
    let environment = [("EIDOS_DATABASE_URL", db.url())];
    let environment: Vec<(&str, &str)> = environment
        .iter()
        .map(|(key, value)| (*key, value.as_str()))
        .collect();

    let check = eidosctl(&["migrate", "--check"], &environment).await;
    assert_eq!(check.code, 1, "{}{}", check.out, check.err);
    assert!(
        check.out.contains("pending") && !check.out.contains("applied"),
        "{}",
        check.out
    );
    assert!(
        check.out.contains("recon-svc") && check.out.contains("new tables only"),
        "owner, locks: {}",
        check.out
    );
    assert!(
        check.err.contains("eidosctl migrate"),
        "the fix is named: {}",
        check.err
    );

    let migrate = eidosctl(&["migrate"], &environment).await;
    assert_eq!(migrate.code, 0, "{}{}", migrate.out, migrate.err);

    let check = eidosctl(&["migrate", "--check", "--format", "json"], &environment).await;
    assert_eq!(check.code, 0, "{}{}", check.out, check.err);
    let answer: Value = serde_json::from_str(&check.out).unwrap();
    let states: Vec<&str> = answer["migrations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["state"].as_str().unwrap())
        .collect();
    assert!(
        states.len() >= 5 && states.iter().all(|state| *state == "applied"),
        "{states:?}"
    );

    let again = eidosctl(&["migrate"], &environment).await;
    assert_eq!(again.code, 0, "{}", again.err);
    assert!(again.out.contains("0 applied now"), "{}", again.out);
}

#[tokio::test]
async fn a_database_that_is_not_there_is_exit_69_and_shows_no_password() {
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let url = format!("postgres://eidos:hunter2-hunter2@127.0.0.1:{port}/eidos");
    let ran = eidosctl(&["migrate", "--check"], &[("EIDOS_DATABASE_URL", &url)]).await;
    assert_eq!(ran.code, 69, "{}", ran.err);
    assert!(
        ran.err.contains(&port.to_string()) && !ran.err.contains("hunter2"),
        "{}",
        ran.err
    );
}

#[tokio::test]
async fn a_wrong_url_is_exit_78_and_is_not_repeated() {
    let ran = eidosctl(
        &["migrate"],
        &[("EIDOS_DATABASE_URL", "postgres//eidos:hunter2@x")],
    )
    .await;
    assert_eq!(ran.code, 78, "{}", ran.err);
    assert!(!ran.err.contains("hunter2"), "{}", ran.err);
}

/// Roles belong to the whole server, so this test has one of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn roles_are_created_once_by_a_login_that_may_and_granted_again_by_one_that_may_not() {
    let server = Postgres::start(PostgresOptions::default()).await.unwrap();
    server.create_database("jobs").await.unwrap();
    let mut admin = PgConnection::connect(&server.url("jobs")).await.unwrap();
    sqlx::raw_sql("CREATE ROLE migrator LOGIN PASSWORD 'p'; ALTER DATABASE jobs OWNER TO migrator")
        .execute(&mut admin)
        .await
        .unwrap();
    let url_as = |role: &str| format!("postgres://{role}:p@127.0.0.1:{}/jobs", server.port());
    let url = url_as("migrator");
    let environment = [("EIDOS_DATABASE_URL", url.as_str())];

    let refused = eidosctl(&["migrate", "--roles"], &environment).await;
    assert_eq!(refused.code, 78, "{}{}", refused.out, refused.err);
    for part in [
        "migrator",
        "eidos_jobs_reader and eidos_jobs_writer",
        "CREATEROLE",
    ] {
        assert!(refused.err.contains(part), "{part}: {}", refused.err);
    }
    let check = eidosctl(&["migrate", "--check"], &environment).await;
    assert!(
        check.out.contains("pending") && !check.out.contains("applied"),
        "{}",
        check.out
    );

    for right in ["CREATEROLE", "NOCREATEROLE"] {
        let statement = sqlx::AssertSqlSafe(format!("ALTER ROLE migrator {right}"));
        sqlx::raw_sql(statement).execute(&mut admin).await.unwrap();
        let applied = eidosctl(&["migrate", "--roles"], &environment).await;
        assert_eq!(applied.code, 0, "{right}: {}{}", applied.out, applied.err);
        assert!(applied.out.contains("have their rights"), "{}", applied.out);
    }

    sqlx::raw_sql("CREATE ROLE viewer LOGIN PASSWORD 'p' IN ROLE eidos_jobs_reader")
        .execute(&mut admin)
        .await
        .unwrap();
    let mut viewer = PgConnection::connect(&url_as("viewer")).await.unwrap();
    let read = "SELECT count(*) FROM eidos_jobs_executions";
    sqlx::raw_sql(read).execute(&mut viewer).await.unwrap();
    for denied in [
        "DELETE FROM eidos_jobs_executions",
        "CREATE TABLE public.own (id INT)",
    ] {
        let error = sqlx::raw_sql(denied).execute(&mut viewer).await.unwrap_err();
        assert!(
            error.to_string().contains("permission denied"),
            "{denied}: {error}"
        );
    }
}
