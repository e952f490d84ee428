//! The sweep counts what should have ended, independent of `cleanup-orders`, and repairs what that overlooked.

use crate::fixture::{Fixture, MINUTE, ORDERS};

#[tokio::test]
async fn a_sweep_finds_what_is_overdue_and_what_was_overlooked() {
    let fixture = Fixture::new().await;
    let now = fixture.now_ms();
    fixture.expired_orders(1, 10).await; // 30 minutes: overdue
    fixture
        .orders(11, 20, 1, &(now - 5 * MINUTE).to_string(), "1")
        .await; // expired, not overdue
    fixture.orders(21, 24, 1, "0", "0").await; // open without quantity
    fixture.orders(31, 33, 7, "0", "1").await; // in cancelling
    fixture.orders(41, 42, 9, "0", "1").await; // a status that nobody knows
    fixture
        .orders(51, 90, 5, &(now - 30 * MINUTE).to_string(), "1")
        .await; // ended
    let report = fixture.sweep().await;
    assert!(report.complete, "{report:#?}");
    assert_eq!((report.overdue, report.overlooked), (10, 10), "{report:#?}");
    assert_eq!(
        (report.zero_quantity, report.zero_quantity_new),
        (4, 4),
        "{report:#?}"
    );
    assert_eq!(
        (report.cancelling_stuck, report.unknown_status),
        (3, 2),
        "{report:#?}"
    );
    assert_eq!(
        fixture
            .requests("state = 'requested' AND reason = 'expired'")
            .await,
        10
    );
    // A second one finds the same and adds nothing.
    let again = fixture.sweep().await;
    assert_eq!(
        (again.overdue, again.overlooked, again.zero_quantity_new),
        (10, 0, 0),
        "{again:#?}"
    );

    let asked = fixture.run().await;
    assert_eq!(asked.verdicts.get("removed"), Some(&24), "{asked:#?}");
    fixture.until_expired(60).await;
    let ended =
        format!("SELECT count(*) FROM {ORDERS} WHERE id BETWEEN 21 AND 24 AND status IN (3, 4, 5, 6)");
    fixture.until(&ended, 4).await;
    fixture.later(2);
    fixture.run().await;
    let clean = fixture.sweep().await;
    assert_eq!((clean.overdue, clean.zero_quantity), (0, 0), "{clean:#?}");
    assert_eq!(
        fixture
            .requests("reason = 'zero_quantity' AND state = 'closed'")
            .await,
        4
    );
}

#[tokio::test]
async fn old_closed_requests_are_deleted_and_open_ones_stay() {
    let fixture = Fixture::new().await;
    fixture.expired_orders(1, 6).await;
    fixture.run().await;
    fixture.until_expired(6).await;
    fixture
        .sql(&format!("UPDATE {ORDERS} SET status = 1 WHERE id = 6"))
        .await;
    fixture.later(1);
    fixture.run().await;
    assert_eq!(fixture.sweep().await.pruned, 0);
    fixture.later(31 * 24 * 60);
    assert_eq!(fixture.sweep().await.pruned, 5);
    assert_eq!(fixture.requests("true").await, 1);
}
