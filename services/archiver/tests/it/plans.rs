//! Plan, approve, apply: with the real binary, as a person does it.

use std::time::Duration;

use crate::fixture::{Fixture, ORDERS};
use crate::process::{report_of, run_when_free};

const WITHIN: Duration = Duration::from_mins(1);
const OLD: &str = "2026-08-15T12:00:00Z";

async fn planned(fixture: &Fixture) -> String {
    let child = run_when_free(
        fixture,
        &["plan", "--format", "json", "--slot", "2026-10-21T03:00:00Z"],
        &[],
    )
    .await;
    report_of(&child)["plan"]["digest"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_plan_changes_nothing_and_is_applied_as_it_was_read() {
    let fixture = Fixture::new().await;
    fixture.orders(1, 100, 3, OLD).await;
    let (status, child) = fixture
        .command(&["plan", "--slot", "2026-10-21T03:00:00Z"], &[])
        .run(WITHIN)
        .await;
    assert!(status.success(), "{}", child.stderr());
    let shown = child.stdout();
    assert!(shown.contains("~100 rows"), "{shown}");
    for part in ["eidos_trading_orders", "eidos_trading_trades", "--plan"] {
        assert!(shown.contains(part), "{part} in\n{shown}");
    }
    assert_eq!(fixture.count(ORDERS).await, 100);
    let digest = planned(&fixture).await;
    assert!(shown.contains(&digest), "the same world has the same plan");

    let child = run_when_free(&fixture, &["apply", "--plan", &digest, "--format", "json"], &[]).await;
    let report = report_of(&child);
    assert_eq!(report["plan"]["digest"], digest.as_str());
    assert_eq!(report["tables"][1]["moved"], 100, "{report:#}");
    assert_ne!(report["approved_by"], "policy");
    assert_eq!(fixture.count(ORDERS).await, 0);
}

#[tokio::test]
async fn a_plan_is_refused_when_the_world_has_changed() {
    let fixture = Fixture::new().await;
    fixture.orders(1, 100, 3, OLD).await;
    let digest = planned(&fixture).await;
    fixture
        .sql(&format!("ALTER TABLE {ORDERS} ADD COLUMN fee_tier smallint"))
        .await;
    let (status, child) = fixture
        .command(&["apply", "--plan", &digest], &[])
        .run(WITHIN)
        .await;
    assert_eq!(status.code(), Some(1), "{}", child.stdout());
    let said = format!("{}{}", child.stdout(), child.stderr());
    assert!(said.contains("archiver plan"), "{said}");
    assert_eq!(fixture.count(ORDERS).await, 100);
    assert_eq!(
        fixture
            .count("pg_class WHERE relname = 'eidos_trading_orders_archive'")
            .await,
        0
    );
}

#[tokio::test]
async fn a_plan_nobody_made_is_refused() {
    let fixture = Fixture::new().await;
    let digest = "0".repeat(64);
    let (status, child) = fixture
        .command(&["apply", "--plan", &digest], &[])
        .run(WITHIN)
        .await;
    assert_eq!(status.code(), Some(1), "{}", child.stdout());
}

#[tokio::test]
async fn a_wrong_profile_is_refused_at_start_naming_table_and_column() {
    let fixture = Fixture::new().await;
    for (key, value, named) in [
        (
            "ARCHIVE_PROFILE__ORDERS__TABLE",
            "no_such",
            "table \"no_such\" does not exist",
        ),
        (
            "ARCHIVE_PROFILE__TRADES__STATUS",
            "state",
            "eidos_trading_trades has no column state",
        ),
        (
            "ARCHIVE_PROFILE__ORDERS__ID",
            "nonce",
            "primary key of eidos_trading_orders",
        ),
        (
            "ARCHIVE_PROFILE__ORDERS__STATUS",
            "wallet",
            "wallet of eidos_trading_orders is character varying(42)",
        ),
    ] {
        let (status, child) = fixture.command(&["plan"], &[(key, value)]).run(WITHIN).await;
        assert!(!status.success());
        let said = format!("{}{}", child.stdout(), child.stderr());
        assert!(said.contains(named), "{named} in {said}");
    }
}
