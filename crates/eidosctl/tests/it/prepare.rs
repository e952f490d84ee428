//! `eidosctl prepare` against a real server: roles belong to the whole of it, so the tests with roles have one of their own.

use eidos_testkit::{Postgres, PostgresOptions, TestDb};
use serde_json::Value;
use sqlx::{Connection as _, PgConnection};

use crate::program::eidosctl;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_may_fence_and_quarantine_in_a_prepared_database_and_nothing_more() {
    let server = Postgres::start(PostgresOptions::default()).await.unwrap();
    server.create_database("trade").await.unwrap();
    let mut admin = PgConnection::connect(&server.url("trade")).await.unwrap();
    sqlx::raw_sql(
        "CREATE ROLE trade_owner LOGIN PASSWORD 'p'; ALTER DATABASE trade OWNER TO trade_owner; \
         GRANT CREATE ON SCHEMA public TO trade_owner; CREATE ROLE \"Retention Manager\" LOGIN PASSWORD 'p'",
    )
    .execute(&mut admin)
    .await
    .unwrap();
    let url_as = |role: &str| format!("postgres://{role}:p@127.0.0.1:{}/trade", server.port());
    let owner = url_as("trade_owner");
    let environment = [("EIDOS_DATABASE_URL", owner.as_str())];
    let prepare = ["prepare", "--disposal", "--writer", "Retention Manager"];

    for state in ["created", "present"] {
        let ran = eidosctl(&[&prepare[..], &["--format", "json"]].concat(), &environment).await;
        assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
        let answer: Value = serde_json::from_str(&ran.out).unwrap();
        let objects = answer["objects"].as_array().unwrap();
        assert_eq!(objects.len(), 3, "{answer}");
        assert!(objects.iter().all(|object| object["state"] == state), "{answer}");
    }

    let mut writer = PgConnection::connect(&url_as("Retention%20Manager"))
        .await
        .unwrap();
    for allowed in [
        "INSERT INTO eidos_jobs_fence (job_name, epoch) VALUES ('archive', 1)",
        "UPDATE eidos_jobs_fence SET epoch = 2",
        "CREATE TABLE eidos_quarantine.trades_2024 ()",
        "CREATE TABLE eidos_quarantine.frozen (); CREATE TRIGGER frozen BEFORE INSERT ON eidos_quarantine.frozen \
         FOR EACH ROW EXECUTE FUNCTION eidos_jobs_refuse_write()",
    ] {
        sqlx::raw_sql(allowed)
            .execute(&mut writer)
            .await
            .unwrap_or_else(|error| panic!("{allowed}: {error}"));
    }
    for refused in ["DELETE FROM eidos_jobs_fence", "CREATE TABLE public.other ()"] {
        sqlx::raw_sql(refused).execute(&mut writer).await.unwrap_err();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_says_what_is_missing_and_changes_nothing() {
    let db = TestDb::empty().await;
    let url = db.url();
    let environment = [("EIDOS_DATABASE_URL", url.as_str())];

    for attempt in ["first", "again"] {
        let check = eidosctl(&["prepare", "--check", "--disposal"], &environment).await;
        assert_eq!(check.code, 1, "{attempt}: {}{}", check.out, check.err);
        for part in [
            "eidos_jobs_fence",
            "eidos_quarantine",
            "eidosctl prepare --disposal",
        ] {
            assert!(check.err.contains(part), "{attempt}: {part}: {}", check.err);
        }
    }
    let ran = eidosctl(&["prepare"], &environment).await;
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    assert_eq!(eidosctl(&["prepare", "--check"], &environment).await.code, 0);
    let disposal = eidosctl(&["prepare", "--check", "--disposal"], &environment).await;
    assert_eq!(disposal.code, 1, "{}{}", disposal.out, disposal.err);
    assert!(!disposal.err.contains("eidos_jobs_fence"), "{}", disposal.err);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_jobs_database_and_a_role_that_is_not_there_are_refused_and_nothing_changes() {
    let jobs = TestDb::migrated().await;
    let ran = eidosctl(&["prepare"], &[("EIDOS_DATABASE_URL", &jobs.url())]).await;
    assert_eq!(ran.code, 78, "{}{}", ran.out, ran.err);
    assert!(ran.err.contains("eidosctl migrate"), "{}", ran.err);

    let db = TestDb::empty().await;
    let url = db.url();
    let environment = [("EIDOS_DATABASE_URL", url.as_str())];
    let ran = eidosctl(&["prepare", "--writer", "nobody_of_this_name"], &environment).await;
    assert_eq!(ran.code, 78, "{}{}", ran.out, ran.err);
    assert!(ran.err.contains("nobody_of_this_name"), "{}", ran.err);
    assert_eq!(eidosctl(&["prepare", "--check"], &environment).await.code, 1);
}
