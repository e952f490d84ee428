//! What an export says of its rows, for those who read it without us.

use eidos_disposal::export::LongRead;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;

use crate::fixture::{Fixture, JANUARY, MONTHS, TABLE};

async fn manifest_of_january(fixture: &Fixture) -> Value {
    fixture.quarantined().await;
    let manifests = fixture.manifests();
    assert_eq!(manifests.len(), 1);
    serde_json::from_slice(&std::fs::read(&manifests[0]).unwrap()).unwrap()
}

async fn text(fixture: &Fixture, query: &'static str) -> String {
    sqlx::query_scalar(query)
        .fetch_one(&fixture.external)
        .await
        .unwrap()
}

/// January again, made after its parent lost a column and got another: the partition numbers its columns from 1, its
/// parent does not.
async fn rebuilt(fixture: &Fixture) {
    fixture
        .sql(&format!(
            "DROP TABLE {JANUARY}; ALTER TABLE {TABLE} DROP COLUMN actor; ALTER TABLE {TABLE} ADD COLUMN note text; \
             CREATE TABLE {JANUARY} PARTITION OF {TABLE} FOR VALUES FROM ({}) TO ({}); \
             INSERT INTO {TABLE} (id, created_at, amount, note) SELECT 500 - i, {} + i, i, 'n' || i \
             FROM generate_series(1, 400) AS i",
            MONTHS[0], MONTHS[1], MONTHS[0]
        ))
        .await;
}

#[tokio::test]
async fn columns_keep_the_numbers_of_the_parent_whatever_their_partition_calls_them() {
    let fixture = Fixture::new().await;
    rebuilt(&fixture).await;
    let own: String = sqlx::query_scalar(AssertSqlSafe(format!(
        "SELECT string_agg(attnum::text, ',' ORDER BY attnum) FROM pg_attribute \
         WHERE attrelid = '{JANUARY}'::regclass AND attnum > 0"
    )))
    .fetch_one(&fixture.external)
    .await
    .unwrap();
    assert_eq!(own, "1,2,3,4,5,6", "the partition's own");

    let manifest = manifest_of_january(&fixture).await;
    let names: Vec<&Value> = manifest["columns"]
        .as_array()
        .unwrap()
        .iter()
        .map(|column| &column["name"])
        .collect();
    assert_eq!(names, ["id", "created_at", "amount", "detail", "seen", "note"]);
    assert_eq!(manifest["column_numbers"], json!([1, 2, 4, 5, 6, 7]));
}

#[tokio::test]
async fn rows_leave_in_the_order_of_the_key_and_the_export_says_so() {
    let fixture = Fixture::new().await;
    // Inserted from the largest id to the smallest: the encoder refuses them in that order.
    rebuilt(&fixture).await;
    let manifest = manifest_of_january(&fixture).await;
    assert_eq!(manifest["ordered_by"], json!(["id", "created_at"]));
    assert_eq!(manifest["rows"], json!(400));
}

#[tokio::test]
async fn an_export_names_a_position_in_the_log_that_its_rows_were_committed_before() {
    let fixture = Fixture::new().await;
    let before = text(&fixture, "SELECT pg_current_wal_lsn()::text").await;
    let manifest = manifest_of_january(&fixture).await;
    let position = manifest["snapshot_lsn"].as_str().unwrap();
    let between: bool =
        sqlx::query_scalar("SELECT $1::pg_lsn >= $2::pg_lsn AND $1::pg_lsn <= pg_current_wal_lsn()")
            .bind(position)
            .bind(&before)
            .fetch_one(&fixture.external)
            .await
            .unwrap();
    assert!(between, "{before}, {position}");
}

#[tokio::test]
async fn a_server_that_does_not_tell_its_position_is_exported_from_all_the_same() {
    let fixture = Fixture::new().await;
    let role = format!("no_lsn_{}", std::process::id());
    fixture
        .sql(&format!(
            "CREATE ROLE {role}; REVOKE EXECUTE ON FUNCTION pg_current_wal_lsn() FROM PUBLIC; \
             GRANT SELECT ON {JANUARY} TO {role}"
        ))
        .await;
    let mut read = LongRead::open(&fixture.external, &fixture.settings)
        .await
        .unwrap();
    let become_role = AssertSqlSafe(format!("SET LOCAL ROLE {role}"));
    sqlx::raw_sql(become_role).execute(read.conn()).await.unwrap();
    assert_eq!(read.wal_position().await.unwrap(), None);
    let rows: i64 = sqlx::query_scalar(AssertSqlSafe(format!("SELECT count(*) FROM {JANUARY}")))
        .fetch_one(read.conn())
        .await
        .unwrap();
    assert_eq!(rows, 400, "the transaction goes on");
    read.close().await;
    fixture
        .sql(&format!(
            "REVOKE SELECT ON {JANUARY} FROM {role}; DROP ROLE {role}"
        ))
        .await;
}
