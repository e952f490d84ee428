//! Every statement fits the schema, and none is written beside the store (docs/adr/0003-statements-are-prepared-in-tests.md).

use std::path::Path;

use eidos_testkit::TestDb;
use sqlx::{Executor, SqlSafeStr};

#[tokio::test]
async fn every_statement_prepares_on_a_migrated_server() {
    let db = TestDb::migrated().await;
    assert!(eidos_recon::store::all().count() > 15);
    for (name, text) in eidos_recon::store::all() {
        let prepared = db.pool().prepare(text.into_sql_str()).await;
        assert!(prepared.is_ok(), "{name}: {}", prepared.err().unwrap());
    }
}

#[test]
fn no_statement_is_written_beside_the_store() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut directories = vec![source.clone()];
    let mut seen = 0;
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path == source.join("store") {
                continue;
            }
            if path.is_dir() {
                directories.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(
                !text.contains("sqlx::query"),
                "{} has a statement",
                path.display()
            );
            seen += 1;
        }
    }
    assert!(
        seen > 10,
        "only {seen} files were seen: this guard would pass on nothing"
    );
}
