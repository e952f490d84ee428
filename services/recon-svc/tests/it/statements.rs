//! Every statement on our tables fits them, and none is written elsewhere (docs/adr/0003-statements-are-prepared-in-tests.md).

use std::path::{Path, PathBuf};

use eidos_testkit::TestDb;
use sqlx::{Executor, SqlSafeStr};

/// Where statements are written: on our own tables, on the neighbours', and on their catalogue.
const PLACES: [&str; 3] = ["store", "dimensions/balance/sources", "dimensions/balance/schema"];

/// A statement that does not fit the schema fails here and not in front of a caller.
#[tokio::test]
async fn every_statement_is_valid_on_our_schema() {
    let db = TestDb::migrated().await;
    let mut seen = 0;
    for (name, text) in recon_svc::store::all() {
        let prepared = db.pool().prepare(text.into_sql_str()).await;
        assert!(prepared.is_ok(), "{name}: {}", prepared.err().unwrap());
        seen += 1;
    }
    assert!(seen >= 10, "only {seen} statements were seen");
}

#[test]
fn no_statement_is_written_elsewhere() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let places: Vec<PathBuf> = PLACES.iter().map(|place| source.join(place)).collect();
    let mut directories = vec![source];
    let mut seen = 0;
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !places.contains(&path) {
                directories.push(path);
            } else if path.is_file() {
                let text = std::fs::read_to_string(&path).unwrap();
                assert!(
                    !text.contains("sqlx::query"),
                    "{} has a statement",
                    path.display()
                );
                seen += 1;
            }
        }
    }
    assert!(
        seen > 20,
        "only {seen} files were seen: this guard would pass on nothing"
    );
}
