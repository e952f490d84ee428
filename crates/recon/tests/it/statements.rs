//! Every statement fits the schema (docs/adr/0003-statements-are-prepared-in-tests.md).

use eidos_testkit::{TestDb, assert_prepares};

#[tokio::test]
async fn every_statement_is_valid_on_our_schema() {
    let db = TestDb::migrated().await;
    assert_prepares(db.pool(), eidos_recon::store::all()).await;
}
