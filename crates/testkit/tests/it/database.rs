//! A database per test.

use std::time::Duration;

use eidos_testkit::{TcpProxy, TestDb, assert_prepares, eventually, shared_postgres};
use sqlx::{Connection, PgConnection};

async fn tables(db: &TestDb) -> Vec<String> {
    sqlx::query_scalar("SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'")
        .fetch_all(db.pool())
        .await
        .unwrap()
}

async fn exists(name: &str) -> bool {
    let mut admin = PgConnection::connect(&shared_postgres().await.url("postgres"))
        .await
        .unwrap();
    sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)")
        .bind(name)
        .fetch_one(&mut admin)
        .await
        .unwrap()
}

#[tokio::test]
async fn two_migrated_databases_do_not_see_each_other() {
    let (one, two) = tokio::join!(TestDb::migrated(), TestDb::migrated());
    assert_ne!(one.name(), two.name());
    sqlx::query("INSERT INTO eidos_jobs_state (job_name) VALUES ('a')")
        .execute(one.pool())
        .await
        .unwrap();
    let seen: i64 = sqlx::query_scalar("SELECT count(*) FROM eidos_jobs_state")
        .fetch_one(two.pool())
        .await
        .unwrap();
    assert_eq!(seen, 0);
    assert!(
        eidos_core::migrations::check(two.pool()).await.is_ok(),
        "a service accepts the schema of a test"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_at_once_are_all_made() {
    let tasks: Vec<_> = (0..8).map(|_| tokio::spawn(TestDb::migrated())).collect();
    let mut names = Vec::new();
    for task in tasks {
        let db = task.await.unwrap();
        assert!(tables(&db).await.contains(&"eidos_jobs_state".to_owned()));
        names.push(db.name().to_owned());
    }
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 8);
}

#[tokio::test]
async fn an_empty_one_is_empty_and_is_dropped_with_its_connections() {
    let db = TestDb::empty().await;
    assert!(tables(&db).await.is_empty());
    let name = db.name().to_owned();
    assert!(name.contains("an_empty_one_is_empty"), "{name}");
    let mut still_connected = PgConnection::connect(&db.url()).await.unwrap();
    still_connected.ping().await.unwrap();
    drop(db);
    eventually("the database is dropped", Duration::from_secs(10), async || {
        if exists(&name).await {
            Err("it is there")
        } else {
            Ok(())
        }
    })
    .await;
}

#[tokio::test]
async fn the_database_of_a_failed_test_is_kept() {
    let (told, name) = std::sync::mpsc::channel();
    let failed = tokio::spawn(async move {
        let db = TestDb::empty().await;
        told.send(db.name().to_owned()).unwrap();
        panic!("on purpose");
    });
    assert!(failed.await.unwrap_err().is_panic());
    let name = name.recv().unwrap();
    // Another one comes and goes; by then the failed one would be gone too.
    let later = TestDb::empty().await;
    let later_name = later.name().to_owned();
    drop(later);
    eventually(
        "the later database is dropped",
        Duration::from_secs(10),
        async || {
            if exists(&later_name).await {
                Err("it is there")
            } else {
                Ok(())
            }
        },
    )
    .await;
    assert!(exists(&name).await);
    let scratch = shared_postgres().await.data_directory().parent().unwrap();
    let marker = scratch.join("keep");
    assert!(marker.exists());
    std::fs::remove_file(marker).unwrap();
}

#[tokio::test]
async fn it_can_be_reached_through_a_proxy() {
    let db = TestDb::empty().await;
    let proxy = TcpProxy::start(shared_postgres().await.port()).await;
    let mut connection = PgConnection::connect(&db.url_via(proxy.port())).await.unwrap();
    let name: String = sqlx::query_scalar("SELECT current_database()::text")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(name, db.name());
    assert!(proxy.traffic().reply_bytes > 0);
}

#[tokio::test]
async fn a_statement_that_does_not_fit_the_schema_is_named() {
    let db = TestDb::migrated().await;
    let pool = db.pool().clone();
    let statements = [
        ("GOOD", "SELECT 1"),
        ("MISSPELT", "SELECT 1 FROM eidos_jobs_statt"),
    ];
    let checked = tokio::spawn(async move { assert_prepares(&pool, statements).await });
    let panic = checked.await.unwrap_err().into_panic();
    let said = panic.downcast_ref::<String>().unwrap();
    assert!(said.starts_with("1 of 2 statements"), "{said}");
    assert!(
        said.contains("MISSPELT: ") && said.contains("\"eidos_jobs_statt\" does not exist"),
        "{said}"
    );
}
