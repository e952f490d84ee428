//! Orders and trades in schemas of their own, under names with capitals, blanks and dots.

use serde_json::json;

use crate::fixture::{Fixture, ORDERS, TRADES, at};

const OLD: &str = "2026-08-15T12:00:00Z";
const PROFILE: &str = r#"
archive_profile:
  orders: { table: '"Trade Desk"."Orders 2.0"' }
  trades: { table: 'Trade$log.Trades', archive: '"Cold.Store"."Trades of old"' }
"#;

#[tokio::test]
async fn tables_outside_public_with_any_legal_name_move_and_age() {
    let fixture = Fixture::with(PROFILE).await;
    fixture.orders(1, 20, 3, "2023-05-15T12:00:00Z").await;
    fixture.orders(1_000_001, 1_000_010, 4, OLD).await;
    fixture
        .sql(&format!(
            r#"CREATE SCHEMA "Trade Desk"; CREATE SCHEMA "Trade$log"; CREATE SCHEMA "Cold.Store";
               ALTER TABLE {ORDERS} RENAME TO "Orders 2.0"; ALTER TABLE "Orders 2.0" SET SCHEMA "Trade Desk";
               ALTER TABLE {TRADES} RENAME TO "Trades"; ALTER TABLE "Trades" SET SCHEMA "Trade$log";
               CREATE TABLE "Orders 2.0" (LIKE "Trade Desk"."Orders 2.0" INCLUDING ALL)"#
        ))
        .await;
    fixture.archive().await;
    let archive = r#""Trade Desk"."Orders 2.0_archive""#;
    assert_eq!(fixture.count(r#""Trade Desk"."Orders 2.0""#).await, 0);
    assert_eq!(fixture.count(archive).await, 30);
    assert_eq!(fixture.count(r#""Cold.Store"."Trades of old""#).await, 0);
    // The month of 2023 has served its time.
    let report = fixture.archive().await;
    assert_eq!(report.aged.len(), 1, "{report:#?}");
    assert_eq!(fixture.count(archive).await, 10);
    let verified = fixture
        .verify(serde_json::from_value(json!({ "table": archive })).unwrap())
        .await
        .unwrap();
    assert_eq!(verified.sound, 1, "{verified:#?}");
    fixture.archive_at(at("2026-10-30T03:00:00Z")).await.unwrap();
    let dropped = "SELECT count(*) FROM eidos_jobs_disposal_units WHERE state = 'dropped' AND schema_name = 'Trade Desk'";
    assert_eq!(fixture.jobs_number(dropped).await, 1);
}
